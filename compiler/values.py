"""Every value of a spec with its class and its history, as the plan keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Protocol, cast

from specrun.spec.annotations import FieldClass, FieldInfo, fields_of
from specrun.spec.codec import to_plain
from specrun.spec.experiment import Experiment
from specrun.spec.plan.file import weaker
from specrun.spec.plan.plan import Origin, Value


class History(Protocol):
    """One level's say about a value, as ``spec/levels.py`` records it."""

    @property
    def level(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def value(self) -> Any: ...


def values(spec: Experiment, history: Mapping[str, Sequence[History]]) -> tuple[Value, ...]:
    """The leaves of ``spec`` in the order of the schema, each with the levels that spoke, the winner last."""
    found: list[Value] = []
    for path, value, klass, _ in leaves_of(spec):
        said = (*_replaced(path, history), *map(_origin, history.get(path, ())))
        unsaid = (Origin(level="default", place="default", value=value),)
        found.append(Value(path=path, value=value, klass=klass, origins=said or unsaid))
    return tuple(found)


def _replaced(path: str, history: Mapping[str, Sequence[History]]) -> Iterator[Origin]:
    """What weaker levels had given for a list, at its first item's kind: lists are replaced whole."""
    name = path.removesuffix("[0].kind")
    for said in history.get(name, ())[:-1] if name != path else ():
        if said.level != "default":
            yield _origin(said)


def leaves_of(
    value: Any, path: str = "", klass: FieldClass = "semantic", info: FieldInfo | None = None
) -> Iterator[tuple[str, Any, FieldClass, FieldInfo | None]]:
    """(path, plain value, class, field) of every leaf of a typed spec; a null section is a leaf."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields_of(type(value)):
            inner = weaker(klass, field.fact.klass)
            at = f"{path}.{field.name}" if path else field.name
            yield from leaves_of(getattr(value, field.name), at, inner, field)
    elif isinstance(value, Mapping) and value:
        for key, item in cast("Mapping[str, Any]", value).items():
            yield from leaves_of(item, f"{path}.{key}", klass, info)
    elif isinstance(value, tuple) and any(is_dataclass(v) for v in cast("tuple[Any, ...]", value)):
        for i, item in enumerate(cast("tuple[Any, ...]", value)):
            yield from leaves_of(item, f"{path}[{i}]", klass, info)
    else:
        yield path, to_plain(value), klass, info


def _origin(said: History) -> Origin:
    place = f"{said.source}:{said.line}:{said.column}" if said.line else said.source
    return Origin(level=said.level, place=place, value=to_plain(said.value))
