"""Held-out retrieval: every held-out query against every held-out candidate, at each width.

Candidates are the positives and the explicit negatives of the held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from specrun.runtime.data.relevance import Relevance, relevance
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.tokens import Tokens
from specrun.runtime.loop.embed import embed, normalised
from specrun.runtime.metrics import retrieval_metrics
from specrun.runtime.program.program import Program
from specrun.runtime.telling import Counted, Tell, silent
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.training import EvaluationPlan


class Measured(NamedTuple):
    """An evaluation: its metrics, and what they were computed from, in case more is asked.

    ``queries`` float32 [N, D] and ``candidates`` [M, D] are not normalised; ``width`` is the one that
    is ranked by.
    """

    values: dict[str, float]
    queries: np.ndarray
    candidates: np.ndarray
    pairs: Relevance
    width: int


@dataclass(frozen=True)
class Evaluator:
    """The plan's evaluation over its held-out rows; makes no random draws."""

    plan: Plan
    policy: EvaluationPlan
    pairs: Relevance
    tokens: Tokens
    program: Program

    def __call__(self, state: Any, between: Callable[[], None] = lambda: None) -> dict[str, float]:
        """The values of ``measure`` alone."""
        return self.measure(state, between).values

    def measure(
        self,
        state: Any,
        between: Callable[[], None] = lambda: None,
        tell: Tell = silent,
    ) -> Measured:
        """Metrics by name: ``mrr@10`` at the whole width, ``mrr@10 at 64`` at another.

        ``between`` is called before each batch; what it raises ends the evaluation. ``tell`` hears
        how many texts are encoded.
        """
        data, held = self.plan.data, self.tokens.validation
        negatives = held.negatives.tokens if held.negatives else None
        asked = [held.queries[int(row)] for row in self.pairs.queries]
        offered = self.pairs.offered(held.positives, negatives)
        count = Counted("evaluating, texts", len(asked) + len(offered), tell)

        def batch() -> None:
            between()
            count.batch(self.policy.batch_size)

        queries, candidates = (
            self._embed(state, side, sequences, longest, batch)
            for side, sequences, longest in (
                ("query", asked, data.max_query_length),
                ("positive", offered, data.max_positive_length),
            )
        )
        found: dict[str, float] = {}
        for dimension in self.policy.dims:
            values = retrieval_metrics(
                normalised(queries, dimension),
                normalised(candidates, dimension),
                self.pairs.relevant,
                self.policy.metrics,
            )
            whole = dimension == self.policy.dims[0]
            found |= {n if whole else f"{n} at {dimension}": float(v) for n, v in values.items()}
        count.finish()
        return Measured(found, queries, candidates, self.pairs, self.policy.dims[0])

    def _embed(
        self,
        state: Any,
        side: str,
        sequences: list[np.ndarray],
        longest: int,
        between: Callable[[], None],
    ) -> np.ndarray:
        return embed(
            sequences,
            lambda ids, mask: np.asarray(self.program.encode(state, ids, mask, side)),
            batch_size=self.policy.batch_size,
            longest=longest,
            pad_id=self.tokens.pad_id,
            width=self.plan.model.embedding_dim,
            between=between,
        )


def make_evaluator(plan: Plan, program: Program, rows: Rows, tokens: Tokens) -> Evaluator | None:
    """The evaluator of a plan; None when the plan evaluates nothing."""
    if plan.evaluation is None:
        return None
    return Evaluator(plan, plan.evaluation, relevance(rows.validation), tokens, program)
