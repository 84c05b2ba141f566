"""Frozen dataclasses to plain JSON values and back, by their types alone."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from specrun.spec.annotations import fields_of

T = TypeVar("T")


class CodecError(ValueError):
    """A plain value does not fit its type; ``path`` is the dotted place of the misfit."""

    def __init__(self, path: str, message: str):
        super().__init__(f"{path or 'the whole'}: {message}")
        self.path = path
        self.reason = message


def to_plain(value: Any) -> Any:
    """Dataclasses to dicts, tuples to lists, mappings to dicts; leaves stay."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (tuple, list)):
        return [to_plain(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def from_plain(kind: type[T], tree: Any, path: str = "") -> T:
    """Build ``kind`` from plain values. Unknown, missing and misfitting entries raise CodecError."""
    return _decode(kind, tree, path)


def canonical(tree: Any) -> str:
    """Canonical JSON: sorted keys, finite numbers, two-space indent, final newline."""
    return json.dumps(tree, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _decode(kind: Any, tree: Any, path: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return tree
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), tree, path)
    if origin is Literal:
        return _expect(
            any(tree == a and type(tree) is type(a) for a in get_args(kind)),
            tree,
            path,
            f"one of {get_args(kind)}",
        )
    if origin is tuple:
        return _decode_tuple(get_args(kind), tree, path)
    if origin is Mapping or origin is dict:
        _expect(isinstance(tree, dict), tree, path, "a mapping")
        return {k: _decode(get_args(kind)[1], v, _join(path, k)) for k, v in tree.items()}
    if is_dataclass(kind):
        return _decode_dataclass(kind, tree, path)
    return _decode_leaf(kind, tree, path)


def _decode_leaf(kind: Any, tree: Any, path: str) -> Any:
    if kind is float:
        _expect(type(tree) in (int, float) and math.isfinite(tree), tree, path, "a finite number")
        return float(tree)
    if kind is int:
        whole = type(tree) is int or (type(tree) is float and tree.is_integer())
        return int(_expect(whole, tree, path, "a whole number"))
    return _expect(type(tree) is kind, tree, path, f"{getattr(kind, '__name__', kind)}")


def _decode_union(arms: tuple[Any, ...], tree: Any, path: str) -> Any:
    if tree is None and type(None) in arms:
        return None
    arms = tuple(a for a in arms if a is not type(None))
    if len(arms) == 1:
        return _decode(arms[0], tree, path)
    words = [arm for arm in arms if get_origin(arm) is Literal]
    sections = [arm for arm in arms if arm not in words]
    if words and len(sections) == 1:
        return _decode(sections[0] if isinstance(tree, dict) else words[0], tree, path)
    kind = tree.get("kind") if isinstance(tree, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    for arm in arms:
        if is_dataclass(arm) and kind in get_args(fields_of(arm)[0].type):  # pyright: ignore[reportArgumentType]
            return _decode(arm, tree, path)
    return _expect(False, tree, path, "a mapping with a known kind")


def _decode_tuple(arms: tuple[Any, ...], tree: Any, path: str) -> Any:
    _expect(isinstance(tree, (list, tuple)), tree, path, "a list")
    if len(arms) == 2 and arms[1] is Ellipsis:
        return tuple(_decode(arms[0], v, f"{path}[{i}]") for i, v in enumerate(tree))
    _expect(len(tree) == len(arms), tree, path, f"a list of {len(arms)}")
    return tuple(
        _decode(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(arms, tree, strict=True))
    )


def _decode_dataclass(kind: Any, tree: Any, path: str) -> Any:
    _expect(isinstance(tree, dict), tree, path, f"a mapping ({kind.__name__})")
    known = {f.name: f for f in fields_of(kind)}
    for key in tree:
        if key not in known:
            raise CodecError(_join(path, key), "unknown key")
    for name, info in known.items():
        if name not in tree and info.required:
            raise CodecError(_join(path, name), "missing key")
    return kind(**{k: _decode(known[k].type, v, _join(path, k)) for k, v in tree.items()})


def _expect(holds: bool, tree: Any, path: str, wanted: str) -> Any:
    if not holds:
        raise CodecError(path, f"found {str(tree)[:60]!r}, wanted {wanted}")
    return tree


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
