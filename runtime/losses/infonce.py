"""InfoNCE with in-batch negatives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime import trees
from specrun.runtime.losses.algebra import Outputs, Rows, Term
from specrun.spec.plan.training import InfoNCE

MAX_LOG_SCALE = np.float32(math.log(100.0))
"""A trained temperature stays at 0.01 or above, as in CLIP (Radford et al. 2021, section 2.5)."""

_LEAST_SQUARE = 1e-24


def infonce(plan: InfoNCE) -> Term:
    """Cross-entropy of cosines over the temperature against the diagonal, summed over rows.

    ``S = normalise(q) · normalise(p)ᵀ / τ``; ``Σ_i w_i · (logsumexp_j S_ij − S_ii)``, and with
    ``symmetric`` the mean of that and the same on ``Sᵀ``. Rows of weight 0 have no loss and are
    nobody's negatives. van den Oord et al. 2018, equation 4; on pairs equal to
    sentence-transformers' MultipleNegativesRankingLoss.
    """

    def weight(batch: Rows) -> jax.Array:
        return batch.weight.sum()

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        query, positive = normalise(outputs.query), normalise(outputs.positive)
        scores = (query @ positive.T) * scale(plan, parameters)  # [B, B]
        value = _cross_entropy(scores, batch.weight, axis=1)
        if plan.symmetric:
            value = 0.5 * (value + _cross_entropy(scores, batch.weight, axis=0))
        return value

    return Term(plan.name, "in_batch", weight, sum_)


def normalise(x: jax.Array) -> jax.Array:
    """``x / |x|`` over the last axis; a vector shorter than 1e-12 becomes 0 with gradient 0.

    torch's ``normalize`` divides by at least 1e-12 instead, so that a zero vector gets gradients
    of order 1e12.
    """
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    usable = square > _LEAST_SQUARE
    return jnp.where(usable, x * jax.lax.rsqrt(jnp.where(usable, square, 1.0)), 0.0)


def scale(plan: InfoNCE, parameters: Mapping[str, Any]) -> jax.Array:
    """1/τ: fixed, or exp of the loss's own parameter, which is held at log 100 or below."""
    if not plan.train_temperature:
        return jnp.float32(1.0 / plan.temperature)
    value = trees.lookup(parameters, path(plan))
    # Not jnp.minimum, which halves the gradient at the bound, where ``project`` leaves the value.
    return jnp.exp(jnp.where(value > MAX_LOG_SCALE, MAX_LOG_SCALE, value))


def initial(plan: InfoNCE) -> dict[str, np.ndarray]:
    """The loss's own parameters by path: ``log(1/τ)``; none when the temperature is fixed."""
    if not plan.train_temperature:
        return {}
    start = np.float32(-math.log(plan.temperature))
    return {path(plan): np.asarray(np.minimum(start, MAX_LOG_SCALE))}


def project(value: jax.Array) -> jax.Array:
    """The log scale after an update: beyond the bound its gradient is 0, so it would stay there."""
    return jnp.minimum(value, MAX_LOG_SCALE)


def path(plan: InfoNCE) -> str:
    """Where a trained temperature lies in the parameter tree."""
    return f"losses.{plan.name}.log_scale"


def _cross_entropy(scores: jax.Array, weight: jax.Array, axis: int) -> jax.Array:
    """Σ_i w_i (logsumexp over the valid negatives and the diagonal − diagonal), of [B, B] scores.

    The own column stays valid in a row of weight 0, so that its unused loss is finite. The diagonal
    is a masked sum because gathering it from a sharded matrix would gather the matrix.
    """
    own = jnp.eye(scores.shape[0], dtype=bool)
    valid = jnp.expand_dims(weight > 0, 1 - axis) | own  # [B, B]
    diagonal = jnp.sum(jnp.where(own, scores, 0.0), axis=axis)  # [B]
    losses = jax.nn.logsumexp(jnp.where(valid, scores, -jnp.inf), axis=axis) - diagonal
    return jnp.sum(jnp.where(weight > 0, weight * losses, 0.0))
