"""BERT on tiny random weights against transformers' BertModel: hidden states, embeddings, gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.models.bert import table
from specrun.runtime.models.directory import inspect
from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.models.stacking import unstack
from specrun.runtime.models.tables import rows
from specrun.runtime.weights.names import write_names
from tests.runtime.models.tiny import model_plan

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

OUTPUT = 1e-5
GRADIENT = 2e-5
"""Largest differences in f32, of numbers of size about 1 (gradients: relative to the largest of the tensor)."""

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one layer, tanh gelu": {"num_hidden_layers": 1, "hidden_act": "gelu_new"},
    "relu, eps": {"hidden_act": "relu", "layer_norm_eps": 1e-3, "num_attention_heads": 1},
    "silu, three types": {"hidden_act": "silu", "type_vocab_size": 3},
    "no layers": {"num_hidden_layers": 0},
}


def make(tmp_path: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 20,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    config = transformers.BertConfig(**{**values, **changes}, attn_implementation="eager")
    model = transformers.BertModel(config).eval()
    with torch.no_grad():  # so that no bias is zero and no scale one
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    return model


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mask = np.arange(11)[None] < np.array([11, 1, 7, 4, 10])[:, None]
    # id 0 only pads: torch gives that row no gradient
    return np.where(mask, rng.integers(1, 60, (5, 11)), 0).astype(np.int32), mask


def pooled(model: Any, ids: np.ndarray, mask: np.ndarray, pooling: str) -> Any:
    weight = torch.tensor(mask, dtype=torch.float32)
    hidden = model(torch.tensor(ids).long(), attention_mask=weight).last_hidden_state
    if pooling == "cls":
        return hidden[:, 0]
    return (hidden * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_outputs_and_gradients_equal_torch(tmp_path: Path, variant: str, pooling: str):
    theirs = make(tmp_path, **VARIANTS[variant])
    found = inspect(tmp_path)
    config = replace(found.config, pooling=pooling)
    model = model_plan(config, weights=found.weights)
    params = initial_parameters(model, 0)
    encode = build_encoder(model).encode
    ids, mask = batch()
    target = np.random.default_rng(1).normal(size=(5, 32)).astype(np.float32)

    expected = pooled(theirs, ids, mask, pooling)
    (expected * torch.tensor(target)).sum().backward()
    out = encode(params, ids, mask)
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=OUTPUT, rtol=0)

    gradient = jax.jit(jax.grad(lambda p: jnp.sum(encode(p, ids, mask) * target)))(params)
    named = write_names(unstack(gradient, model.groups), rows(config), config)
    tensors = dict(theirs.named_parameters())
    for name, leaf in named.items():
        other = tensors[name].grad
        other = np.zeros_like(leaf) if other is None else other.numpy()
        scale = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(leaf / scale, other / scale, atol=GRADIENT, err_msg=name)


def test_every_tensor_of_the_file_comes_back_under_its_name(tmp_path: Path):
    theirs = make(tmp_path)
    found = inspect(tmp_path)
    model = model_plan(found.config, weights=found.weights)
    leaves = unstack(initial_parameters(model, 0), model.groups)
    written = write_names(leaves, rows(found.config), found.config)
    state = {k: v.numpy() for k, v in theirs.state_dict().items() if not k.startswith("pooler.")}
    state.pop("embeddings.position_ids", None)
    assert written.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(written[name], tensor)


def test_the_defaults_are_those_of_transformers(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    assert {key: getattr(theirs, key) for key in table.DEFAULTS} == table.DEFAULTS
    found = inspect(tmp_path)
    assert {key: getattr(found.config, key) for key in table.DEFAULTS} == table.DEFAULTS
    assert found.weights is None
