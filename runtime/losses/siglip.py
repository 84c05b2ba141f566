"""Sigmoid cross-entropy of every pair of the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime import trees
from specrun.runtime.losses.algebra import Outputs, Rows, Term, weight_of_all, weighted
from specrun.runtime.losses.candidates import candidates_of
from specrun.runtime.losses.contrast import normalise
from specrun.runtime.losses.tiles import fold
from specrun.spec.plan.losses import SigLIP


def siglip(plan: SigLIP, tile_rows: int) -> Term:
    """``−Σ_i w_i Σ_j log σ(z_ij (cos(q_i, c_j) / τ + b))``, z = 1 for the row's own positive and −1 for others.

    The candidates are those of InfoNCE, and so is what is left out: padding, absent negatives, and
    other rows of the row's label, and what is taken for a false negative. τ and b may be trained; neither is bounded (the published weights
    have τ below 0.01). At most ``tile_rows`` rows of scores exist at a time.

    Zhai et al. 2023, algorithm 1; equal to the loss of transformers' SiglipModel and to open_clip's
    SigLipLoss on one device.
    """

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        candidates, masks = candidates_of(plan.negatives, outputs, batch, plan.false_negatives)
        unit = normalise(candidates)
        factor, offset = scale(plan, parameters), bias(plan, parameters)
        count = masks.weight.shape[0]
        rows = (
            normalise(outputs.query),
            jnp.arange(count),
            masks.weight,
            masks.keys,
            masks.limit,
        )

        def one(value: jax.Array, part: tuple[jax.Array, ...]) -> jax.Array:
            query, row, weight, keys, limit = part
            own = row[:, None] == jnp.arange(unit.shape[0])
            cosines = query @ unit.T
            kept = own | masks.apart(keys, cosines, limit)
            scores = cosines * factor + offset
            losses = -jax.nn.log_sigmoid(jnp.where(own, scores, -scores))
            found = jnp.sum(jnp.where(kept, losses, 0.0), axis=1)
            return value + weighted(weight, found)

        return fold(one, jnp.zeros((), jnp.float32), rows, tile_rows)

    return Term(plan.name, "in_batch", weight_of_all, sum_)


def scale(plan: SigLIP, parameters: Mapping[str, Any]) -> jax.Array:
    """1/τ: fixed, or exp of the loss's own parameter."""
    if not plan.train_temperature:
        return jnp.float32(1.0 / plan.temperature)
    return jnp.exp(trees.lookup(parameters, f"losses.{plan.name}.log_scale"))


def bias(plan: SigLIP, parameters: Mapping[str, Any]) -> jax.Array:
    """What is added to the scores: fixed, or the loss's own parameter."""
    if not plan.train_bias:
        return jnp.float32(plan.bias)
    return trees.lookup(parameters, f"losses.{plan.name}.bias")


def initial(plan: SigLIP) -> dict[str, np.ndarray]:
    """The loss's own parameters by path: ``log(1/τ)`` and ``b``, those that train."""
    found: dict[str, np.ndarray] = {}
    if plan.train_temperature:
        start = np.float32(-math.log(plan.temperature))
        found[f"losses.{plan.name}.log_scale"] = np.asarray(start)
    if plan.train_bias:
        found[f"losses.{plan.name}.bias"] = np.asarray(np.float32(plan.bias))
    return found
