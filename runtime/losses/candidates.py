"""What the queries of a pass are compared with, and what counts of it."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from specrun.runtime.losses.algebra import Outputs, Rows, given
from specrun.runtime.losses.contrast import Masks, normalise
from specrun.spec.plan.training import FalseNegativesPlan


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
    masks = _masks(outputs, batch, false)
    if negatives == "in_batch":
        return outputs.positive, masks
    return _with_negatives(outputs.positive, masks, outputs, batch, false)


def limit_of(false: FalseNegativesPlan | None, outputs: Outputs) -> jax.Array | None:
    """The cosine above which a candidate is not counted, [B]: the positive's less the margin, without a gradient.

    ``relative``: positive · (1 − margin); ``absolute``: positive − margin. None where there is no margin.
    """
    if false is None or false.margin is None:
        return None
    right = jnp.sum(normalise(outputs.query) * normalise(outputs.positive), axis=-1)
    right = jax.lax.stop_gradient(right)
    relative = false.margin_strategy == "relative"
    return right * (1 - false.margin) if relative else right - false.margin


def _masks(outputs: Outputs, batch: Rows, false: FalseNegativesPlan | None) -> Masks:
    none = jnp.full(batch.weight.shape, -1, jnp.int32)
    keys = [none if batch.label is None else batch.label]
    if false is not None and false.identical:
        keys += [given(batch.positive_text), given(batch.query_text)]
    own = jnp.stack(keys, axis=1)
    return Masks(batch.weight, batch.weight > 0, own, own, limit_of(false, outputs))


def _with_negatives(
    positives: jax.Array,
    masks: Masks,
    outputs: Outputs,
    batch: Rows,
    false: FalseNegativesPlan | None,
) -> tuple[jax.Array, Masks]:
    """Behind the positives every row's explicit negatives, which have texts, and no labels or queries."""
    negatives = given(outputs.negatives)
    flat = negatives.reshape(-1, negatives.shape[-1])  # [B · N, D]
    there = (given(batch.negative_weight) > 0) & (batch.weight > 0)[:, None]
    none = jnp.full(flat.shape[0], -1, jnp.int32)
    keys = [none]
    if false is not None and false.identical:
        keys += [given(batch.negative_text).reshape(-1), none]
    longer = masks._replace(
        valid=jnp.concatenate([masks.valid, there.reshape(-1)]),
        candidate_keys=jnp.concatenate([masks.candidate_keys, jnp.stack(keys, axis=1)]),
    )
    return jnp.concatenate([positives, flat]), longer
