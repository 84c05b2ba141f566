"""What a field of the spec or the plan means, beside its type: the facts that schemas, hovers and checks share."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from specrun.spec.record import record

FieldClass = Literal["semantic", "horizon", "throughput", "cosmetic"]
"""How a change of the field counts: for the numbers, for the length of the run, for its speed, for its looks."""


@record
class Fact:
    """Facts about one field, written as ``Annotated[T, Fact(...)]``.

    ``ge, gt, le, lt`` bound numbers (or, on a tuple, each of its items); ``min_items`` and ``unique``
    bound lists; ``when`` names a sibling and the values of it under which this field has an effect
    (``"positive"`` stands for any number above zero).
    """

    doc: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    unit: str | None = None
    examples: tuple[Any, ...] = ()
    klass: FieldClass = "semantic"
    min_items: int | None = None
    unique: bool = False
    pattern: str | None = None
    enum_docs: tuple[str, ...] = ()
    when: tuple[str, tuple[Any, ...] | Literal["positive"]] | None = None


@record
class FieldInfo:
    """One field of a dataclass: name, type without ``Annotated``, facts, default (MISSING when required)."""

    name: str
    type: Any
    fact: Fact
    default: Any

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


_CACHE: dict[type, tuple[FieldInfo, ...]] = {}


def fields_of(cls: type) -> tuple[FieldInfo, ...]:
    """The fields of a dataclass with their facts, in order of declaration."""
    if cls not in _CACHE:
        hints = get_type_hints(cls, include_extras=True)
        _CACHE[cls] = tuple(_field_info(f, hints[f.name]) for f in dataclasses.fields(cls))
    return _CACHE[cls]


def _field_info(field: dataclasses.Field[Any], hint: Any) -> FieldInfo:
    fact = Fact(doc="")
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        fact = next((e for e in extras if isinstance(e, Fact)), fact)
    default = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return FieldInfo(name=field.name, type=hint, fact=fact, default=default)
