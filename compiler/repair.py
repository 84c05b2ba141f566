"""A draft of a wrong spec: what is wrong is replaced by something that fits, so that the rest can be judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Set
from typing import Any, TypeVar

from specrun.spec.annotations import Fact, fields_of
from specrun.spec.codec import CodecError, from_plain, to_plain
from specrun.spec.shapes import (
    Kinds,
    ListOf,
    MapOf,
    Nullable,
    Section,
    Shape,
    Simple,
    WordOr,
    Words,
    field_shapes,
    without_null,
)
from specrun.spec.tree import Path

T = TypeVar("T")
_MISSING: Any = dataclasses.MISSING


def repair(cls: type[T], tree: Any, wrong: Set[Path]) -> T | None:
    """A typed ``cls`` in which every path of ``wrong`` holds its default or a stand-in."""
    try:
        return from_plain(cls, _section(cls, tree, (), wrong))
    except (CodecError, LookupError, TypeError, ValueError):
        return None


def _repaired(
    shape: Shape, fact: Fact, value: Any, default: Any, path: Path, wrong: Set[Path]
) -> Any:
    plain: Any = value
    if path in wrong:
        return stand_in(shape, fact) if default is _MISSING else to_plain(default)
    if value is None and isinstance(shape, Nullable):
        return None
    match without_null(shape):
        case Section(cls) | WordOr(section=Section(cls)) if isinstance(value, dict):
            return _section(cls, plain, path, wrong)
        case Kinds(variants) if isinstance(value, dict):
            return _section(variants[plain["kind"]], plain, path, wrong)
        case ListOf(item) if isinstance(value, list):
            one = dataclasses.replace(fact, examples=())
            return [
                _repaired(item, one, part, _MISSING, (*path, i), wrong)
                for i, part in enumerate(plain)
            ]
        case MapOf(item) if isinstance(value, dict):
            return {
                key: _repaired(item, fact, part, _MISSING, (*path, key), wrong)
                for key, part in plain.items()
            }
        case _:
            return value


def _section(cls: type, value: dict[str, Any], path: Path, wrong: Set[Path]) -> dict[str, Any]:
    shapes = field_shapes(cls)
    return {
        info.name: _repaired(
            shapes[info.name],
            info.fact,
            value.get(info.name),
            info.default,
            (*path, info.name),
            wrong if info.name in value else {(*path, info.name)},
        )
        for info in fields_of(cls)
    }


def stand_in(shape: Shape, fact: Fact) -> Any:
    """Some value that fits a shape and its facts."""
    if fact.examples and not isinstance(shape, (Section, Kinds)):
        return to_plain(fact.examples[0])
    match shape:
        case Nullable():
            return None
        case Words(values) | WordOr(words=Words(values)):
            return values[0]
        case Simple(kind):
            return False if kind is bool else "x" if kind is str else kind(_number(fact))
        case ListOf(item):
            return [stand_in(item, dataclasses.replace(fact, examples=()))]
        case Section(cls):
            return _stand_in_section(cls)
        case Kinds(variants):
            return _stand_in_section(next(iter(variants.values())))
        case _:
            return {}


def _stand_in_section(cls: type) -> dict[str, Any]:
    return {
        info.name: stand_in(field_shapes(cls)[info.name], info.fact)
        for info in fields_of(cls)
        if info.required or info.name == "kind"
    }


def _number(fact: Fact) -> float:
    if fact.ge is not None:
        return max(fact.ge, 1.0) if fact.le is None and fact.lt is None else fact.ge
    low = fact.gt if fact.gt is not None else 0.0
    return (low + fact.lt) / 2 if fact.lt is not None else low + 1
