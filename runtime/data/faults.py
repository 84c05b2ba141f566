"""Bad rows: counted by class, with their places, never replaced."""

from __future__ import annotations

from dataclasses import dataclass, field

from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.data import BadRows

PLACES_KEPT = 5
ERRORS_SHOWN = 20


@dataclass
class Faults:
    """Faults found while reading. ``place`` is ``file:line``, or a file."""

    found: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Count one, and keep its place among the first few."""
        places = self.found.setdefault(reason, [])
        if len(places) < ERRORS_SHOWN:
            places.append(place)
        self.counts[reason] = self.counts.get(reason, 0) + 1

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def summary(self) -> tuple[BadRows, ...]:
        """By class, the most frequent first."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(
            BadRows(reason=reason, count=count, places=tuple(self.found[reason][:PLACES_KEPT]))
            for reason, count in ordered
        )

    def refuse(self) -> None:
        """InputError that names the first faults of each class, when there are any."""
        if self.total:
            raise InputError([d for reason, places in self.found.items() for d in _diagnostics(reason, places)])


def _diagnostics(reason: str, places: list[str]) -> list[Diagnostic]:
    return [
        Diagnostic(
            code="bad-row",
            message=f"{place}: {reason}",
            path="data",
            hint="mend the row, or set data.bad_rows to skip",
        )
        for place in places
    ]
