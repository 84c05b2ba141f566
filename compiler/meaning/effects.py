"""Keys that are set and change nothing: refused, for nothing is ignored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from specrun.compiler.reporter import Reporter
from specrun.spec.annotations import FieldInfo, fields_of
from specrun.spec.experiment import Experiment
from specrun.spec.levels import LEVELS
from specrun.spec.tree import Path, format_path


def keys_without_effect(spec: Experiment, report: Reporter) -> None:
    """A key that is set while its condition does not hold would be ignored."""
    for path, info, holder in _conditional(spec, ()):
        assert info.fact.when is not None
        name, wanted = info.fact.when
        value = getattr(holder, name)
        holds = (value or 0) > 0 if wanted == "positive" else value in wanted
        if not holds and getattr(holder, info.name) is not None:
            sibling = (*path[:-1], name)
            words = "above 0" if wanted == "positive" else " or ".join(f"`{w}`" for w in wanted)
            message = f"`{format_path(path)}` has no effect unless `{name}` is {words}"
            no_effect(report, path, sibling, f"{message}; it is {_word(value)}")


def no_effect(report: Reporter, path: Path, switch: Path, message: str) -> None:
    """Report a key that ``switch`` leaves without effect, if a source sets it.

    A key of a weaker level than the one that threw the switch was overridden on purpose: a warning.
    """
    level = level_of(report, path)
    if level == 0:
        return
    if level < level_of(report, switch):
        hint = f"`{format_path(switch)}` was set by a stronger level"
        report.warning(path, "no-effect", message, hint=hint, blame="key", related=(switch,))
    else:
        hint = f"remove it, or change `{format_path(switch)}`"
        report.error(path, "no-effect", message, hint=hint, blame="key", related=(switch,))


def level_of(report: Reporter, path: Path) -> int:
    """The strength of the level that set a path last; 0 is the default."""
    origins = report.history.get(path, ())
    return LEVELS.index(origins[-1].level) if origins else 0


def _conditional(value: Any, path: Path) -> Iterator[tuple[Path, FieldInfo, Any]]:
    if is_dataclass(value) and not isinstance(value, type):
        for info in fields_of(type(value)):
            below = (*path, info.name)
            if info.fact.when is not None:
                yield below, info, value
            yield from _conditional(getattr(value, info.name), below)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from _conditional(item, (*path, index))


def _word(value: object) -> str:
    return f"`{value}`" if isinstance(value, str) else "null" if value is None else str(value)
