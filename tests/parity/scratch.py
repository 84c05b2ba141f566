"""The text encoder from scratch, written in torch."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from specrun.runtime.models.encoder import initial_parameters
from specrun.runtime.models.stacking import unstack
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import TextEncoderConfig

torch = pytest.importorskip("torch")


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Five rows of ids below 50, and their masks."""
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


def both_sides(model: ModelPlan, rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    """Parameters moved from where they start, so that no scale is one and no bias zero: ours, and torch's by path."""
    params = jax.tree.map(
        lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32),
        initial_parameters(model, 0),
    )
    theirs = {
        path: torch.tensor(np.asarray(leaf), requires_grad=True)
        for path, leaf in unstack(params, model.groups).items()
    }
    return params, theirs
