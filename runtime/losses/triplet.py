"""A hinge on the hardest negative: a row's own where it has some, else another row's positive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from specrun.runtime.chunks import filled, joined, strided
from specrun.runtime.losses.algebra import Outputs, Rows, Term, given
from specrun.runtime.losses.candidates import limit_of, masks_of
from specrun.runtime.losses.contrast import normalise
from specrun.runtime.losses.tiles import fold
from specrun.spec.plan.losses import Triplet

_BELOW = -2.0
"""Below every cosine: what a candidate that is no negative counts as."""


def triplet(plan: Triplet, tile_rows: int) -> Term:
    """``Σ_i w_i relu(max_j cos(q_i, n_j) − cos(q_i, p_i) + margin)``.

    ``n`` are the row's explicit negatives where it has some, else the positives of the other rows,
    without those of its label, of padding, and those taken for false negatives by their texts. A row
    without any negative has no loss and no weight. What is above ``limit_of`` is no negative either,
    explicit or not; who has nothing left for that reason has no loss, and its weight: weights
    are known before embeddings. At most ``tile_rows`` rows of cosines exist at a time. Among
    equally hard negatives the gradient is divided.

    With one explicit negative a row equal to sentence-transformers' TripletLoss on
    cosine distances; the hardest in the batch as in Hermans et al. 2017.
    """

    def weight(batch: Rows) -> jax.Array:
        return jnp.where(_has_negative(plan, batch, tile_rows), batch.weight, 0.0).sum()

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        del parameters
        positives = normalise(outputs.positive)
        masks = masks_of("in_batch", batch, plan.false_negatives)
        limit = limit_of(plan.false_negatives, outputs)
        rows = {
            "query": normalise(outputs.query),
            "positive": positives,
            "row": jnp.arange(len(positives)),
            "keys": masks.keys,
            "limit": limit,
            "weight": batch.weight,
        }
        if outputs.negatives is not None:
            rows["negatives"] = outputs.negatives
            rows["there"] = given(batch.negative_weight) > 0

        def one(value: jax.Array, part: dict[str, Any]) -> jax.Array:
            cosines = part["query"] @ positives.T
            others = part["row"][:, None] != jnp.arange(len(positives))
            hardest, some = _hardest(
                cosines, others & masks.apart(part["keys"], cosines, part["limit"])
            )
            if "negatives" in part:
                explicit, left = _own(part)
                has = jnp.any(part["there"], axis=-1)
                hardest, some = jnp.where(has, explicit, hardest), jnp.where(has, left, some)
            right = jnp.sum(part["query"] * part["positive"], axis=-1)
            losses = jax.nn.relu(hardest - right + plan.margin)
            counts = some & (part["weight"] > 0)
            return value + jnp.sum(jnp.where(counts, part["weight"] * losses, 0.0))

        return fold(one, jnp.zeros((), jnp.float32), rows, tile_rows)

    return Term(plan.name, "in_batch", weight, sum_)


def _own(part: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    """The hardest of the rows' explicit negatives, and whether one is left. [T]"""
    cosines = jnp.einsum("TD,TND->TN", part["query"], normalise(part["negatives"]))
    limit = part["limit"]
    near = False if limit is None else cosines > limit[:, None]
    return _hardest(cosines, part["there"] & ~jnp.asarray(near))


def _hardest(cosines: jax.Array, kept: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The greatest of the cosines that are kept, and whether there is one. [T]"""
    return jnp.max(jnp.where(kept, cosines, _BELOW), axis=-1), jnp.any(kept, axis=-1)


def _has_negative(plan: Triplet, batch: Rows, tile_rows: int) -> jax.Array:
    """Whether a row has any negative, similarity apart. bool [B]"""
    false = plan.false_negatives
    identical = false is not None and false.identical
    found = _other_text(plan, batch, tile_rows) if identical else _other_label(batch)
    if batch.negative_weight is None:
        return found
    return found | jnp.any(batch.negative_weight > 0, axis=-1)


def _other_text(plan: Triplet, batch: Rows, tile_rows: int) -> jax.Array:
    """Whether another row shares neither label nor text with it, by comparing all rows with all, some at a time."""
    masks = masks_of("in_batch", batch, plan.false_negatives)

    def one(keys: jax.Array) -> jax.Array:
        # A row is no candidate of its own: it shares its texts with itself.
        return jnp.any(masks.apart(keys, jnp.zeros(()), None), axis=-1)

    count = len(batch.weight)
    if count <= tile_rows:
        return one(masks.keys)
    tiles = -(-count // tile_rows)
    return joined(jax.lax.map(one, strided(filled(masks.keys, tiles), tiles)))[:count]


def _other_label(batch: Rows) -> jax.Array:
    """The same where labels alone count, without comparing all rows with all.

    A row with a label finds one among the others unless all of them have its label.
    """
    label, valid = _labels(batch), batch.weight > 0
    lowest = jnp.min(jnp.where(valid, label, jnp.iinfo(jnp.int32).max))
    highest = jnp.max(jnp.where(valid, label, -1))
    unlabelled = jnp.sum(valid) - valid > 0
    return jnp.where(label < 0, unlabelled, (lowest != label) | (highest != label)) & valid.any()


def _labels(batch: Rows) -> jax.Array:
    none = jnp.full(batch.weight.shape, -1, jnp.int32)
    return none if batch.label is None else batch.label
