"""Products of operands in f32 or bfloat16, summed in f32."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., I] times kernel [I, O], f32 [..., O], with operands of the dtype of x."""
    if x.dtype == jnp.float32:
        return x @ kernel
    return product("TI,IO->TO", x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], -1)


def product(spec: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """An einsum in f32 of operands rounded to the dtype of ``a``; every index is in two of its three parts.

    So are the products of its gradient, whose other operand jax would leave in f32: on an accelerator that is another,
    slower kernel. The gradient of ``b`` is not rounded.
    """
    return jnp.einsum(spec, a, b) if a.dtype == jnp.float32 else _narrow_product(spec, a, b)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _narrow_product(spec: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return _accumulated(spec, a, b.astype(a.dtype))


def _narrow_backward(
    spec: str, kept: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array, jax.Array]:
    a, b = kept
    slope, operands, out = slope.astype(a.dtype), *spec.split("->")
    first, second = operands.split(",")
    to_a = _accumulated(f"{out},{second}->{first}", slope, b.astype(a.dtype))
    to_b = _accumulated(f"{first},{out}->{second}", a, slope)
    return to_a.astype(a.dtype), to_b.astype(b.dtype)


def _accumulated(spec: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """An einsum of narrow operands, summed in f32.

    XLA has no CPU kernel for some that do not sum over the last axis of ``a`` ("Unsupported element type for DotThunk"):
    there the rounded operands are widened first, which gives the same sums.
    """

    def narrow(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.einsum(spec, a, b, preferred_element_type=jnp.float32)

    def widened(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.einsum(spec, a.astype(jnp.float32), b.astype(jnp.float32))

    operands, out = spec.split("->")
    if operands.split(",")[0][-1] not in out:
        return narrow(a, b)
    return jax.lax.platform_dependent(a, b, cpu=widened, default=narrow)


_narrow_product.defvjp(lambda spec, a, b: (_narrow_product(spec, a, b), (a, b)), _narrow_backward)
