"""LoRA: the base model at step 0, dropout by row, merging, and PEFT's files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from specrun.runtime.adapters.lora import is_adapter, merge, plain, split, unmerge
from specrun.runtime.adapters.peft import (
    adapter_config,
    from_peft,
    read_adapter,
    to_peft,
    write_adapter,
)
from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.trees import flatten, unflatten
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import ModelPlan
from tests.runtime.models.tiny import bert_config, lora_plan, model_plan, text_config

MERGED = 2e-6
"""Largest difference between a model with adapters and its merged form, in f32."""

MODULES = {
    "text": ("attention.query", "attention.value", "mlp.down"),
    "bert": ("attention.self.query", "attention.output.dense", "output.dense"),
}


def make(kind: str, **options: Any) -> ModelPlan:
    config = text_config() if kind == "text" else bert_config()
    return model_plan(config, lora=lora_plan(config, MODULES[kind], **options), new=True)


def started(model: ModelPlan) -> dict[str, Any]:
    """Parameters whose B is no longer zero."""
    rng = np.random.default_rng(1)
    leaves = flatten(initial_parameters(model, 0))
    for path, leaf in leaves.items():
        if path.endswith("lora_b"):
            leaves[path] = jnp.asarray(rng.normal(size=leaf.shape).astype(np.float32) * 0.3)
    return unflatten(leaves)


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, (4, 7)).astype(np.int32)
    return ids, np.arange(7)[None] < np.array([7, 1, 5, 3])[:, None]


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("layers", [None, [1]])
def test_at_step_0_it_is_the_base_model_bit_for_bit(kind: str, layers: list[int] | None):
    model = make(kind, layers=layers, dropout=0.5)
    base = plain(model)
    params = initial_parameters(model, 0)
    ids, mask = batch()
    keys = jax.random.split(jax.random.key(0), 4)
    bare = initial_parameters(base, 0)
    expected = np.asarray(jax.jit(build_encoder(base).encode)(bare, ids, mask))
    for key in (None, keys):
        out = np.asarray(jax.jit(build_encoder(model).encode)(params, ids, mask, key))
        assert out.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", MODULES)
def test_only_b_has_a_gradient_at_step_0(kind: str):
    model = make(kind)
    params = initial_parameters(model, 0)
    ids, mask = batch()
    encode = jax.jit(build_encoder(model).encode)
    gradient = flatten(jax.grad(lambda p: jnp.sum(encode(p, ids, mask)[:, 0] ** 2))(params))
    for path, leaf in gradient.items():
        if path.endswith("lora_a"):
            assert (np.asarray(leaf) == 0).all()
        if path.endswith("lora_b"):
            assert np.abs(leaf).max() > 0


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("layers", [None, [0, 2]])
@pytest.mark.parametrize("rslora", [False, True])
def test_merged_it_gives_the_same_embeddings(kind: str, layers: list[int] | None, rslora: bool):
    model = make(kind, layers=layers, rslora=rslora)
    params = started(model)
    ids, mask = batch()
    with_adapters = jax.jit(build_encoder(model).encode)(params, ids, mask)
    merged = merge(params, model)
    assert not any(is_adapter(path) for path in flatten(merged))
    out = build_encoder(plain(model)).encode(merged, ids, mask)
    scale = float(np.abs(with_adapters).max())
    np.testing.assert_allclose(out / scale, with_adapters / scale, atol=MERGED)
    base = build_encoder(plain(model)).encode(split(params)[0], ids, mask)
    assert np.abs(out - base).max() > 1e-2

    again = flatten(unmerge(merged, split(params)[1], model))
    for path, leaf in flatten(params).items():
        np.testing.assert_allclose(again[path], leaf, atol=1e-6)


def test_dropout_belongs_to_the_row():
    model = make("text", dropout=0.5)
    params = started(model)
    ids, mask = batch()
    encode = jax.jit(build_encoder(model).encode)
    keys = jax.random.split(jax.random.key(0), 4)
    whole = encode(params, ids, mask, keys)
    half = encode(params, ids[2:], mask[2:], keys[2:])
    np.testing.assert_allclose(half, whole[2:], atol=MERGED)
    assert np.abs(whole - encode(params, ids, mask)).max() > 1e-2


@pytest.mark.parametrize("kind", MODULES)
def test_pefts_files_come_back(tmp_path: Path, kind: str):
    model = make(kind, layers=[0, 2])
    params = started(model)
    write_adapter(tmp_path, params, model, base="a-base")
    again = flatten(read_adapter(tmp_path, model))
    ours = {path: leaf for path, leaf in flatten(params).items() if is_adapter(path)}
    assert again.keys() == ours.keys()
    for path, leaf in ours.items():
        np.testing.assert_array_equal(again[path], leaf)
    name = {
        "text": "base_model.model.layers.2.attention.query.lora_A.weight",
        "bert": "base_model.model.encoder.layer.2.attention.self.query.lora_A.weight",
    }[kind]
    assert load_file(tmp_path / "adapter_model.safetensors")[name].shape == (2, 16)
    assert json.loads((tmp_path / "adapter_config.json").read_text()) == adapter_config(
        model, "a-base"
    )


def test_every_misfit_of_an_adapter_is_named(tmp_path: Path):
    model = make("bert")
    tensors = to_peft(started(model), model)
    prefix = "base_model.model.encoder.layer.0.output.dense.lora_"
    del tensors[f"{prefix}A.weight"]
    tensors[f"{prefix}B.weight"] = np.zeros((2, 2), np.float32)
    tensors["other"] = np.zeros(1, np.float32)
    with pytest.raises(InputError) as caught:
        from_peft(tensors, model)
    text = str(caught.value)
    assert f"{prefix}A.weight is missing" in text
    assert f"{prefix}B.weight has shape [2, 2], expected [16, 2]" in text
    assert "other is unexpected" in text
    assert len(caught.value.diagnostics) == 3


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"r": 3}, "r is 3, expected 2"),
        ({"lora_alpha": 1}, "lora_alpha is 1, expected 6.0"),
        ({"use_rslora": True}, "use_rslora is True"),
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"rank_pattern": {"query": 4}}, "rank_pattern is"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any], found: str):
    model = make("bert")
    write_adapter(tmp_path, started(model), model)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=found):
        read_adapter(tmp_path, model)


def test_a_damaged_adapter_is_refused(tmp_path: Path):
    model = make("bert")
    with pytest.raises(InputError, match=r"adapter_config\.json and adapter_model"):
        read_adapter(tmp_path, model)
    write_adapter(tmp_path, started(model), model)
    weights, config = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    tensors = load_file(weights)
    save_file({k: v.astype(np.float64) for k, v in tensors.items()}, weights)
    with pytest.raises(InputError, match="is float64"):
        read_adapter(tmp_path, model)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="lie outside"):
        read_adapter(tmp_path, model)
    for content, found in (("[", "not readable JSON"), ("[]", "an? JSON object"), ("{}", "r is m")):
        config.write_text(content)
        with pytest.raises(InputError, match=found):
            read_adapter(tmp_path, model)


def test_without_adapters_there_is_nothing_to_merge():
    model = dataclasses.replace(plain(make("text")))
    with pytest.raises(ValueError, match="no adapters"):
        merge(initial_parameters(model, 0), model)
