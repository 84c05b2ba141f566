"""Nested dicts by path."""

from __future__ import annotations

import pytest

from specrun.runtime import trees

TREE = {"b": {"x": 1, "w": {"k": 2}}, "a": 3}


def test_flatten_and_unflatten_are_inverse():
    flat = trees.flatten(TREE)
    assert flat == {"a": 3, "b.w.k": 2, "b.x": 1}
    assert list(flat) == sorted(flat)
    assert trees.unflatten(flat) == TREE


def test_split_and_merge_are_inverse():
    inside, outside = trees.split(TREE, ["a", "b.w.k"])
    assert inside == {"a": 3, "b": {"w": {"k": 2}}}
    assert outside == {"b": {"x": 1}}
    assert trees.merge(inside, outside) == TREE


def test_faults_name_their_paths():
    with pytest.raises(KeyError, match=r"b\.y"):
        trees.split(TREE, ["b.y", "a"])
    with pytest.raises(ValueError, match=r"b\.x"):
        trees.merge(TREE, {"b": {"x": 1}})
    with pytest.raises(ValueError, match=r"'a\.b'"):
        trees.unflatten({"a": 1, "a.b": 2})
    with pytest.raises(KeyError, match=r"b\.w\.k\.z"):
        trees.lookup(TREE, "b.w.k.z")


def test_lookup_finds_leaves_and_subtrees():
    assert trees.lookup(TREE, "b.w") == {"k": 2}
    assert trees.lookup(TREE, "a") == 3
