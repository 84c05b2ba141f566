"""Immutable records: dataclasses whose methods are shared, not made anew for each class.

``dataclass`` compiles six methods a class. The words of the spec and of the plan are a hundred classes, and every
command would pay 30 ms for them.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, field
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make ``cls`` what ``dataclass(frozen=True, kw_only=True)`` would make of it.

    ``dataclasses.fields``, ``replace`` and ``asdict`` work on it; records of one class are equal when their fields are.
    """
    made: Any = dataclass(init=False, repr=False, eq=False, kw_only=True)(cls)
    for method in (__init__, __repr__, __eq__, __hash__, __setattr__, __delattr__):
        setattr(made, method.__name__, method)
    return made


def __init__(self: Any, **given: Any) -> None:
    values: dict[str, Any] = {}
    missing: list[str] = []
    for name, info in self.__dataclass_fields__.items():
        if name in given:
            values[name] = given.pop(name)
        elif info.default is not MISSING:
            values[name] = info.default
        elif info.default_factory is not MISSING:
            values[name] = info.default_factory()
        else:
            missing.append(name)
    if missing or given:
        what = f"misses {', '.join(missing)}" if missing else f"has no {', '.join(given)}"
        raise TypeError(f"{type(self).__name__} {what}")
    self.__dict__.update(values)


def __repr__(self: Any) -> str:
    values: dict[str, Any] = self.__dict__
    return f"{type(self).__qualname__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"


def __eq__(self: Any, other: object) -> bool:
    if type(other) is not type(self):
        return NotImplemented
    return self.__dict__ == other.__dict__


def __hash__(self: Any) -> int:
    return hash(tuple(self.__dict__.values()))


def __setattr__(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def __delattr__(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
