"""BERT, RoBERTa, MPNet, Qwen3 and ModernBERT on tiny random weights against transformers: hidden states, embeddings, gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.models.directory import inspect
from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.models.families import family_of
from specrun.runtime.models.mpnet.model import buckets
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


ROBERTAS = {
    "roberta": "RobertaModel",
    "xlm-roberta": "XLMRobertaModel",
    "camembert": "CamembertModel",
}


def make(tmp_path: Path, model_type: str = "bert", **changes: Any) -> Any:
    values: dict[str, Any] = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 20,
        "initializer_range": 0.2,
    }
    if model_type == "qwen3":
        values |= {"num_key_value_heads": 2, "head_dim": 8}
    if model_type == "modernbert":
        ids = ("pad", "bos", "eos", "cls", "sep")
        values |= {f"{name}_token_id": i for i, name in enumerate(ids)}
        values |= {"num_hidden_layers": 4, "local_attention": 4}
    torch.manual_seed(0)
    changes = {**values, **changes, "attn_implementation": "eager"}
    config = transformers.AutoConfig.for_model(model_type, **changes)
    model = transformers.AutoModel.from_config(config).eval()
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
    if pooling == "last":
        return hidden[torch.arange(len(hidden)), weight.sum(1).long() - 1]
    return (hidden * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_outputs_and_gradients_equal_torch(tmp_path: Path, variant: str, pooling: str):
    compare(tmp_path, make(tmp_path, **VARIANTS[variant]), batch(), pooling)


ROBERTA_VARIANTS: dict[str, dict[str, Any]] = {
    "one type": {"type_vocab_size": 1, "layer_norm_eps": 1e-5},
    "two types, no room to spare": {"max_position_embeddings": 13},
    "padding id 0": {"pad_token_id": 0, "bos_token_id": 1},
    "padding id 5": {"pad_token_id": 5, "hidden_act": "gelu_new"},
}


@pytest.mark.parametrize("model_type", ROBERTAS)
@pytest.mark.parametrize("variant", ROBERTA_VARIANTS)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_robertas_outputs_and_gradients_equal_torch(
    tmp_path: Path, model_type: str, variant: str, pooling: str
):
    theirs = make(tmp_path, model_type, **ROBERTA_VARIANTS[variant])
    assert type(theirs).__name__ == ROBERTAS[model_type]
    pad = theirs.config.pad_token_id
    ids, mask = batch()
    ids = np.where(mask, np.where(ids == pad, 7, ids), pad).astype(np.int32)
    compare(tmp_path, theirs, (ids, mask), pooling)


MPNET_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one layer, tanh gelu": {"num_hidden_layers": 1, "hidden_act": "gelu_new"},
    "one head, eps": {"num_attention_heads": 1, "layer_norm_eps": 1e-3},
}


@pytest.mark.parametrize("variant", MPNET_VARIANTS)
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_mpnets_outputs_and_gradients_equal_torch(tmp_path: Path, variant: str, pooling: str):
    """The gradient of the table that all layers share among them."""
    theirs = make(tmp_path, "mpnet", **MPNET_VARIANTS[variant])
    ids, mask = batch()
    ids = np.where(mask, np.where(ids == 1, 7, ids), 1).astype(np.int32)
    compare(tmp_path, theirs, (ids, mask), pooling)


QWEN3_VARIANTS: dict[str, dict[str, Any]] = {
    "two queries to a key": {},
    "heads wider than the blocks, eps": {
        **{"num_key_value_heads": 4, "head_dim": 12},
        **{"rms_norm_eps": 1e-3, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    },
    "one key, one layer": {"num_key_value_heads": 1, "num_hidden_layers": 1},
    "no layers": {"num_hidden_layers": 0},
}


@pytest.mark.parametrize("variant", QWEN3_VARIANTS)
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_qwen3s_outputs_and_gradients_equal_torch(tmp_path: Path, variant: str, pooling: str):
    compare(tmp_path, make(tmp_path, "qwen3", **QWEN3_VARIANTS[variant]), batch(), pooling)


MODERN_VARIANTS: dict[str, dict[str, Any]] = {
    "one global layer of three": {},
    "all biases, tanh gelu": {
        **{"norm_bias": True, "attention_bias": True, "mlp_bias": True},
        **{"hidden_activation": "gelu_new", "norm_eps": 1e-3},
    },
    "every second, other bases": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 500.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 70.0},
        },
        "local_attention": 7,
    },
    "one layer": {"num_hidden_layers": 1},
}


@pytest.mark.parametrize("variant", MODERN_VARIANTS)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_modernberts_outputs_and_gradients_equal_torch(tmp_path: Path, variant: str, pooling: str):
    compare(tmp_path, make(tmp_path, "modernbert", **MODERN_VARIANTS[variant]), batch(), pooling)


def test_qwen3_gives_what_torch_gives_padded_on_the_left(tmp_path: Path):
    """Qwen3-Embedding's own tokenizer pads there; rotary positions are relative, so nothing moves."""
    theirs = make(tmp_path, "qwen3")
    found = inspect(tmp_path)
    model = model_plan(replace(found.config, pooling="last"), weights=found.weights)
    ids, mask = batch()
    left, left_mask = (
        np.stack([np.roll(row, len(row) - n) for row, n in zip(x, mask.sum(1), strict=True)])
        for x in (ids, mask)
    )
    assert left_mask[:, -1].all()
    with torch.no_grad():
        hidden = theirs(
            torch.tensor(left).long(), attention_mask=torch.tensor(left_mask).long()
        ).last_hidden_state[:, -1]
    out = build_encoder(model).encode(initial_parameters(model, 0), ids, mask)
    np.testing.assert_allclose(out, hidden.numpy(), atol=OUTPUT, rtol=0)


def test_mpnets_buckets_are_torchs():
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    place = torch.arange(1024)
    theirs = MPNetEncoder.relative_position_bucket(place[None, :] - place[:, None])
    np.testing.assert_array_equal(buckets(1024), theirs.numpy())


def test_roberta_gives_a_padding_id_among_the_tokens_torchs_output(tmp_path: Path):
    """Its own embedding is frozen in torch, so only the output is compared."""
    theirs = make(tmp_path, "roberta")
    found = inspect(tmp_path)
    model = model_plan(found.config, weights=found.weights)
    ids, mask = batch()
    ids = np.where(mask, ids, 1).astype(np.int32)
    ids[0, 3] = ids[2, 0] = 1
    with torch.no_grad():
        expected = pooled(theirs, ids, mask, "mean").numpy()
    out = build_encoder(model).encode(initial_parameters(model, 0), ids, mask)
    np.testing.assert_allclose(out, expected, atol=OUTPUT, rtol=0)


def compare(
    tmp_path: Path, theirs: Any, rows_: tuple[np.ndarray, np.ndarray], pooling: str
) -> None:
    """Output and gradient of every tensor, of torch's model and of what we read from its files."""
    found = inspect(tmp_path)
    config = replace(found.config, pooling=pooling)
    model = model_plan(config, weights=found.weights)
    params = initial_parameters(model, 0)
    encode = build_encoder(model).encode
    ids, mask = rows_
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


@pytest.mark.parametrize("model_type", ["bert", *ROBERTAS, "mpnet", "qwen3", "modernbert"])
def test_every_tensor_of_the_file_comes_back_under_its_name(tmp_path: Path, model_type: str):
    theirs = make(tmp_path, model_type)
    found = inspect(tmp_path)
    model = model_plan(found.config, weights=found.weights)
    leaves = unstack(initial_parameters(model, 0), model.groups)
    written = write_names(leaves, rows(found.config), found.config)
    state = {k: v.numpy() for k, v in theirs.state_dict().items() if not k.startswith("pooler.")}
    state.pop("embeddings.position_ids", None)
    assert written.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(written[name], tensor)


THETAS = {
    "rope_theta": "",
    "global_rope_theta": "full_attention",
    "local_rope_theta": "sliding_attention",
}
"""Where transformers 5 keeps the bases."""


@pytest.mark.parametrize("model_type", ["bert", *ROBERTAS, "mpnet", "qwen3", "modernbert"])
def test_the_defaults_are_those_of_transformers(tmp_path: Path, model_type: str):
    (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    found = inspect(tmp_path)
    family = family_of(model_type)
    assert family is not None
    for key in family.defaults:
        expected = getattr(theirs, family.keys.get(key, key), None)
        if key in THETAS:
            part, rope = THETAS[key], theirs.rope_parameters
            expected = (rope[part] if part else rope)["rope_theta"]
        assert getattr(found.config, key) == expected, key
    if model_type == "modernbert":
        kinds = enumerate(theirs.layer_types)
        assert found.config.global_layers == tuple(i for i, k in kinds if k == "full_attention")
    assert found.weights is None
