"""The files of `schemas/`, made from the types: JSON Schemas, and the reference in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.compiler.schema.constraints import Json, strict_schema
from specrun.compiler.schema.editor import editor_schema
from specrun.compiler.schema.reference import reference
from specrun.spec.experiment import Experiment
from specrun.spec.plan.plan import Plan

EDITOR_FILE = "experiment.schema.json"
STRICT_FILE = "experiment.strict.schema.json"
PLAN_FILE = "plan.schema.json"
REFERENCE_FILE = "README.md"
_WIDTH = 100


def emit() -> Mapping[str, str]:
    """Every file's name and text."""
    return {
        EDITOR_FILE: _text(editor_schema(Experiment, "specrun experiment")),
        STRICT_FILE: _text(strict_schema(Experiment, "specrun experiment, all levels merged")),
        PLAN_FILE: _text(strict_schema(Plan, "specrun plan")),
        REFERENCE_FILE: reference(Experiment),
    }


def schema_folder() -> Path:
    """The folder of the checked-in schemas."""
    from importlib.resources import files

    return Path(str(files("specrun.schemas")))


def stale() -> tuple[str, ...]:
    """The checked-in files that are not what the types say."""
    folder = schema_folder()
    return tuple(n for n, text in emit().items() if _read(folder / n) != text)


def write() -> tuple[str, ...]:
    """Write the files that are stale; their names."""
    folder = schema_folder()
    texts = emit()
    names = stale()
    for name in names:
        (folder / name).write_text(texts[name], encoding="utf-8")
    return names


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _text(schema: Json) -> str:
    return _lines(schema, "") + "\n"


def _lines(value: Any, margin: str) -> str:
    """JSON with what fits on a line on one line."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(margin) + len(flat) <= _WIDTH or flat[0] not in "[{":
        return flat
    below = margin + " "
    if flat[0] == "[":
        parts = [_lines(item, below) for item in value]
    else:
        parts = [f"{json.dumps(key)}: {_lines(part, below)}" for key, part in value.items()]
    body = ",\n".join(below + part for part in parts)
    return f"{flat[0]}\n{body}\n{margin}{flat[-1]}"
