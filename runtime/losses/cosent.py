"""The cosines of pairs in the order of their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from specrun.runtime.losses.algebra import Outputs, Rows, Term, given
from specrun.runtime.losses.contrast import normalise
from specrun.runtime.losses.tiles import fold
from specrun.spec.plan.losses import CoSENT


def cosent(plan: CoSENT, tile_rows: int) -> Term:
    """``log(1 + Σ exp((s_j − s_i) / τ))`` over all rows i, j of a pass of which i has the higher score.

    ``s`` are cosines of a row's two texts. Rows of weight 0 and rows without a score (NaN) are not
    compared. The loss is one number a pass, of weight 1; a pass without two different scores has no
    loss and no weight. At most ``tile_rows`` × B differences exist at a time.

    Su 2022 (kexue.fm/archives/8847); equal to sentence-transformers' CoSENTLoss with scale 1/τ.
    """

    def weight(batch: Rows) -> jax.Array:
        score, there = _scores(batch)
        high = jnp.max(jnp.where(there, score, -jnp.inf))
        low = jnp.min(jnp.where(there, score, jnp.inf))
        return jnp.where(high > low, 1.0, 0.0)

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        del parameters
        score, there = _scores(batch)
        pairs = normalise(outputs.query) * normalise(outputs.positive)
        cosine = jnp.sum(pairs, axis=-1) / plan.temperature  # [B]

        def one(value: jax.Array, part: tuple[jax.Array, ...]) -> jax.Array:
            own, own_score, own_there = part
            kept = own_there[:, None] & there & (own_score[:, None] > score)
            differences = jnp.where(kept, cosine - own[:, None], -jnp.inf)
            # The value, which is never −inf, keeps the gradient finite where nothing is kept.
            return jax.nn.logsumexp(jnp.append(differences.reshape(-1), value))

        return fold(one, jnp.zeros((), jnp.float32), (cosine, score, there), tile_rows)

    return Term(plan.name, "in_batch", weight, sum_)


def _scores(batch: Rows) -> tuple[jax.Array, jax.Array]:
    """Scores f32 [B], 0 where there is none, and which there are."""
    score = given(batch.score)
    there = (batch.weight > 0) & ~jnp.isnan(score)
    return jnp.where(there, score, 0.0), there
