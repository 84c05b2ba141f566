"""Which ids a token may be drawn from. What is left out gets the score −∞."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def keep_best(scores: jax.Array, count: int) -> jax.Array:
    """f32 [..., V] with all but the ``count`` highest scores −∞; ids that tie with the last are kept (Fan et al. 2018)."""
    least = jax.lax.top_k(scores, count)[0][..., -1:]
    return jnp.where(scores >= least, scores, -jnp.inf)


def keep_nucleus(scores: jax.Array, share: jax.Array) -> jax.Array:
    """f32 [..., V] with all −∞ but the fewest best ids whose probabilities reach ``share`` (Holtzman et al. 2020).

    The best id always stays, and ids that tie with the last one kept stay too.
    """
    chances = jax.nn.softmax(scores, axis=-1)
    ordered = jnp.sort(chances, axis=-1, descending=True)
    before = jnp.cumsum(ordered, axis=-1) - ordered
    # The best is kept whatever rounding leaves of the sum before it, which is 0.
    kept = (before < share).at[..., 0].set(True)
    least = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(chances >= least, scores, -jnp.inf)
