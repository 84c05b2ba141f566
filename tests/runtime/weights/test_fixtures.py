"""Weights written by transformers 4.57 in every flavour load equal to torch's output (tests/golden/make_models.py)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from specrun.runtime.models.directory import inspect
from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.trees import flatten
from tests.runtime.models.tiny import model_plan

GOLDEN = Path(__file__).parents[2] / "golden" / "models"
FLAVOURS = {
    "torch_safetensors": ("torch", 1, ("pooler.dense.bias", "pooler.dense.weight")),
    "torch_sharded": ("torch", 3, ("pooler.dense.bias", "pooler.dense.weight")),
    "torch_head": (
        "torch",
        1,
        (
            "cls.predictions.bias",
            "cls.predictions.transform.LayerNorm.bias",
            "cls.predictions.transform.LayerNorm.weight",
            "cls.predictions.transform.dense.bias",
            "cls.predictions.transform.dense.weight",
        ),
    ),
    "torch_bfloat16": ("torch", 1, ("pooler.dense.bias", "pooler.dense.weight")),
    "flax_msgpack": ("flax", 1, ("pooler.dense.bias", "pooler.dense.kernel")),
    "flax_sharded": ("flax", 3, ("pooler.dense.bias", "pooler.dense.kernel")),
    "flax_safetensors": ("flax", 1, ("pooler.dense.bias", "pooler.dense.kernel")),
    "flax_head": (
        "flax",
        1,
        (
            "cls.predictions.bias",
            "cls.predictions.transform.LayerNorm.bias",
            "cls.predictions.transform.LayerNorm.scale",
            "cls.predictions.transform.dense.bias",
            "cls.predictions.transform.dense.kernel",
        ),
    ),
}
POOLER = ("pooler.dense.bias", "pooler.dense.weight")
FLAX_POOLER = ("pooler.dense.bias", "pooler.dense.kernel")
LM_HEAD = tuple(f"lm_head.{x}.{y}" for x in ("dense", "layer_norm") for y in ("bias", "weight"))
FLAX_LM_HEAD = tuple(
    f"lm_head.{x}" for x in ("dense.bias", "dense.kernel", "layer_norm.bias", "layer_norm.scale")
)
CLASSIFIER = tuple(f"classifier.{x}.{y}" for x in ("dense", "out_proj") for y in ("bias", "weight"))
FAMILY = {
    "roberta_torch": ("torch", POOLER),
    "roberta_torch_head": ("torch", ("lm_head.bias", *LM_HEAD)),
    "roberta_flax": ("flax", FLAX_POOLER),
    "roberta_flax_head": ("flax", ("lm_head.bias", *FLAX_LM_HEAD)),
    "xlmr_torch": ("torch", POOLER),
    "xlmr_torch_head": ("torch", CLASSIFIER),
    "xlmr_flax": ("flax", FLAX_POOLER),
    "mpnet_torch": ("torch", POOLER),
    "mpnet_torch_head": ("torch", ("lm_head.bias", *LM_HEAD)),
    "qwen3_torch": ("torch", ()),
    "qwen3_torch_head": ("torch", ("lm_head.weight",)),
    "modernbert_torch": ("torch", ()),
    "modernbert_torch_head": ("torch", ("decoder.bias", "head.dense.weight", "head.norm.weight")),
}
"""The other families: layout and the tensors that take no part."""
OUTPUT = 5e-6
"""Largest difference from torch in f32."""
BFLOAT16 = 0.05
"""The same where the file was rounded to bfloat16 (2⁻⁸ a number)."""


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_genuine_file_loads_equal_to_torch(flavour: str, pooling: str):
    found = inspect(GOLDEN / flavour)
    layout, files, unused = FLAVOURS[flavour]
    assert found.weights
    assert (found.weights.layout, len(found.weights.files)) == (layout, files)
    assert found.unused == unused
    model = model_plan(dataclasses.replace(found.config, pooling=pooling), weights=found.weights)
    with np.load(GOLDEN / "expected.npz") as golden:
        out = jax.jit(build_encoder(model).encode)(
            initial_parameters(model, 0), golden["ids"], golden["mask"]
        )
        tolerance = BFLOAT16 if flavour == "torch_bfloat16" else OUTPUT
        np.testing.assert_allclose(out, golden[pooling], atol=tolerance, rtol=0)


@pytest.mark.parametrize("flavour", FAMILY)
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_genuine_file_of_another_family_loads_equal_to_torch(flavour: str, pooling: str):
    found = inspect(GOLDEN / flavour)
    layout, unused = FAMILY[flavour]
    assert found.weights
    name = flavour.partition("_")[0]
    kind = "roberta" if name == "xlmr" else name
    assert (found.config.kind, found.weights.layout, found.unused) == (kind, layout, unused)
    assert found.config.longest == 12
    model = model_plan(dataclasses.replace(found.config, pooling=pooling), weights=found.weights)
    with np.load(GOLDEN / f"expected_{name}.npz") as golden:
        out = jax.jit(build_encoder(model).encode)(
            initial_parameters(model, 0), golden["ids"], golden["mask"]
        )
        if pooling not in golden:
            pytest.skip("the fixtures up to MPNet's were made without it")
        np.testing.assert_allclose(out, golden[pooling], atol=OUTPUT, rtol=0)


def test_all_flavours_hold_the_same_numbers():
    leaves = {}
    for flavour in FLAVOURS:
        found = inspect(GOLDEN / flavour)
        leaves[flavour] = flatten(
            initial_parameters(model_plan(found.config, weights=found.weights), 0)
        )
    base = leaves.pop("torch_safetensors")
    rounded = leaves.pop("torch_bfloat16")
    for flavour, other in leaves.items():
        assert other.keys() == base.keys()
        for path, leaf in base.items():
            np.testing.assert_array_equal(other[path], leaf, err_msg=f"{flavour} {path}")
    for path, leaf in base.items():
        np.testing.assert_allclose(rounded[path], leaf, rtol=2**-8, err_msg=path)
