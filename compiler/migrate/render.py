"""The spec as YAML text: each line says where it came from, and the end what has no place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from specrun.compiler.migrate.draft import Draft, Left, Setting
from specrun.compiler.migrate.finish import nested
from specrun.compiler.migrate.values import items
from specrun.spec.experiment import Experiment

WIDTH = 40
"""Column at which comments begin, where the setting leaves room."""


def render(draft: Draft, file: str) -> str:
    """The text of the spec. It ends with what has no meaning here and what is not supported."""
    tree = nested(draft.settings)
    lines = [
        f"# Migrated by `specrun migrate` from {file}, a configuration of {draft.dialect.title}.",
        "# The comment at each key names the key that it came from.",
        "",
        "version: 1",
    ]
    for section in Experiment.__dataclass_fields__:
        if section in tree:
            lines += _block(section, tree[section], 0)
    lines += _listed(
        "Not supported yet, and left out. The spec trains something else without them:",
        [left for left in draft.unmet if not left.wrong],
    )
    lines += _listed(
        "Values that may not be so, to be mended above:",
        [left for left in draft.unmet if left.wrong],
    )
    lines += _listed("Without meaning here, and left out:", draft.idle)
    return "\n".join(lines) + "\n"


def _block(key: str, value: Any, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(value, Setting):
        yield _line(f"{pad}{key}: {scalar(value.value)}", value.comment)
        return
    own = value.pop("", None)
    yield _line(f"{pad}{key}:", own.comment if own else "")
    items = [part for name, part in value.items() if name.startswith("[")]
    for item in items:
        lines = [line for name, part in _ordered(item) for line in _block(name, part, depth + 2)]
        first = lines[0].lstrip()
        yield f"{pad}  - {first}"
        yield from lines[1:]
    for name, part in _ordered(value) if not items else ():
        yield from _block(name, part, depth + 1)


def _ordered(section: dict[str, Any]) -> list[tuple[str, Any]]:
    """The kind first."""
    return sorted(section.items(), key=lambda pair: pair[0] != "kind")


def _line(text: str, comment: str) -> str:
    return f"{text.ljust(WIDTH)}  # {' '.join(comment.split())}" if comment else text


def scalar(value: Any) -> str:
    """A value in flow style: JSON, whose texts are plain where YAML reads them as the same text."""
    if isinstance(value, list):
        return f"[{', '.join(map(scalar, items(value)))}]"
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        pairs = (f"{json.dumps(k)}: {scalar(v)}" for k, v in table.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, str) and _is_plain(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    """Text of letters, digits and a few signs that begins with a letter and is no word of YAML's."""
    signs = set("_-./@+")
    safe = all(c.isascii() and (c.isalnum() or c in signs) for c in text)
    return safe and text[:1].isalpha() and text.lower() not in _WORDS


_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


def _listed(title: str, left: list[Left]) -> Iterator[str]:
    if not left:
        return
    yield ""
    yield f"# {title}"
    for entry in left:
        at = f" (line {entry.line})" if entry.line else ""
        yield f"#   {' '.join(f'{entry.name}{at}: {entry.reason}'.split())}"
