"""The plan's evaluations, and which way a metric is better."""

from __future__ import annotations

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class EarlyStoppingPlan:
    patience: Annotated[int, Fact(doc="Evaluations without improvement.")]
    min_delta: Annotated[float, Fact(doc="Smallest improvement.")]


TOKENS_PREFIX = "multi_vector/"
"""Before the name of a metric: by the token vectors of a model that has an embedding beside them."""


REVERSE_PREFIX = "positive_to_query/"
"""Before the name of a metric: positives are asked for their queries."""

SPEARMAN = "spearman"
"""The metric that compares similarities with scores instead of ranking candidates."""

_LOWER_IS_BETTER = frozenset({"loss", "perplexity"})


def lower_is_better(metric: str) -> bool:
    """Whether a metric improves when it falls, as a loss does."""
    return metric.partition("@")[0] in _LOWER_IS_BETTER


def improves(metric: str, value: float, reference: float, min_delta: float = 0.0) -> bool:
    """Whether ``value`` is better than ``reference`` by more than ``min_delta``."""
    if lower_is_better(metric):
        return value < reference - min_delta
    return value > reference + min_delta


Direction = Literal["query_to_positive", "positive_to_query"]


@record
class EvaluationPlan:
    """Evaluation happens after the steps named: ``after = 10`` means ten optimizer steps were made."""

    after: Annotated[
        tuple[int, ...],
        Fact(doc="Numbers of finished steps; the last is the total.", klass="horizon"),
    ]
    batch_size: Annotated[int, Fact(doc="Rows encoded at a time.", klass="throughput")]
    metrics: Annotated[tuple[str, ...], Fact(doc="Metrics.")]
    directions: Annotated[
        tuple[Direction, ...],
        Fact(doc="What is asked: queries for positives, positives for queries, or both."),
    ] = ("query_to_positive",)
    dims: Annotated[tuple[int, ...], Fact(doc="Widths measured; the first is the whole embedding.")]
    token_dims: Annotated[
        tuple[int, ...],
        Fact(
            doc="Widths measured of the token vectors beside the embedding, the first their whole; empty where there are none beside it."
        ),
    ] = ()
    select_best: Annotated[str, Fact(doc="Metric that chooses the best, as named in results.")]
    masking_rates: Annotated[
        tuple[float, ...],
        Fact(doc="Shares of held-out texts' tokens that are hidden; empty where none are."),
    ] = ()
    early_stopping: Annotated[EarlyStoppingPlan | None, Fact(doc="Null is never.")]
