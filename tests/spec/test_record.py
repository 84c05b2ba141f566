"""Records: what a frozen dataclass with keywords alone would be, made faster."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from specrun.spec.record import record


@record
class Point:
    x: int
    tags: tuple[str, ...] = ()


@record
class Named(Point):
    name: str
    more: tuple[int, ...] = dataclasses.field(default_factory=tuple)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain:
    x: int
    tags: tuple[str, ...] = ()


def test_it_does_what_a_dataclass_does() -> None:
    point, plain = Point(x=1), Plain(x=1)
    assert repr(point) == repr(plain).replace("Plain", "Point")
    assert dataclasses.asdict(point) == dataclasses.asdict(plain)
    assert hash(point) == hash(plain)
    assert point == Point(x=1, tags=()) != Point(x=2)
    assert dataclasses.replace(point, x=3) == Point(x=3)
    assert [f.name for f in dataclasses.fields(Named)] == ["x", "tags", "name", "more"]
    assert Named(name="a", x=2).more == ()
    assert pickle.loads(pickle.dumps(point)) == point


def test_records_of_two_classes_are_never_equal() -> None:
    assert Point(x=1) != Plain(x=1)
    assert Named(x=1, name="a") != Point(x=1)


@pytest.mark.parametrize("given", [{}, {"tags": ()}, {"x": 1, "z": 2}])
def test_missing_and_unknown_fields_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Point (misses x|has no z)"):
        Point(**given)
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[misc]


def test_nothing_can_be_changed() -> None:
    point = Point(x=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.y = 2  # type: ignore[attr-defined]
    assert point.x == 1


def test_records_share_their_methods() -> None:
    """What makes them fast, and what a timed test could not hold: nothing is compiled for a class."""
    for name in ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"):
        assert getattr(Point, name) is getattr(Named, name)
