"""The text encoder against the same network written in torch: embeddings and the gradient of every parameter."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.models.stacking import unstack
from tests.parity.scratch import (
    batch,
    both_sides,
    in_torch,
)
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


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_and_gradients_equal_torch(variant: str):
    config = text_config(**VARIANTS[variant])
    model = model_plan(config, cuts=(1,))
    rng = np.random.default_rng(2)
    params, theirs = both_sides(model, rng)
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
