"""Where a run stands: everything beside the arrays that shapes its rest. Saved in every checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

from specrun.runtime.loop.lines import START, Position
from specrun.spec.plan.evaluation import EarlyStoppingPlan, improves
from specrun.spec.plan.segments import AdvancePlan


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best evaluation so far: after how many steps, of which metric, with all values there."""

    step: int
    metric: str
    value: float
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The memory of early stopping, or of a stage that may end early: the value to beat by min_delta, and
    evaluations that did not."""

    reference: float | None = None
    without_improvement: int = 0

    def after(self, metric: str, value: float, rule: EarlyStoppingPlan | AdvancePlan) -> Patience:
        """The memory after one more evaluation of the metric."""
        if self.reference is None or improves(metric, value, self.reference, rule.min_delta):
            return Patience(reference=value)
        return Patience(reference=self.reference, without_improvement=self.without_improvement + 1)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """``step`` counts finished steps and those skipped by stages that ended early, so that it is a step of
    the plan; ``segment`` is the one last entered (-1: none);
    ``evaluated`` is the step after which the last evaluation was made (-1: none); ``patience`` is early
    stopping's, ``waiting`` that of the segment. ``ended`` is the last segment that ended early (-1: none),
    ``skipped`` how many of the plan's steps all of them left out.

    ``training`` and ``evaluation`` are the last values logged; ``traces`` the most traces of each
    kind made by any process of this run; ``seconds`` the time that training and evaluating took.
    """

    step: int = 0
    segment: int = -1
    evaluated: int = -1
    ended: int = -1
    skipped: int = 0
    best: Best | None = None
    patience: Patience = field(default_factory=Patience)
    waiting: Patience = field(default_factory=Patience)
    training: dict[str, float] = field(default_factory=dict)
    evaluation: dict[str, float] = field(default_factory=dict)
    traces: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    metrics_log: Position = field(default_factory=lambda: START)
    event_log: Position = field(default_factory=lambda: START)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """The inverse of ``plain``."""
        best = plain["best"]
        return cls(
            **plain
            | {
                "best": None if best is None else Best(**best),
                "patience": Patience(**plain["patience"]),
                "waiting": Patience(**plain.get("waiting", {})),
            }
        )
