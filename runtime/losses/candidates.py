"""What the queries of a pass are compared with, and what counts of it."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from specrun.runtime.embedded import Tokens
from specrun.runtime.losses.algebra import Outputs, Rows, given
from specrun.runtime.losses.contrast import Masks


def candidates_of(
    negatives: Literal["in_batch", "all"], outputs: Outputs, batch: Rows
) -> tuple[jax.Array, Masks]:
    """Candidates [C, D] and their masks: the positives, with ``all`` every row's explicit negatives behind them."""
    masks = masks_of(negatives, batch)
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


def masks_of(negatives: Literal["in_batch", "all"], batch: Rows) -> Masks:
    """Who counts: the positives of the pass, with ``all`` every row's explicit negatives behind them."""
    masks = _masks(batch)
    return masks if negatives == "in_batch" else _with_negatives(masks, batch)


def _masks(batch: Rows) -> Masks:
    none = jnp.full(batch.weight.shape, -1, jnp.int32)
    label = none if batch.label is None else batch.label
    return Masks(batch.weight, batch.weight > 0, label, label)


def _with_negatives(masks: Masks, batch: Rows) -> Masks:
    """Behind the positives every row's explicit negatives, which have no labels."""
    there = (given(batch.negative_weight) > 0) & (batch.weight > 0)[:, None]  # [B, N]
    none = jnp.full(there.size, -1, jnp.int32)
    return masks._replace(
        valid=jnp.concatenate([masks.valid, there.reshape(-1)]),
        candidate_label=jnp.concatenate([masks.candidate_label, none]),
    )
