"""Rows as readers find them, and the faults of rows that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from specrun.spec.plan.data import BadRows

BUILT_IN_FIELDS = ("query_chars", "positive_chars", "positive_lines")
PLACES_KEPT = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A pair of texts. ``place`` is ``file:line``; ``name`` a function's name or empty; ``numbers`` by key."""

    query: str
    positive: str
    place: str
    name: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """A row or a file that is left out. ``reason`` is its class, ``detail`` what is particular to it."""

    reason: str
    file: str
    line: int = 0
    detail: str = ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


def by_class(faults: Iterable[Fault]) -> tuple[BadRows, ...]:
    """Faults counted by class, the classes in the order in which they first occur."""
    found: dict[str, list[str]] = {}
    for fault in faults:
        found.setdefault(fault.reason, []).append(fault.place)
    return tuple(
        BadRows(reason=reason, count=len(places), places=tuple(places[:PLACES_KEPT]))
        for reason, places in found.items()
    )


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8, which lone surrogates cannot."""
    return not any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else True
