"""Counting what Python really traced, against what the plan promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from specrun.runtime.program.control import active_losses
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.plan import Plan

Signature = tuple[int, int, frozenset[str], frozenset[str], bool]


class TraceCounter:
    """Traces made so far. Calling it gives those of the training step by their promised names.

    It only watches: no traced function reads it. ``encoding`` and ``evaluation`` count the traces
    of these two functions, which the plan makes no promise about.
    """

    def __init__(self, plan: Plan):
        self._names = promised(plan)
        self._training: Counter[str] = Counter()
        self.encoding = 0
        self.evaluation = 0

    def __call__(self) -> dict[str, int]:
        return dict(self._training)

    def train(
        self,
        query: int,
        positive: int,
        losses: Iterable[str],
        trained: Iterable[str],
        *,
        mined: bool = False,
    ) -> None:
        """Count one trace of the training step. RunError when the plan promises none like it."""
        signature = (query, positive, frozenset(losses), frozenset(trained), mined)
        if signature not in self._names:
            raise RunError(
                f"the plan promises no trace for queries of {query} tokens, positives of "
                f"{positive}, losses {sorted(signature[2])}{' with mined negatives' if mined else ''} and {len(signature[3])} trained "
                "parameters: the state, the batch and the control values are not of one segment"
            )
        self._training[self._names[signature]] += 1


def promised(plan: Plan) -> dict[Signature, str]:
    """Names of the plan's training traces by what is static in them."""
    return {
        (
            trace.query_length,
            trace.positive_length,
            frozenset(active_losses(plan.segments[index])),
            frozenset(plan.segments[index].trained),
            plan.mines_in(index),
        ): trace.name
        for trace in plan.traces
        for index in trace.segments
    }
