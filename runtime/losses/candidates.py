"""What the queries of a pass are compared with, and what counts of it."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from specrun.runtime.embedded import Tokens
from specrun.runtime.losses.algebra import Outputs, Rows, given
from specrun.runtime.losses.contrast import Masks, normalise
from specrun.spec.plan.losses import FalseNegativesPlan


def candidates_of(
    negatives: Literal["in_batch", "all"],
    outputs: Outputs,
    batch: Rows,
    false: FalseNegativesPlan | None = None,
) -> tuple[jax.Array, Masks]:
    """Candidates [C, D] and their masks: the positives, with ``all`` every row's explicit negatives behind them.

    ``false`` says what besides rows of one label is nobody's negative: candidates whose text is that
    of the row's positive or which belong to a row of the same query (``identical``), and those above
    ``limit_of``.
    """
    masks = masks_of(negatives, batch, false)._replace(limit=limit_of(false, outputs))
    if negatives == "in_batch":
        return outputs.positive, masks
    return _behind(outputs.positive, given(outputs.negatives)), masks


def token_candidates(negatives: Literal["in_batch", "all"], outputs: Outputs) -> Tokens:
    """As ``candidates_of``, the token vectors [C, T, D] of the same candidates."""
    positive = given(outputs.positive_tokens)
    if negatives == "in_batch":
        return positive
    return jax.tree.map(_behind, positive, given(outputs.negative_tokens))


def _behind(positives: jax.Array, negatives: jax.Array) -> jax.Array:
    """[B, ...] and [B, N, ...] as [B + B · N, ...]."""
    return jnp.concatenate([positives, negatives.reshape(-1, *negatives.shape[2:])])


def limit_of(false: FalseNegativesPlan | None, outputs: Outputs) -> jax.Array | None:
    """The cosine above which a candidate is not counted, [B]: the positive's less the margin, without a gradient.

    ``relative``: positive − margin · |positive|; ``absolute``: positive − margin. None where there is no margin.

    Those of sentence-transformers' GISTEmbedLoss and CachedGISTEmbedLoss with the model as its own guide. Their
    losses differ from ours in what is compared, unless they are told otherwise: queries with queries
    (``contrast_anchors``) and positives with positives (``contrast_positives``) too, never columns
    (``symmetric``), and they know neither labels nor texts. A guide of its own weights is not expressible here.
    """
    if false is None or false.margin is None:
        return None
    right = jnp.sum(normalise(outputs.query) * normalise(outputs.positive), axis=-1)
    right = jax.lax.stop_gradient(right)
    relative = false.margin_strategy == "relative"
    return right - false.margin * (jnp.abs(right) if relative else 1.0)


def masks_of(
    negatives: Literal["in_batch", "all"], batch: Rows, false: FalseNegativesPlan | None = None
) -> Masks:
    """Who counts, similarity apart: positives, with ``all`` every row's explicit negatives behind them."""
    masks = _masks(batch, false)
    return masks if negatives == "in_batch" else _with_negatives(masks, batch, false)


def _masks(batch: Rows, false: FalseNegativesPlan | None) -> Masks:
    none = jnp.full(batch.weight.shape, -1, jnp.int32)
    keys = [none if batch.label is None else batch.label]
    if false is not None and false.identical:
        keys += [given(batch.positive_text), given(batch.query_text)]
    own = jnp.stack(keys, axis=1)
    return Masks(batch.weight, batch.weight > 0, own, own)


def _with_negatives(masks: Masks, batch: Rows, false: FalseNegativesPlan | None) -> Masks:
    """Behind the positives every row's explicit negatives, which have texts, and no labels or queries."""
    there = (given(batch.negative_weight) > 0) & (batch.weight > 0)[:, None]  # [B, N]
    none = jnp.full(there.size, -1, jnp.int32)
    keys = [none]
    if false is not None and false.identical:
        keys += [given(batch.negative_text).reshape(-1), none]
    return masks._replace(
        valid=jnp.concatenate([masks.valid, there.reshape(-1)]),
        candidate_keys=jnp.concatenate([masks.candidate_keys, jnp.stack(keys, axis=1)]),
    )
