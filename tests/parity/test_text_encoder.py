"""The text encoder against the same network written in torch: embeddings and the gradient of every parameter."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.models.stacking import unstack
from specrun.spec.plan.networks import TextEncoderConfig
from tests.runtime.models.tiny import model_plan, text_config

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

OUTPUT = 1e-5
GRADIENT = 2e-5
"""Largest differences in f32 (gradients: relative to the largest of the tensor, at least 1)."""

VARIANTS: dict[str, dict[str, Any]] = {
    "learned, gelu": {},
    "rotary, swiglu": {"position_embedding": "rotary", "hidden_act": "swiglu"},
    "no positions, cls, head": {
        "position_embedding": "none",
        "pooling": "cls",
        "projection_dim": 6,
        "final_layer_norm": False,
    },
    "sinusoidal, relu, rmsnorm, no biases": {
        "position_embedding": "sinusoidal",
        "hidden_act": "relu",
        "norm": "rmsnorm",
        "bias": False,
    },
    "layernorm without biases": {"bias": False},
    "no layers": {"num_hidden_layers": 0},
}


def block(width: int, heads: int, inner: int, eps: float) -> Any:
    return torch.nn.TransformerEncoderLayer(
        width,
        heads,
        inner,
        dropout=0.0,
        activation=torch.nn.functional.gelu,
        layer_norm_eps=eps,
        batch_first=True,
        norm_first=True,
    )


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, (5, 11)).astype(np.int32)
    return ids, np.arange(11)[None] < np.array([11, 1, 7, 4, 10])[:, None]


def norm(x: Any, p: dict[str, Any], path: str, eps: float, rms: bool = False) -> Any:
    if rms:
        return torch.nn.functional.rms_norm(x, x.shape[-1:], p[f"{path}.scale"], eps)
    bias = p.get(f"{path}.bias")
    return torch.nn.functional.layer_norm(x, x.shape[-1:], p[f"{path}.scale"], bias, eps)


def dense(x: Any, p: dict[str, Any], path: str) -> Any:
    return torch.nn.functional.linear(x, p[f"{path}.kernel"].T, p.get(f"{path}.bias"))


def turned(x: Any, theta: float) -> Any:
    """Rotary positions by complex numbers: pair (i, i + H/2) is one number, turned by position · theta^(−2i/H)."""
    half = x.shape[-1] // 2
    number = torch.complex(x[..., :half], x[..., half:])  # [B, N, S, H/2]
    angle = torch.arange(x.shape[-2])[:, None] * theta ** (-torch.arange(half) / half)
    out = number * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([out.real, out.imag], -1)


def waves(length: int, width: int) -> Any:
    """Sines at even places and cosines at odd ones, one place after the other (Vaswani et al. 2017, §3.5)."""
    table = torch.zeros(length, width)
    for position in range(length):
        for i in range(width):
            angle = torch.tensor(position / 10000.0 ** ((i - i % 2) / width), dtype=torch.float64)
            table[position, i] = angle.cos() if i % 2 else angle.sin()
    return table


def in_torch(config: TextEncoderConfig, p: dict[str, Any], ids: Any, mask: Any) -> Any:
    x = states_in_torch(config, p, ids, mask)
    weight = mask[..., None].float()
    x = x[:, 0] if config.pooling == "cls" else (x * weight).sum(1) / weight.sum(1)
    rms, eps = config.norm == "rmsnorm", config.layer_norm_eps
    x = norm(x, p, "final_norm", eps, rms) if config.final_layer_norm else x
    return dense(x, p, "projection") if config.projection_dim else x


def states_in_torch(config: TextEncoderConfig, p: dict[str, Any], ids: Any, mask: Any) -> Any:
    """What the last block gives for every token: [B, S, D]."""
    functional, heads, eps = (
        torch.nn.functional,
        config.num_attention_heads,
        config.layer_norm_eps,
    )
    x = p["embeddings.token.embedding"][ids]
    if config.position_embedding == "learned":
        x = x + p["embeddings.position.embedding"][: ids.shape[1]]
    if config.position_embedding == "sinusoidal":
        x = x + waves(*x.shape[1:])
    rms = config.norm == "rmsnorm"
    for i in range(config.num_hidden_layers):
        layer = f"layers.{i}"
        h = norm(x, p, f"{layer}.attention_norm", eps, rms)
        q, k, v = (
            dense(h, p, f"{layer}.attention.{n}").unflatten(-1, (heads, -1)).transpose(1, 2)
            for n in ("query", "key", "value")
        )
        if config.position_embedding == "rotary":
            q, k = turned(q, config.rope_theta), turned(k, config.rope_theta)
        h = functional.scaled_dot_product_attention(q, k, v, mask[:, None, None])
        x = x + dense(h.transpose(1, 2).flatten(2), p, f"{layer}.attention.output")
        h = norm(x, p, f"{layer}.mlp_norm", eps, rms)
        up = dense(h, p, f"{layer}.mlp.up")
        if config.hidden_act == "swiglu":
            up = functional.silu(dense(h, p, f"{layer}.mlp.gate")) * up
        else:
            up = functional.relu(up) if config.hidden_act == "relu" else functional.gelu(up)
        x = x + dense(up, p, f"{layer}.mlp.down")
    return x


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_and_gradients_equal_torch(variant: str):
    config = text_config(**VARIANTS[variant])
    model = model_plan(config, cuts=(1,))
    rng = np.random.default_rng(2)
    params = jax.tree.map(
        lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32),
        initial_parameters(model, 0),
    )
    theirs = {
        path: torch.tensor(np.asarray(leaf), requires_grad=True)
        for path, leaf in unstack(params, model.groups).items()
    }
    ids, mask = batch()
    encode = build_encoder(model).encode
    target = rng.normal(size=(5, model.embedding_dim)).astype(np.float32)

    expected = in_torch(config, theirs, torch.tensor(ids).long(), torch.tensor(mask))
    (expected * torch.tensor(target)).sum().backward()
    np.testing.assert_allclose(
        encode(params, ids, mask), expected.detach().numpy(), atol=OUTPUT, rtol=0
    )

    gradient = jax.jit(jax.grad(lambda p: jnp.sum(encode(p, ids, mask) * target)))(params)
    for path, leaf in unstack(gradient, model.groups).items():
        grad = theirs[path].grad.numpy()
        scale = max(1.0, float(np.abs(grad).max()))
        np.testing.assert_allclose(leaf / scale, grad / scale, atol=GRADIENT, err_msg=path)


def test_blocks_equal_torchs_own_pre_norm_layer():
    config = text_config(final_layer_norm=False)
    model = model_plan(config)
    params = initial_parameters(model, 0)
    leaves = {k: torch.tensor(np.asarray(v)) for k, v in unstack(params, model.groups).items()}
    ids, mask = batch()
    x = leaves["embeddings.token.embedding"][torch.tensor(ids).long()]
    x = x + leaves["embeddings.position.embedding"][: ids.shape[1]]
    for i in range(config.num_hidden_layers):
        layer = block(16, 4, 24, config.layer_norm_eps)
        layer.load_state_dict(their_names(leaves, f"layers.{i}"))
        x = layer.train()(x, src_key_padding_mask=torch.tensor(~mask))
    weight = torch.tensor(mask)[..., None].float()
    expected = ((x * weight).sum(1) / weight.sum(1)).detach().numpy()
    out = build_encoder(model).encode(params, ids, mask)
    np.testing.assert_allclose(out, expected, atol=OUTPUT, rtol=0)


def their_names(p: dict[str, Any], layer: str) -> dict[str, Any]:
    joined = ("query", "key", "value")
    return {
        "self_attn.in_proj_weight": torch.cat(
            [p[f"{layer}.attention.{n}.kernel"].T for n in joined]
        ),
        "self_attn.in_proj_bias": torch.cat([p[f"{layer}.attention.{n}.bias"] for n in joined]),
        "self_attn.out_proj.weight": p[f"{layer}.attention.output.kernel"].T,
        "self_attn.out_proj.bias": p[f"{layer}.attention.output.bias"],
        "linear1.weight": p[f"{layer}.mlp.up.kernel"].T,
        "linear1.bias": p[f"{layer}.mlp.up.bias"],
        "linear2.weight": p[f"{layer}.mlp.down.kernel"].T,
        "linear2.bias": p[f"{layer}.mlp.down.bias"],
        "norm1.weight": p[f"{layer}.attention_norm.scale"],
        "norm1.bias": p[f"{layer}.attention_norm.bias"],
        "norm2.weight": p[f"{layer}.mlp_norm.scale"],
        "norm2.bias": p[f"{layer}.mlp_norm.bias"],
    }
