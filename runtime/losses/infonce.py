"""InfoNCE: in-batch negatives, the row's own, or all there are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime import trees
from specrun.runtime.losses.algebra import (
    Outputs,
    Rows,
    Term,
    given,
    weight_of_all,
    weights_with_own,
)
from specrun.runtime.losses.candidates import candidates_of, limit_of
from specrun.runtime.losses.contrast import cross_entropy, own_cross_entropy
from specrun.spec.plan.losses import InfoNCE

MAX_LOG_SCALE = np.float32(math.log(100.0))
"""A trained temperature stays at 0.01 or above, as in CLIP (Radford et al. 2021, section 2.5)."""


def infonce(plan: InfoNCE, tile_rows: int) -> Term:
    """Cross-entropy of cosines over the temperature against each row's positive, summed over rows.

    ``S = normalise(q) · normalise(c)ᵀ / τ``; ``Σ_i w_i · (logsumexp_j S_ij − S_ii)``. The candidates
    ``c`` are the positives of the pass (``in_batch``), these and every row's explicit negatives
    (``all``), or a row's positive and its own negatives (``own``; a row without any has no loss and
    no weight). ``symmetric`` is the mean of that and of the positives looking for their queries.
    Rows of weight 0 have no loss and are nobody's negatives; of rows with one label neither is the
    other's negative, and what is taken for a false negative is nobody's. At most ``tile_rows`` rows of ``S`` exist at a time.

    van den Oord et al. 2018, equation 4; equal to sentence-transformers'
    MultipleNegativesRankingLoss on pairs and, with ``all``, on rows with negatives.
    """
    return _own(plan) if plan.negatives == "own" else _in_batch(plan, tile_rows)


def _in_batch(plan: InfoNCE, tile_rows: int) -> Term:
    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        negatives = "all" if plan.negatives == "all" else "in_batch"
        candidates, masks = candidates_of(negatives, outputs, batch, plan.false_negatives)
        factor = scale(plan, parameters)
        return cross_entropy(
            outputs.query, candidates, masks, factor, both=plan.symmetric, tile_rows=tile_rows
        )

    return Term(plan.name, "in_batch", weight_of_all, sum_)


def _own(plan: InfoNCE) -> Term:
    def weight(batch: Rows) -> jax.Array:
        return weights_with_own(batch).sum()

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        return own_cross_entropy(
            outputs.query,
            outputs.positive,
            given(outputs.negatives),
            given(batch.negative_weight) > 0,
            weights_with_own(batch),
            scale(plan, parameters),
            limit_of(plan.false_negatives, outputs),
        )

    return Term(plan.name, "separable", weight, sum_)


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
