"""A hinge on the hardest negative: a row's own where it has some, else another row's positive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from specrun.runtime.losses.algebra import Outputs, Rows, Term, given
from specrun.runtime.losses.contrast import normalise
from specrun.runtime.losses.tiles import fold
from specrun.spec.plan.training import Triplet

_BELOW = -2.0
"""Below every cosine: what a candidate that is no negative counts as."""


def triplet(plan: Triplet, tile_rows: int) -> Term:
    """``Σ_i w_i relu(max_j cos(q_i, n_j) − cos(q_i, p_i) + margin)``.

    ``n`` are the row's explicit negatives where it has some, else the positives of the other rows,
    without those of its label and of padding. A row without any negative has no loss and no weight.
    At most ``tile_rows`` rows of cosines exist at a time. Among equally hard negatives the gradient is divided.

    With one explicit negative a row equal to sentence-transformers' TripletLoss on
    cosine distances; the hardest in the batch as in Hermans et al. 2017.
    """

    def weight(batch: Rows) -> jax.Array:
        return jnp.where(_has_negative(batch), batch.weight, 0.0).sum()

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        del parameters
        positives = normalise(outputs.positive)
        label = _labels(batch)
        rows = {
            "query": normalise(outputs.query),
            "positive": positives,
            "row": jnp.arange(len(label)),
            "label": label,
            "weight": jnp.where(_has_negative(batch), batch.weight, 0.0),
        }
        if outputs.negatives is not None:
            rows["negatives"] = outputs.negatives
            rows["there"] = given(batch.negative_weight) > 0

        def one(value: jax.Array, part: dict[str, jax.Array]) -> jax.Array:
            others = (part["row"][:, None] != jnp.arange(len(label))) & (batch.weight > 0)
            others &= (part["label"][:, None] != label) | (part["label"] < 0)[:, None]
            hardest = _largest(part["query"] @ positives.T, others)  # [T]
            if "negatives" in part:
                unit = normalise(part["negatives"])
                own = _largest(jnp.einsum("TD,TND->TN", part["query"], unit), part["there"])
                hardest = jnp.where(jnp.any(part["there"], axis=-1), own, hardest)
            right = jnp.sum(part["query"] * part["positive"], axis=-1)
            losses = jax.nn.relu(hardest - right + plan.margin)
            return value + jnp.sum(jnp.where(part["weight"] > 0, part["weight"] * losses, 0.0))

        return fold(one, jnp.zeros((), jnp.float32), rows, tile_rows)

    return Term(plan.name, "in_batch", weight, sum_)


def _largest(cosines: jax.Array, kept: jax.Array) -> jax.Array:
    return jnp.max(jnp.where(kept, cosines, _BELOW), axis=-1)


def _labels(batch: Rows) -> jax.Array:
    none = jnp.full(batch.weight.shape, -1, jnp.int32)
    return none if batch.label is None else batch.label


def _has_negative(batch: Rows) -> jax.Array:
    """Whether a row has any negative, bool [B], without comparing all rows with all.

    A row with a label finds one among the others unless all of them have its label.
    """
    label, valid = _labels(batch), batch.weight > 0
    lowest = jnp.min(jnp.where(valid, label, jnp.iinfo(jnp.int32).max))
    highest = jnp.max(jnp.where(valid, label, -1))
    unlabelled = jnp.sum(valid) - valid > 0
    found = jnp.where(label < 0, unlabelled, (lowest != label) | (highest != label)) & valid.any()
    if batch.negative_weight is None:
        return found
    return found | jnp.any(batch.negative_weight > 0, axis=-1)
