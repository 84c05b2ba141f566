"""Random numbers by row: keys, the bits of a key, and dropout."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Scaled(NamedTuple):
    """Keys whose dropout is a share of every rate: ``share`` uint32 like ``key``, in parts of ``WHOLE``."""

    key: jax.Array
    share: jax.Array


Keys = jax.Array | Scaled | None
"""Typed keys [B], one per row; None is evaluation."""

WHOLE = 1 << 16
"""The share of a rate that is the rate itself."""


def fork(key: Keys, n: int) -> Any:
    """``n`` independent sets of keys: [B] → [n, B]. None → n times None."""
    if key is None:
        return (None,) * n
    if isinstance(key, Scaled):
        inner = fork(key.key, n)
        return tuple(Scaled(inner[i], key.share) for i in range(n))
    if key.ndim == 0:
        return jax.random.split(key, n)
    return jax.vmap(lambda k: jax.random.split(k, n), out_axes=1)(key)


def stacked(keys: Any) -> Keys:
    """Keys [n, B] as one argument of a scan, from a slice of what ``fork`` gave."""
    return jax.tree.map(lambda *x: jnp.stack(x), *keys) if isinstance(keys, tuple) else keys


def scaled(keys: Keys, scale: jax.Array | None) -> Keys:
    """The keys with every rate of dropout times ``scale`` f32 [], from 0 to 1; None leaves them as they are."""
    if scale is None or keys is None:
        return keys
    assert not isinstance(keys, Scaled)
    share = jnp.round(scale * WHOLE).astype(jnp.uint32)
    return Scaled(keys, jnp.broadcast_to(share, keys.shape))


def dropout(x: jax.Array, rate: float, key: Keys) -> jax.Array:
    """Zero a share ``rate`` of ``x`` [B, …] and scale up the rest; one key per row. None or 0 leaves x as it is.

    The share is a multiple of 2⁻³², and the scale is the inverse of exactly what is kept: the mean stays unbiased.
    """
    if key is None or rate == 0.0:
        return x
    steps = 1 << 32
    kept = max(1, steps - round(rate * steps))
    if kept == steps:
        return x
    if isinstance(key, Scaled):
        return _scaled_dropout(x, steps - kept, key)
    return jnp.where(random_bits(key, x.shape[1:]) < np.uint32(kept), x * (steps / kept), 0.0)


def _scaled_dropout(x: jax.Array, dropped: int, keys: Scaled) -> jax.Array:
    """``dropout`` of ``dropped`` / 2³² at the whole share, to the bit; at the share 0 x as it is.

    The share is taken of whole numbers, so that no rounding moves a bit.
    """
    share = keys.share.reshape(-1, *(1 for _ in x.shape[1:]))
    high, low = np.uint32(dropped >> 16), np.uint32(dropped & 0xFFFF)
    now = high * share + ((low * share) >> 16)  # of 2³² steps, at most ``dropped``
    kept = random_bits(keys.key, x.shape[1:]) <= ~now
    whole = np.float32((1 << 32) / ((1 << 32) - dropped))
    gain = np.float32(1.0) / (np.float32(1.0) - now.astype(jnp.float32) * np.float32(2.0**-32))
    gain = jnp.where(share == WHOLE, whole, gain)
    return jnp.where(kept, x * gain.astype(x.dtype), jnp.zeros((), x.dtype))


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """uint32 [B, *shape], a function of each row's key and of the position alone.

    A keyed hash of the position, which XLA computes where the bits are used: threefry's twenty rounds took a tenth of a
    training step on a CPU, and most of its compiling.
    """
    words = jax.random.key_data(key)  # uint32 [B, 2]
    first, second = (words[:, i].reshape(-1, *(1 for _ in shape)) for i in (0, 1))
    position = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(1, *shape)
    return _mixed(_mixed(position + first) + second)


def _mixed(x: jax.Array) -> jax.Array:
    """A bijection of uint32 in which every bit moves every other (Wellons 2018, lowbias32)."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)
