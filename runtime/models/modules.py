"""Building blocks: Dense with an optional adapter, LayerNorm, Embedding, dropout by row, layers stacked and scanned.

A module declares its parameters and computes; it never holds real numbers of its own. ``shell`` makes its graph and
abstract leaves once, without allocating, and ``bind`` is the one way to give it leaves: it compares paths, shapes and
dtypes first, because ``nnx.merge`` binds by position and checks nothing.

There are no modes. A module that draws random numbers takes ``key``: a typed key array [B], one key per row, or None,
which is evaluation. So what a row's dropout is depends on nothing but its own key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from specrun.runtime.trees import Tree, flatten


class Scaled(NamedTuple):
    """Keys whose dropout is a share of every rate: ``share`` uint32 like ``key``, in parts of ``WHOLE``."""

    key: jax.Array
    share: jax.Array


Keys = jax.Array | Scaled | None
"""Typed keys [B], one per row; None is evaluation."""

WHOLE = 1 << 16
"""The share of a rate that is the rate itself."""


# --- graphs and leaves -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shell:
    """A module without numbers: its graph, and ``abstract``, the nested dict of its leaves' shapes and dtypes."""

    graph: Any
    abstract: Tree


def shell(make: Callable[[], nnx.Module]) -> Shell:
    """Trace ``make`` abstractly: nothing is allocated."""
    graph, state = nnx.split(nnx.eval_shape(make))
    return Shell(graph, nnx.to_pure_dict(state))


def bind(module: Shell, tree: Mapping[str, Any]) -> Any:
    """The module of ``module`` with the leaves of ``tree``. Raises ValueError that names every misfit.

    This guards against an error of the program, not of its user: weights from outside were checked when read.
    """
    faults = misfits(flatten(module.abstract), flatten(tree))
    if faults:
        raise ValueError("internal error: leaves do not fit the module: " + "; ".join(faults))
    return nnx.merge(module.graph, dict(tree))


def misfits(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Sentences for each leaf missing, unexpected, misshapen or of another dtype, by dotted path."""
    faults = [f"{path} is missing" for path in expected if path not in found]
    faults += [f"{path} is unexpected" for path in found if path not in expected]
    for path, leaf in expected.items():
        other = found.get(path)
        if other is None:
            continue
        if tuple(leaf.shape) != tuple(other.shape):
            faults.append(f"{path} has shape {tuple(other.shape)}, expected {tuple(leaf.shape)}")
        elif leaf.dtype != other.dtype:
            faults.append(f"{path} is {other.dtype}, expected {leaf.dtype}")
    return faults


# --- randomness ------------------------------------------------------------------------------------------------------


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


# --- layers ----------------------------------------------------------------------------------------------------------


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


# --- products --------------------------------------------------------------------------------------------------------


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


# --- stacked layers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stack:
    """``count`` layers equal in structure, scanned. Leaves have the layers as axis 0; a layer knows nothing of it.

    ``remat`` recomputes each layer in the backward pass; ``unroll`` layers are one iteration of the scan.
    """

    layer: Shell
    count: int
    remat: bool = False
    unroll: int = 1

    @property
    def abstract(self) -> Tree:
        """Leaves of the stack: those of a layer with the layers as axis 0."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((self.count, *leaf.shape), leaf.dtype),
            self.layer.abstract,
        )

    def __call__(
        self, params: Tree, x: jax.Array, *context: Any, keys: Keys = None, each: Any = None
    ) -> jax.Array:
        """x [B, S, D] through every layer; ``keys`` [count, B] or None; ``context`` goes to each layer unchanged.

        Of ``each`` [count, …] a layer is given its own behind the context; None is nothing.
        """

        def body(carry: jax.Array, per: tuple[Tree, Keys, Any]) -> tuple[jax.Array, None]:
            leaves, key, own = per
            more = () if own is None else (own,)
            return bind(self.layer, leaves)(carry, *context, *more, key=key), None

        unroll = max(1, min(self.unroll, self.count))
        if self.remat:
            # Within one iteration XLA would merge what is computed again with what was computed.
            body = jax.checkpoint(body, prevent_cse=unroll > 1)
        return jax.lax.scan(body, x, (params, keys, each), length=self.count, unroll=unroll)[0]
