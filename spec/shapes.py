"""The shape of a field's type, as the closed set that schemas, defaults and checks tell apart."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from specrun.spec.annotations import fields_of


@dataclass(frozen=True)
class Simple:
    """A bool, int, float or str."""

    type: type


@dataclass(frozen=True)
class Words:
    """One of some constants."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class ListOf:
    """A list of one shape."""

    item: Shape


@dataclass(frozen=True)
class Row:
    """A list of fixed length."""

    items: tuple[Shape, ...]


@dataclass(frozen=True)
class MapOf:
    """A mapping from text to one shape."""

    value: Shape


@dataclass(frozen=True)
class Section:
    """A mapping with the fields of a dataclass."""

    cls: type


@dataclass(frozen=True)
class Kinds:
    """A mapping whose ``kind`` says which dataclass it is."""

    variants: Mapping[str, type]


@dataclass(frozen=True)
class WordOr:
    """One of some constants, or a mapping with the fields of a dataclass."""

    words: Words
    section: Section


@dataclass(frozen=True)
class Either:
    """One of several shapes without a tag."""

    arms: tuple[Shape, ...]


@dataclass(frozen=True)
class Nullable:
    """A shape, or null."""

    inner: Shape


@dataclass(frozen=True)
class Anything:
    """Any JSON value."""


Shape = (
    Simple | Words | ListOf | Row | MapOf | Section | Kinds | WordOr | Either | Nullable | Anything
)


def shape_of(kind: Any) -> Shape:
    """The shape of a type as it stands in a field of a spec or a plan."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _union(args)
    if origin is Literal:
        return Words(args)
    if origin is tuple:
        return _tuple(args)
    if origin in (Mapping, dict):
        return MapOf(shape_of(args[1]))
    if is_dataclass(kind) and isinstance(kind, type):
        tag = kind_of(kind)
        return Kinds({tag: kind}) if tag else Section(kind)
    return Simple(kind) if kind in (bool, int, float, str) else Anything()


@cache
def field_shapes(cls: type) -> Mapping[str, Shape]:
    """The shape of every field of a dataclass, by name; worked out once."""
    return {info.name: shape_of(info.type) for info in fields_of(cls)}


def kind_of(cls: type) -> str | None:
    """The constant of a dataclass's ``kind`` field, if it has one."""
    for info in fields_of(cls):
        if info.name == "kind" and get_origin(info.type) is Literal:
            return str(get_args(info.type)[0])
    return None


def without_null(shape: Shape) -> Shape:
    """The shape itself, where null is allowed beside it."""
    return shape.inner if isinstance(shape, Nullable) else shape


def _tuple(args: tuple[Any, ...]) -> Shape:
    if len(args) == 2 and args[1] is Ellipsis:
        return ListOf(shape_of(args[0]))
    return Row(tuple(shape_of(a) for a in args))


def _union(args: tuple[Any, ...]) -> Shape:
    arms = [a for a in args if a is not type(None)]
    if len(arms) < len(args):
        inner = arms[0] if len(arms) == 1 else Union[tuple(arms)]  # noqa: UP007
        return Nullable(shape_of(inner))
    tags = {kind_of(a): a for a in arms if is_dataclass(a) and isinstance(a, type)}
    if len(tags) == len(arms) and None not in tags:
        return Kinds({str(tag): cls for tag, cls in tags.items()})
    shapes = tuple(shape_of(a) for a in arms)
    match shapes:
        case (Words() as words, Section() as section):
            return WordOr(words, section)
        case _:
            return Either(shapes)
