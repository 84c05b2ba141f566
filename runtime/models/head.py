"""What stands on top of a network in a model of two: Linear, GELU, Linear into the space that both share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from specrun.runtime.models.activations import gelu
from specrun.runtime.models.modules import Dense


class Head(nnx.Module):
    """x [B, in] → [B, out]; ``first`` and ``second`` are (in, out) of the two matrices."""

    def __init__(self, first: tuple[int, ...], second: tuple[int, ...]):
        self.first = Dense(*first)
        self.second = Dense(*second)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(gelu(self.first(x)))


def unit(x: jax.Array) -> jax.Array:
    """x [B, D] brought to length 1, a zero row left as it is."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, np.finfo(np.float32).tiny))
