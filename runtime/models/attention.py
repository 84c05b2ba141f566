"""Attention over padded rows, rotary positions, and pooling of tokens into one vector."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime.models.products import product
from specrun.runtime.models.randomness import Keys, dropout

_MASKED = -0.7 * float(np.finfo(np.float32).max)
"""Logit of a masked token: finite, so a row with no valid token gives a mean over padding and never NaN."""


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None,
    *,
    bias: jax.Array | None = None,
    seen: jax.Array | None = None,
    rate: float = 0.0,
    dropout_key: Keys = None,
) -> jax.Array:
    """softmax(Q Kᵀ / √H + bias) V (Vaswani et al. 2017, eq. 1): [B, S, N, H] each, mask bool [B, S] → [B, S, N, H].

    A mask [B, S, S] says it of every (query, key); without one every token is seen.
    ``bias`` f32 [N, S, S] is added to the logits of every row. ``seen`` bool [S, S] is True where a query's token
    (axis 0) may see a key's; None is everywhere. Keys and values may have K heads, each of which N / K heads of the
    queries share (Ainslie et al. 2023).

    Operands and result have the dtype of the arguments; sums and the softmax are in f32.

    The implementation is named, so no other is taken in silence; probabilities are dropped on a path of its own,
    because ``jax.nn.dot_product_attention`` has no dropout.
    """
    allowed = None if mask is None else mask[:, None, None] if mask.ndim == 2 else mask[:, None]
    if seen is not None:
        allowed = seen if allowed is None else allowed & seen
    if rate == 0.0 or dropout_key is None:
        added = None if bias is None else bias[None]
        return jax.nn.dot_product_attention(
            query, key, value, bias=added, mask=allowed, implementation="xla"
        )
    if key.shape[2] != query.shape[2]:
        shared = query.shape[2] // key.shape[2]
        key, value = (jnp.repeat(x, shared, axis=2) for x in (key, value))
    scale = query.shape[-1] ** -0.5
    logits = product("BTNH,BSNH->BNTS", query, key) * scale
    logits = logits if bias is None else logits + bias
    logits = logits if allowed is None else jnp.where(allowed, logits, _MASKED)
    probabilities = dropout(jax.nn.softmax(logits, axis=-1), rate, dropout_key)  # [B, N, T, S]
    return product("BNTS,BSNH->BTNH", probabilities.astype(value.dtype), value).astype(value.dtype)


def split_heads(x: jax.Array, heads: int) -> jax.Array:
    """[B, S, N·H] → [B, S, N, H]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def join_heads(x: jax.Array) -> jax.Array:
    """[B, S, N, H] → [B, S, N·H]."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def rotary_table(length: int, width: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines [S, 1, H/2] of position · theta^(−2i/H), made in f64 (Su et al. 2021, §3.2.2)."""
    frequency = theta ** (-np.arange(0, width, 2, dtype=np.float64) / width)
    angle = np.arange(length, dtype=np.float64)[:, None, None] * frequency
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def sinusoidal_table(length: int, width: int) -> np.ndarray:
    """Sines and cosines of position · 10000^(−2i/D) by turns, f32 [S, D], made in f64 (Vaswani et al. 2017, §3.5)."""
    angle = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)  # [S, ⌈D/2⌉]
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, -1)
    return table[:, :width].astype(np.float32)


def rotate(x: jax.Array, table: tuple[np.ndarray, np.ndarray]) -> jax.Array:
    """Turn x [B, S, N, H]: number i of the first half pairs with number i of the second, as in Llama."""
    cos, sin = table
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def mean_pool(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over valid tokens in f32: x [B, S, D], mask bool [B, S] → [B, D]. A row without valid tokens gives 0."""
    weight = mask.astype(jnp.float32)
    total = jnp.einsum("BSD,BS->BD", x.astype(jnp.float32), weight)
    return total / jnp.maximum(jnp.sum(weight, axis=1, keepdims=True), 1.0)


def first_pool(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The first token in f32: x [B, S, D] → [B, D]."""
    del mask  # padding is on the right, so the first token is valid
    return x[:, 0].astype(jnp.float32)


def last_pool(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The last valid token in f32: x [B, S, D], mask bool [B, S] → [B, D]. A row without any gives its first."""
    last = jnp.maximum(jnp.sum(mask, axis=1, dtype=jnp.int32) - 1, 0)  # padding is on the right
    return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0].astype(jnp.float32)


POOLING = {"mean": mean_pool, "cls": first_pool, "last": last_pool}
"""Pooling by name."""
