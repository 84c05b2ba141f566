"""Bounds and values as people read them, in the editor's words and in the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specrun.spec.annotations import Fact
from specrun.spec.codec import to_plain


def limits(fact: Fact) -> tuple[str, ...]:
    """The range of a number: ``≥ 0``, ``< 1``."""
    bounds = (("≥", fact.ge), (">", fact.gt), ("≤", fact.le), ("<", fact.lt))
    return tuple(f"{sign} {bound}" for sign, bound in bounds if bound is not None)


def yaml_of(value: Any) -> str:
    """A value as a line of YAML may hold it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"[{', '.join(yaml_of(v) for v in to_plain(value))}]"
        case Mapping():
            return "{" + ", ".join(f"{k}: {yaml_of(v)}" for k, v in value.items()) + "}"  # pyright: ignore[reportUnknownVariableType]
        case str() if _needs_quotes(value):
            return f'"{value}"'
        case _:
            return str(value)


def _needs_quotes(text: str) -> bool:
    return not text or text[0] in "*&!%@`[]{}#|>?-,:\"'" or any(c in text for c in ",:[]{}#")
