"""What the queries of a pass are compared with, and what counts of it."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from specrun.runtime.losses.algebra import Outputs, Rows, given
from specrun.runtime.losses.contrast import Masks


def candidates_of(
    negatives: Literal["in_batch", "all"], outputs: Outputs, batch: Rows
) -> tuple[jax.Array, Masks]:
    """Candidates [C, D] and their masks: the positives, with ``all`` every row's explicit negatives behind them."""
    masks = _masks(batch)
    if negatives == "in_batch":
        return outputs.positive, masks
    return _with_negatives(outputs.positive, masks, outputs, batch)


def _masks(batch: Rows) -> Masks:
    none = jnp.full(batch.weight.shape, -1, jnp.int32)
    label = none if batch.label is None else batch.label
    return Masks(batch.weight, batch.weight > 0, label, label)


def _with_negatives(
    positives: jax.Array, masks: Masks, outputs: Outputs, batch: Rows
) -> tuple[jax.Array, Masks]:
    """Behind the positives every row's explicit negatives, which have no labels."""
    negatives = given(outputs.negatives)
    flat = negatives.reshape(-1, negatives.shape[-1])  # [B · N, D]
    there = (given(batch.negative_weight) > 0) & (batch.weight > 0)[:, None]
    none = jnp.full(flat.shape[0], -1, jnp.int32)
    longer = masks._replace(
        valid=jnp.concatenate([masks.valid, there.reshape(-1)]),
        candidate_label=jnp.concatenate([masks.candidate_label, none]),
    )
    return jnp.concatenate([positives, flat]), longer
