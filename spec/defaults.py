"""Filling in what no source sets: the defaults of the typed spec, and whole numbers in their type."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from specrun.spec.annotations import FieldInfo, fields_of
from specrun.spec.codec import to_plain
from specrun.spec.levels import History, Origin
from specrun.spec.shapes import (
    Kinds,
    ListOf,
    MapOf,
    Section,
    Shape,
    Simple,
    WordOr,
    field_shapes,
    without_null,
)
from specrun.spec.tree import Items, Node, Path, Scalar, Table, plain


def fill(cls: type, tree: Node, history: History) -> dict[str, Any]:
    """The plain values of a tree with every default of ``cls`` in place, the history extended by them."""
    return _section(cls, tree, dataclasses.MISSING, (), history) if isinstance(tree, Table) else {}


def _filled(shape: Shape, node: Node, default: Any, path: Path, history: History) -> Any:
    match without_null(shape), node:
        case ((Section(cls) | WordOr(section=Section(cls))), Table()):
            return _section(cls, node, default, path, history)
        case Kinds(variants), Table():
            return _section(_variant(variants, node, default), node, default, path, history)
        case ListOf(item), Items():
            return [
                _filled(item, part, dataclasses.MISSING, (*path, i), history)
                for i, part in enumerate(node.items)
            ]
        case MapOf(value), Table():
            return {
                key: _filled(value, entry.node, dataclasses.MISSING, (*path, key), history)
                for key, entry in node.entries.items()
            }
        case Simple(kind), Scalar():
            return _number(kind, node.value)
        case _:
            return plain(node)


def _number(kind: type, value: Any) -> Any:
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is float and type(value) is int:
        return float(value)
    return value


def _variant(variants: Mapping[str, type], node: Table, default: Any) -> type | None:
    entry = node.entries.get("kind")
    if entry is not None:
        value = plain(entry.node)
        return variants.get(value) if isinstance(value, str) else None
    kinds = [cls for cls in variants.values() if isinstance(default, cls)]
    return kinds[0] if kinds else None


def _section(
    cls: type | None, node: Table, default: Any, path: Path, history: History
) -> dict[str, Any]:
    if cls is None:
        return plain(node)
    shapes = field_shapes(cls)
    filled: dict[str, Any] = {}
    for info in fields_of(cls):
        inherited = getattr(default, info.name) if type(default) is cls else info.default
        if info.name == "kind" and type(default) is not cls and "kind" not in node.entries:
            continue
        at = (*path, info.name)
        if info.name in node.entries:
            below = node.entries[info.name].node
            filled[info.name] = _filled(shapes[info.name], below, inherited, at, history)
            _precede(info, inherited, at, history)
        elif inherited is not dataclasses.MISSING:
            filled[info.name] = to_plain(inherited)
            _record(filled[info.name], at, history)
    extra = {k: plain(e.node) for k, e in node.entries.items() if k not in filled}
    return filled | extra


def _precede(info: FieldInfo, inherited: Any, path: Path, history: History) -> None:
    if inherited is dataclasses.MISSING or info.name == "kind":
        return
    known = history.get(path, ())
    if not known or known[0].level != "default":
        history[path] = (_default(to_plain(inherited)), *known)


def _record(value: Any, path: Path, history: History) -> None:
    history.setdefault(path, (_default(value),))
    if isinstance(value, dict):
        for key, part in value.items():  # pyright: ignore[reportUnknownVariableType]
            _record(part, (*path, str(key)), history)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        for index, part in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            _record(part, (*path, index), history)


def _default(value: Any) -> Origin:
    return Origin(level="default", source="default", line=0, column=0, value=value)
