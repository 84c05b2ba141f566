"""Rows in chunks of equal size, so that each chunk lies on every device."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def strided(x: jax.Array, chunks: int) -> jax.Array:
    """[B, ...] as [chunks, B / chunks, ...], row i in chunk i mod chunks.

    Consecutive rows lie on one device when the batch is split over devices; blocked chunks would
    each lie on a few and leave the others idle.
    """
    return x.reshape(x.shape[0] // chunks, chunks, *x.shape[1:]).swapaxes(0, 1)


def joined(x: jax.Array) -> jax.Array:
    """[chunks, B / chunks, ...] as [B, ...]: the inverse of ``strided``."""
    return x.swapaxes(0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def filled(x: jax.Array, multiple: int) -> jax.Array:
    """[B, ...] with rows of 0 behind, up to a multiple of ``multiple``."""
    missing = -x.shape[0] % multiple
    return jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)) if missing else x


def power_of_two(count: int) -> int:
    """The least power of two that is not below ``count``, so that few sizes are ever compiled."""
    return 1 << max(count - 1, 0).bit_length()
