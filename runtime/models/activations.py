"""Activations of the feed-forward, in f32 and in the dtype of what they are given."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """x · Φ(x) by erf in f32, as torch computes it (Hendrycks & Gimpel 2016).

    Going backward Φ is computed again from x: it is the widest array of a layer, and writing it costs more than erf.
    """
    wide = x.astype(jnp.float32)
    return (wide * _normal_cdf(wide)).astype(x.dtype)


def _gelu_backward(x: jax.Array, slope: jax.Array) -> tuple[jax.Array]:
    x = jax.lax.optimization_barrier(x)  # else XLA keeps what the forward pass computed
    wide = x.astype(jnp.float32)
    density = jnp.exp(-0.5 * wide * wide) * np.float32((2.0 * math.pi) ** -0.5)
    return ((slope * (_normal_cdf(wide) + wide * density)).astype(x.dtype),)


def _normal_cdf(x: jax.Array) -> jax.Array:
    return 0.5 * (1.0 + jax.lax.erf(x * np.float32(0.5**0.5)))


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


def silu(x: jax.Array) -> jax.Array:
    """x · σ(x) in f32, in the dtype of x."""
    return jax.nn.silu(x.astype(jnp.float32)).astype(x.dtype)


def relu(x: jax.Array) -> jax.Array:
    """max(x, 0)."""
    return jax.nn.relu(x)


@jax.custom_vjp
def quick_gelu(x: jax.Array) -> jax.Array:
    """x · σ(1.702 x) in f32, in the dtype of x: what CLIP was trained with (Hendrycks & Gimpel 2016, §2).

    Going backward σ is computed again from x, as in ``gelu``.
    """
    wide = x.astype(jnp.float32)
    return (wide * jax.nn.sigmoid(_QUICK * wide)).astype(x.dtype)


_QUICK = np.float32(1.702)


def _quick_gelu_backward(x: jax.Array, slope: jax.Array) -> tuple[jax.Array]:
    x = jax.lax.optimization_barrier(x)
    wide = x.astype(jnp.float32)
    share = jax.nn.sigmoid(_QUICK * wide)
    return ((slope * share * (1.0 + _QUICK * wide * (1.0 - share))).astype(x.dtype),)


quick_gelu.defvjp(lambda x: (quick_gelu(x), x), _quick_gelu_backward)


@jax.custom_vjp
def tanh_gelu(x: jax.Array) -> jax.Array:
    """GELU by tanh in f32, in the dtype of x: x · (1 + tanh(c (x + 0.044715 x³))) / 2 (Hendrycks & Gimpel 2016).

    Going backward tanh is computed again from x, as in ``gelu``: jax would keep five arrays of the layer's width.
    """
    return jax.nn.gelu(x.astype(jnp.float32), approximate=True).astype(x.dtype)


_ROOT = np.float32((2.0 / math.pi) ** 0.5)
_CUBE = np.float32(0.044715)


def _tanh_gelu_backward(x: jax.Array, slope: jax.Array) -> tuple[jax.Array]:
    x = jax.lax.optimization_barrier(x)
    wide = x.astype(jnp.float32)
    bent = jnp.tanh(_ROOT * (wide + _CUBE * wide**3))
    rise = _ROOT * (1.0 + 3.0 * _CUBE * wide * wide)
    change = 0.5 * (1.0 + bent + wide * (1.0 - bent * bent) * rise)
    return ((slope * change).astype(x.dtype),)


tanh_gelu.defvjp(lambda x: (tanh_gelu(x), x), _tanh_gelu_backward)
