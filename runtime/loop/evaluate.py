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
from specrun.runtime.loop.embed import embed, embed_tokens
from specrun.runtime.metrics import ranking_metrics, retrieval_metrics, spearman
from specrun.runtime.program.program import Program
from specrun.runtime.telling import Counted, Tell, silent
from specrun.runtime.vectors import Compare, Vectors, by_maxsim, cut, products, turned
from specrun.spec.plan.data import TableSource
from specrun.spec.plan.evaluation import REVERSE_PREFIX, SPEARMAN, TOKENS_PREFIX, EvaluationPlan
from specrun.spec.plan.model import MultiVectorPlan
from specrun.spec.plan.plan import Plan


class Measured(NamedTuple):
    """An evaluation: its metrics, and what they were computed from, in case more is asked.

    ``queries`` (float32 [N, D], or the vectors of their tokens) and ``candidates`` are not normalised;
    ``width`` is the one that is ranked by, and ``compare`` how.
    """

    values: dict[str, float]
    queries: Vectors
    candidates: Vectors
    pairs: Relevance
    width: int
    compare: Compare = products


class _Output(NamedTuple):
    """One output of the model over the held-out texts: what precedes its metrics' names, and its widths."""

    prefix: str
    queries: Vectors
    candidates: Vectors
    compare: Compare
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Evaluator:
    """The plan's evaluation over its held-out rows; makes no random draws."""

    plan: Plan
    policy: EvaluationPlan
    pairs: Relevance
    tokens: Tokens
    program: Program
    scores: np.ndarray | None = None  # float64 [held-out rows], NaN where one has none

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

        Those of token vectors beside an embedding begin with ``multi_vector/``. ``between`` is called
        before each batch; what it raises ends the evaluation. ``tell`` hears how many texts are
        encoded.
        """
        held = self.tokens.validation
        negatives = held.negatives.tokens if held.negatives else None
        asked = [held.queries[int(row)] for row in self.pairs.queries]
        offered = self.pairs.offered(held.positives, negatives)
        count = Counted("evaluating, texts", len(asked) + len(offered), tell)

        def batch() -> None:
            between()
            count.batch(self.policy.batch_size)

        outputs = self._outputs(state, asked, offered, batch)
        found: dict[str, float] = {}
        for output in outputs:
            found |= self._metrics(output)
        count.finish()
        first = outputs[0]
        return Measured(
            found, first.queries, first.candidates, self.pairs, first.dims[0], first.compare
        )

    def _metrics(self, output: _Output) -> dict[str, float]:
        found: dict[str, float] = {}
        for dimension in output.dims:
            queries = cut(output.queries, dimension)
            values = self._measured(queries, cut(output.candidates, dimension), output.compare)
            suffix = "" if dimension == output.dims[0] else f" at {dimension}"
            found |= {f"{output.prefix}{n}{suffix}": float(v) for n, v in values.items()}
        return found

    def _measured(
        self, queries: Vectors, candidates: Vectors, compare: Compare
    ) -> dict[str, float]:
        """The metrics of one output at one width, in each direction."""
        metrics, found = ranking_metrics(self.policy.metrics), dict[str, float]()
        for direction in self.policy.directions if metrics else ():
            if direction == "query_to_positive":
                relevant = self.pairs.relevant
                found |= retrieval_metrics(queries, candidates, relevant, metrics, compare=compare)
            else:
                relevant = self.pairs.reversed()
                values = retrieval_metrics(
                    candidates[: len(relevant)],
                    queries,
                    relevant,
                    metrics,
                    compare=turned(compare),
                )
                found |= {f"{REVERSE_PREFIX}{name}": value for name, value in values.items()}
        if SPEARMAN in self.policy.metrics:
            found[SPEARMAN] = self._spearman(queries, candidates, compare)
        return found

    def _spearman(self, queries: Vectors, candidates: Vectors, compare: Compare) -> float:
        """Over the held-out rows that have a score, each row's query with its positive."""
        assert self.scores is not None  # the plan's data names a column of scores
        rows = np.flatnonzero(~np.isnan(self.scores))
        asked = queries[self.pairs.query_of[rows]]
        offered = candidates[self.pairs.candidate_of[rows]]
        similar = [compare(asked[i : i + 1], offered[i : i + 1])[0, 0] for i in range(len(rows))]
        return spearman(np.array(similar, np.float32), self.scores[rows])

    def _outputs(
        self,
        state: Any,
        asked: list[np.ndarray],
        offered: list[np.ndarray],
        between: Callable[[], None],
    ) -> list[_Output]:
        """What the model gives for all texts, the output that is ranked by first."""
        late, dims = self.plan.model.multi_vector, self.policy.dims
        sides = (("query", asked), ("positive", offered))
        if late is None:
            queries, offers = (self._embed(state, *side, between) for side in sides)
            return [_Output("", queries, offers, products, dims)]
        found = [self._embed_tokens(late, state, *side, between) for side in sides]
        dense, tokens = zip(*found, strict=True)
        compare = by_maxsim(late.reduce)
        if late.alone:
            return [_Output("", *tokens, compare, dims)]
        return [
            _Output("", *dense, products, dims),
            _Output(TOKENS_PREFIX, *tokens, compare, self.policy.token_dims),
        ]

    def _embed(
        self, state: Any, side: str, sequences: list[np.ndarray], between: Callable[[], None]
    ) -> np.ndarray:
        return embed(
            sequences,
            lambda ids, mask: np.asarray(self.program.encode(state, ids, mask, side)),
            width=self.plan.model.embedding_dim,
            **self._batches(side, between),
        )

    def _embed_tokens(
        self,
        late: MultiVectorPlan,
        state: Any,
        side: str,
        sequences: list[np.ndarray],
        between: Callable[[], None],
    ) -> tuple[np.ndarray, Vectors]:
        return embed_tokens(
            sequences,
            lambda ids, mask: self.program.encode(state, ids, mask, side),
            width=0 if late.alone else self.plan.model.embedding_dim,
            token_width=late.width,
            **self._batches(side, between),
        )

    def _batches(self, side: str, between: Callable[[], None]) -> dict[str, Any]:
        data = self.plan.data
        return {
            "batch_size": self.policy.batch_size,
            "longest": data.max_query_length if side == "query" else data.max_positive_length,
            "pad_id": self.tokens.pad_id,
            "between": between,
        }


def make_evaluator(plan: Plan, program: Program, rows: Rows, tokens: Tokens) -> Evaluator | None:
    """The evaluator of a plan; None when the plan evaluates nothing."""
    if plan.evaluation is None:
        return None
    held, source = rows.validation, plan.data.source
    column = source.score if isinstance(source, TableSource) else None
    scores = np.full(len(held), np.nan) if column is None else held.fields.get(column)
    return Evaluator(plan, plan.evaluation, relevance(held), tokens, program, scores)
