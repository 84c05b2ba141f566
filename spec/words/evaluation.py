"""Retrieval over the held-out rows, and when to stop."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record

METRIC = r"^((multi_vector/)?((positive_to_query/)?(mrr|ndcg|recall|precision)@[1-9][0-9]{0,5}|spearman)( at [1-9][0-9]*)?|(loss|perplexity|accuracy)(@[0-9.]+)?)$"
"""A metric as results name it."""


@record
class EarlyStopping:
    """Stop when the selected metric no longer improves."""

    patience: Annotated[int, Fact(doc="Evaluations without improvement before stopping.", ge=1)] = 3
    min_delta: Annotated[float, Fact(doc="Smallest change that counts as improvement.", ge=0)] = 0.0


@record
class Evaluation:
    """Retrieval over all held-out rows."""

    every_steps: Annotated[
        int | None,
        Fact(
            doc="Steps between evaluations; null evaluates at the end of each epoch.",
            ge=1,
            unit="steps",
        ),
    ] = None
    at_start: Annotated[bool, Fact(doc="Evaluate before the first step too.")] = False
    batch_size: Annotated[
        int, Fact(doc="Rows encoded at a time.", ge=1, le=1048576, unit="rows", klass="throughput")
    ] = 256
    metrics: Annotated[
        tuple[str, ...] | None,
        Fact(
            doc="mrr@k, ndcg@k, recall@k and precision@k, for any k; `spearman`, the rank correlation of the held-out rows' similarities with `data.columns.score`. Under `masked_diffusion`: `loss`, `perplexity` and `accuracy` of hidden tokens. Null is mrr@10, ndcg@10, recall@1 and recall@10, or these three.",
            min_items=1,
            unique=True,
            pattern=r"^((mrr|ndcg|recall|precision)@[1-9][0-9]{0,5}|spearman|loss|perplexity|accuracy)$",
            examples=(("mrr@10", "recall@10"),),
        ),
    ] = None
    masking_rates: Annotated[
        tuple[float, ...] | None,
        Fact(
            doc="Shares of the held-out texts' tokens that are hidden, of n tokens max(1, ⌊n · r⌋), always the same ones; metrics are the means over them, and each has its own, such as `loss@0.5`. Null is 0.15, 0.5 and 0.85.",
            min_items=1,
            unique=True,
            gt=0,
            le=1,
            examples=((0.15, 0.5, 0.85),),
        ),
    ] = None
    directions: Annotated[
        tuple[Literal["query_to_positive", "positive_to_query"], ...],
        Fact(
            doc="What is asked: the queries for their positives, the positives for their queries (metrics that begin with `positive_to_query/`), or both.",
            min_items=1,
            unique=True,
            examples=(("query_to_positive", "positive_to_query"),),
        ),
    ] = ("query_to_positive",)
    select_best: Annotated[
        str | None,
        Fact(
            doc="Metric of `metrics` that chooses the best checkpoint, ` at D` for a Matryoshka dimension; `positive_to_query/` before it for that direction, `multi_vector/` before all for the token vectors of `model.multi_vector`. A loss and a perplexity are best when low. Null is `mrr@10`, or `loss` under `masked_diffusion`.",
            pattern=METRIC,
            examples=("ndcg@10", "mrr@10 at 64"),
        ),
    ] = None
    early_stopping: Annotated[
        EarlyStopping | None, Fact(doc="Stop when `select_best` no longer improves; null is never.")
    ] = None
