"""Values of other tools in general: what is off, what is a list, and what is taken as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from specrun.compiler.migrate.draft import Draft, Old

Rule = Callable[[Old, str, str, Draft], None]
"""(key, path in the spec, what the table of foreign names notes, draft)."""

OFF: tuple[Any, ...] = (None, False, 0, "", "no", "none", "None", "off", [], {})
"""Values under which a switch does nothing."""

NULL_IS_DEFAULT = "null is the default"


def is_off(value: Any) -> bool:
    """Whether a key with this value asks for nothing."""
    return any(value == off and type(value) is type(off) for off in OFF)


def items(value: Any) -> list[Any]:
    """A list as it is, anything else as a list of one."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def count_of(value: Any) -> Any:
    """How many a list names; anything else says it itself."""
    return len(items(value)) if isinstance(value, list) else value


def plain(old: Old, path: str, note: str, draft: Draft) -> None:
    """The value as it is; null is left to the spec's default."""
    if old.value is None:
        draft.drop(old, NULL_IS_DEFAULT)
    else:
        draft.set(path, old.value, old)


def noted(old: Old, path: str, note: str, draft: Draft) -> None:
    """The value as it is, with what differs."""
    if old.value is None:
        draft.drop(old, NULL_IS_DEFAULT)
    else:
        draft.set(path, old.value, old, note)


def is_count(value: Any) -> bool:
    """Whether it is a whole number above 0."""
    return type(value) is int and value > 0


def switch(old: Old, path: str, note: str, draft: Draft) -> None:
    """A section that is on or off."""
    if is_off(old.value) and path not in draft.settings:
        draft.drop(old, f"without the section `{path}` it is off")
    draft.set(path, None if is_off(old.value) else True, old)


def as_list(old: Old, path: str, note: str, draft: Draft) -> None:
    """A list as it is, anything else as a list of one; null is left to the default."""
    value = old.value
    if value is None:
        draft.drop(old, NULL_IS_DEFAULT)
    else:
        draft.set(path, items(value), old)
