"""Floating-point operations of a traced function with every turn of its loops counted.

XLA's cost analysis counts the body of a loop once, whatever its length: a scan over layers, chunks or passes is
far too cheap in it. ``missed`` counts, from the jaxpr, what the turns after the first add.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

_ARITHMETIC = {
    "add",
    "sub",
    "mul",
    "div",
    "max",
    "min",
    "neg",
    "abs",
    "sign",
    "integer_pow",
    "square",
}
_LOGIC = {"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "shift_right_logical"}
_ELEMENTWISE = frozenset(_ARITHMETIC | _LOGIC | {"select_n", "convert_element_type"})
"""Primitives that XLA counts as one operation for each number they make."""

_REDUCTIONS = frozenset({"reduce_sum", "reduce_max", "reduce_min", "argmax", "cumsum"})


class Count(NamedTuple):
    """Operations with each loop's body counted once, as XLA does, and with every turn counted."""

    once: int
    full: int


def missed(jaxpr: Any) -> int:
    """Operations in the turns that XLA's analysis leaves out. ``jaxpr`` is closed or open."""
    found = count(jaxpr)
    return found.full - found.once


def count(jaxpr: Any) -> Count:
    """Operations of a jaxpr by type of primitive. A ``while`` of unknown length is counted once in both."""
    once = full = 0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        inner = [count(below) for below in _inside(equation.params)]
        turns, seen = _turns(equation)
        own = _own(equation)
        once += own + seen * sum(c.once for c in inner)
        full += own + turns * sum(c.full for c in inner)
    return Count(once, full)


def _turns(equation: Any) -> tuple[int, int]:
    """(turns of a loop, copies of its body that XLA sees): an unrolled scan has several, and a rest outside."""
    if equation.primitive.name != "scan":
        return 1, 1
    length, unroll = equation.params["length"], int(equation.params["unroll"])
    loops, rest = divmod(length, max(unroll, 1))
    return length, length if loops <= 1 else unroll + rest


def _inside(params: dict[str, Any]) -> Iterator[Any]:
    """The jaxprs that an equation calls. Of branches all are counted: there are none in a step."""
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(item, "eqns") or hasattr(item, "jaxpr"):
                yield item


def _own(equation: Any) -> int:
    name, made = equation.primitive.name, equation.outvars[0].aval if equation.outvars else None
    if name == "dot_general":
        return 2 * math.prod(made.shape) * _contracted(equation)
    if name in _ELEMENTWISE:
        return math.prod(made.shape)
    if name in _REDUCTIONS:
        return math.prod(equation.invars[0].aval.shape)
    return 0


def _contracted(equation: Any) -> int:
    """The length of the sums of a product."""
    (left, _), _ = equation.params["dimension_numbers"]
    return math.prod(equation.invars[0].aval.shape[axis] for axis in left)
