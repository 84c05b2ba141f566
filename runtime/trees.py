"""Nested plain dicts by dotted path: the shape of every state, without a library behind it.

A leaf is whatever is not a dict. Paths join the keys with dots: ``{"a": {"b": 1}}`` has ``a.b``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Tree = dict[str, Any]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted path, in sorted order of the keys at each level. Empty dicts vanish."""
    flat: dict[str, Any] = {}
    for key in sorted(tree):
        value = tree[key]
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> Tree:
    """The nested dict with these paths. ValueError when one path is the beginning of another."""
    tree: Tree = {}
    for path in sorted(flat):
        *parents, last = path.split(".")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ValueError(f"path {path!r} lies below another leaf")
        if last in node:
            raise ValueError(f"path {path!r} lies above another leaf")
        node[last] = flat[path]
    return tree


def split(tree: Mapping[str, Any], paths: Iterable[str]) -> tuple[Tree, Tree]:
    """(the leaves at ``paths``, the others). KeyError names the paths that the tree lacks."""
    flat = flatten(tree)
    chosen = set(paths)
    if missing := sorted(chosen - flat.keys()):
        raise KeyError(f"no such paths: {', '.join(missing)}")
    inside = {p: x for p, x in flat.items() if p in chosen}
    return unflatten(inside), unflatten({p: x for p, x in flat.items() if p not in chosen})


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> Tree:
    """The leaves of both. ValueError names the paths that both have."""
    left, right = flatten(first), flatten(second)
    if both := sorted(left.keys() & right.keys()):
        raise ValueError(f"paths in both trees: {', '.join(both)}")
    return unflatten(left | right)


def lookup(tree: Mapping[str, Any], path: str) -> Any:
    """The leaf or subtree at a dotted path. KeyError names the whole path."""
    node: Any = tree
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            raise KeyError(f"no such path: {path}")
        node = node[key]
    return node
