"""What presets did, for the summary: which there are, what they set and overrode, and what overrode them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from specrun.spec.plan.plan import Origin, Plan, Value

PRESETS = ("picked", "preset")
SHOWN = 6
UNTOLD = ("version", "model.name_or_path")
"""What every preset says, and what a model that picked one has said itself."""


@dataclass(frozen=True)
class _Said:
    """A leaf that a preset set. ``instead`` is what holds in its place, None where the preset won."""

    path: str
    value: Any
    instead: Origin | None
    environment: Any


def preset_lines(plan: Plan) -> list[str]:
    """A few lines for each preset that had a say; none where there is none."""
    files: dict[str, str] = {}
    for value in plan.values:
        for origin in value.origins:
            if origin.level in PRESETS:
                files.setdefault(_file(origin), origin.level)
    return [line for file, level in files.items() for line in _lines(plan, file, level)]


def _lines(plan: Plan, file: str, level: str) -> list[str]:
    said = [s for value in plan.values if (s := _said(value, file)) is not None]
    won = [s for s in said if s.instead is None]
    lost = [s for s in said if s.instead is not None and s.instead.value != s.value]
    over = [s for s in won if s.environment not in (None, s.value)]
    stem = PurePosixPath(file).stem
    how = ", picked by the model's name; `extends: []` leaves it out" if level == "picked" else ""
    lines = [f"preset     {stem}{how}"]
    lines += [f"           sets {_listed(f'{s.path} {_show(s.value)}' for s in won)}"]
    if over:
        told = (f"{s.path} ({_show(s.value)}, not {_show(s.environment)})" for s in over)
        lines.append(f"           overrides the environment in {_listed(told)}")
    if lost:
        lines.append(f"           overridden in {_listed(map(_overridden, lost))}")
    return lines


def _overridden(said: _Said) -> str:
    """A leaf with both values; of a list, which is replaced whole, the one that is gone."""
    if said.path.endswith("[0].kind") and isinstance(said.value, list):
        return f"{said.path.removesuffix('[0].kind')} (another list, not {_show(said.value)})"  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    return f"{said.path} ({_show(said.instead and said.instead.value)}, not {_show(said.value)})"


def _said(value: Value, file: str) -> _Said | None:
    """What the preset of that file said of a leaf."""
    found = [i for i, o in enumerate(value.origins) if o.level in PRESETS and _file(o) == file]
    if not found or value.path in UNTOLD:
        return None
    own, last = value.origins[found[-1]], value.origins[-1]
    below = [o.value for o in value.origins[: found[-1]] if o.level == "environment"]
    if value.path == "model.kind" and last.value == "auto":
        return None  # config.json says the same
    return _Said(
        path=value.path,
        value=own.value,
        instead=None if own is last else last,
        environment=below[-1] if below else None,
    )


def _file(origin: Origin) -> str:
    """`presets/clip.yaml` of `presets/clip.yaml:12:3`."""
    return origin.place.rsplit(":", 2)[0]


def _show(value: Any) -> str:
    match value:
        case bool() | None:
            return "null" if value is None else str(value).lower()
        case float():
            return f"{value:g}"
        case list():
            return f"[{', '.join(map(_show, value))}]"  # pyright: ignore[reportUnknownArgumentType]
        case dict():
            pairs = (f"{k}: {_show(v)}" for k, v in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            return f"{{{', '.join(pairs)}}}"
        case _:
            return str(value)


def _listed(parts: Iterable[str]) -> str:
    every = list(parts)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return (", ".join(every[:SHOWN]) + more) or "nothing"
