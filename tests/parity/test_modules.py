"""Single modules against torch, in f32."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.models.attention import attention, rotary_table, rotate
from specrun.runtime.models.bert.model import ACTIVATIONS
from specrun.runtime.models.modules import Dense, Embedding, LayerNorm
from specrun.runtime.models.shells import bind, shell

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

OUTPUT = 2e-6
GRADIENT = 5e-6

THEIRS = {
    "gelu": lambda x: torch.nn.functional.gelu(x),
    "gelu_python": lambda x: torch.nn.functional.gelu(x),
    "gelu_new": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "relu": lambda x: torch.nn.functional.relu(x),
    "silu": lambda x: torch.nn.functional.silu(x),
    "swish": lambda x: torch.nn.functional.silu(x),
}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def compare(ours: Any, theirs: Any, *inputs: np.ndarray) -> None:
    """Output, and gradient of a random weighted sum by every input."""
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    expected = theirs(*tensors)
    out = ours(*inputs)
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=OUTPUT, rtol=0)
    target = numbers(*expected.shape, seed=9)
    (expected * torch.tensor(target)).sum().backward()
    order = tuple(range(len(inputs)))
    gradients = jax.grad(lambda *xs: jnp.sum(ours(*xs) * target), argnums=order)(*inputs)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=GRADIENT, rtol=GRADIENT)


@pytest.mark.parametrize("eps", [1e-12, 1e-5, 1e-2])
def test_layer_norm(eps: float):
    module = shell(lambda: LayerNorm(12, eps))
    compare(
        lambda x, s, b: bind(module, {"scale": s, "bias": b})(x),
        lambda x, s, b: torch.nn.functional.layer_norm(x, (12,), s, b, eps),
        numbers(3, 5, 12) + 0.5,
        numbers(12, seed=1),
        numbers(12, seed=2),
    )


def test_dense_and_embedding():
    module = shell(lambda: Dense(6, 4))
    compare(
        lambda x, k, b: bind(module, {"kernel": k, "bias": b})(x),
        lambda x, k, b: torch.nn.functional.linear(x, k.T, b),
        numbers(3, 6),
        numbers(6, 4, seed=1),
        numbers(4, seed=2),
    )
    table = shell(lambda: Embedding(9, 4))
    ids = np.array([[1, 1, 3], [0, 8, 1]], np.int32)
    compare(
        lambda e: bind(table, {"embedding": e})(ids),
        lambda e: torch.nn.functional.embedding(torch.tensor(ids).long(), e),
        numbers(9, 4),
    )


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations(name: str):
    compare(ACTIVATIONS[name], THEIRS[name], np.linspace(-9, 9, 241, dtype=np.float32))


def test_swiglu():
    compare(
        lambda gate, up: jax.nn.silu(gate) * up,
        lambda gate, up: torch.nn.functional.silu(gate) * up,
        numbers(4, 6),
        numbers(4, 6, seed=1),
    )


def test_attention():
    mask = np.arange(7)[None] < np.array([7, 3, 1])[:, None]

    def theirs(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        wide = torch.tensor(mask)[:, None, None]
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, wide).transpose(1, 2)

    inputs = [numbers(3, 7, 2, 8, seed=i) for i in range(3)]
    compare(lambda q, k, v: attention(q, k, v, mask), theirs, *inputs)


def test_attention_with_dropout_is_the_same_attention():
    """The path with dropout, at a rate that keeps everything, against the path without."""
    mask = np.arange(7)[None] < np.array([7, 3, 0])[:, None]
    q, k, v = (numbers(3, 7, 2, 8, seed=i) for i in range(3))
    keys = jax.random.split(jax.random.key(0), 3)
    kept = attention(q, k, v, mask, rate=1e-9, dropout_key=keys)
    np.testing.assert_allclose(kept, attention(q, k, v, mask), atol=OUTPUT)


def test_rotary_positions():
    def theirs(x: Any) -> Any:
        number = torch.complex(x[..., :4], x[..., 4:])
        angle = torch.arange(5, dtype=torch.float64)[:, None, None] * 500.0 ** (
            -torch.arange(4, dtype=torch.float64) / 4
        )
        out = number * torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
        return torch.cat([out.real, out.imag], -1)

    compare(lambda x: rotate(x, rotary_table(5, 8, 500.0)), theirs, numbers(2, 5, 3, 8))
