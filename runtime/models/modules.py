"""Building blocks: Dense with an optional adapter, LayerNorm, RMSNorm, Embedding.

A module declares its parameters and computes; it never holds real numbers of its own: see ``models.shells``.

There are no modes. A module that draws random numbers takes ``key``: a typed key array [B], one key per row, or None,
which is evaluation. So what a row's dropout is depends on nothing but its own key: see ``models.randomness``.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from specrun.runtime.models.products import matmul
from specrun.runtime.models.randomness import Keys, dropout


@dataclass(frozen=True)
class Adapter:
    """LoRA on one linear layer: y + scale · dropout(x) A B, with A (in, rank) and B (rank, out)."""

    rank: int
    scale: float
    dropout: float


class Dense(nnx.Module):
    """x [..., in] → [..., out]: x K + b, and the adapter's update where there is one (Hu et al. 2021, eq. 3).

    Operands and result have the dtype ``compute``; sums, the bias and the adapter's update are in f32 before that.
    """

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True, adapter: Adapter | None = None):
        self.kernel = nnx.Param(jnp.zeros((n_in, n_out)))
        self.bias = nnx.Param(jnp.zeros((n_out,))) if bias else None
        self.adapter = adapter
        self.compute = "float32"
        if adapter is not None:
            self.lora_a = nnx.Param(jnp.zeros((n_in, adapter.rank)))
            self.lora_b = nnx.Param(jnp.zeros((adapter.rank, n_out)))

    def __call__(self, x: jax.Array, key: Keys = None) -> jax.Array:
        x = x.astype(self.compute)
        y = matmul(x, self.kernel[...])
        if self.bias is not None:
            y = y + self.bias[...]
        if self.adapter is not None:
            low = matmul(dropout(x, self.adapter.dropout, key), self.lora_a[...])  # [..., r]
            y = y + matmul((low * self.adapter.scale).astype(self.compute), self.lora_b[...])
        return y.astype(self.compute)


def computing_in(module: nnx.Module, compute: str) -> nnx.Module:
    """The module with every ``Dense`` in it computing in ``compute``: float32 or bfloat16."""
    for _, part in nnx.iter_graph(module):
        if isinstance(part, Dense):
            part.compute = compute
    return module


class LayerNorm(nnx.Module):
    """x [..., D] → [..., D] in f32: (x − mean) / √(var + eps) · scale + bias (Ba et al. 2016)."""

    def __init__(self, width: int, eps: float, *, bias: bool = True):
        self.scale = nnx.Param(jnp.ones((width,)))
        self.bias = nnx.Param(jnp.zeros((width,))) if bias else None
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
        x = centred * jax.lax.rsqrt(variance + self.eps) * self.scale[...]
        return x if self.bias is None else x + self.bias[...]


class RMSNorm(nnx.Module):
    """x [..., D] → [..., D] in f32: x / √(mean(x²) + eps) · scale (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, eps: float):
        self.scale = nnx.Param(jnp.ones((width,)))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        square = jnp.mean(x * x, axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(square + self.eps) * self.scale[...]


class Embedding(nnx.Module):
    """ids int [...] → [..., D]. An id outside the table gives NaN rather than another row's numbers."""

    def __init__(self, count: int, width: int):
        self.embedding = nnx.Param(jnp.zeros((count, width)))

    def __call__(self, ids: jax.Array) -> jax.Array:
        return jnp.take(self.embedding[...], ids, axis=0, mode="fill", fill_value=jnp.nan)
