"""ViT on tiny random weights against transformers: pooled states, every gradient, every tensor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.runtime.models.vit.config import vit_config
from tests.parity.towers import (
    BLOCKS,
    OUTPUT,
    compare,
    config_of,
    moved,
    pixels,
    round_trip,
    seen,
    torch_pixels,
)
from tests.runtime.models.one_tower import OneTower, tower

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

SHAPE = {**BLOCKS, "image_size": 16, "patch_size": 4}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tanh gelu, eps, one head": {
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-3,
        "num_attention_heads": 1,
    },
    "patches that leave an edge": {"image_size": 19, "hidden_act": "relu"},
    "no layers": {"num_hidden_layers": 0},
}
HEADS = {"vit.": "ViTForImageClassification", "masks": "ViTForMaskedImageModeling"}


def make(folder: Path, variant: str = "plain", kind: str = "ViTModel") -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(**{**SHAPE, **VARIANTS[variant]}, encoder_stride=4)
    model = moved(getattr(transformers, kind)._from_config(config))
    model.save_pretrained(folder)
    return model


def read(folder: Path, **changes: Any) -> OneTower:
    return tower(replace(vit_config(config_of(folder)), **changes))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_images_equal_torch(tmp_path: Path, variant: str, pooling: str):
    theirs = make(tmp_path, variant)
    vision = read(tmp_path, pooling=pooling)
    images = pixels(vision.config.image_size)
    hidden = theirs(torch_pixels(images)).last_hidden_state
    expected = hidden[:, 0] if pooling == "cls" else hidden[:, 1:].mean(1)
    compare(vision, theirs, expected, tmp_path, images, seen(vision))


@pytest.mark.parametrize("kind", HEADS.values())
def test_a_head_models_encoder_equals_torchs(tmp_path: Path, kind: str):
    theirs = make(tmp_path, kind=kind)
    vision, images = read(tmp_path), pixels(16)
    with torch.no_grad():
        expected = theirs.vit(torch_pixels(images)).last_hidden_state[:, 0].numpy()
    out = vision.encode(vision.read(tmp_path), images, seen(vision))
    np.testing.assert_allclose(out, expected, atol=OUTPUT, rtol=0)


def test_every_tensor_of_the_file_comes_back_under_its_name(tmp_path: Path):
    make(tmp_path)
    beside = {"pooler.dense.weight", "pooler.dense.bias"}
    round_trip((read(tmp_path),), tmp_path, beside=beside)


def test_the_defaults_are_those_of_transformers(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    theirs = transformers.ViTConfig.from_pretrained(tmp_path)
    ours = vit_config(config_of(tmp_path))
    for key in set(vars(ours)) - {"kind", "pooling", "final_layer_norm", "projection_dim"}:
        assert getattr(ours, key) == getattr(theirs, key), key


@pytest.mark.parametrize("folder", ["vit_torch", "vit_torch_head"])
def test_the_stored_output_is_that_of_todays_torch(folder: str):
    """Of the checked-in files, which transformers 4.57 wrote."""
    golden_folder = Path(__file__).parents[1] / "golden" / "towers"
    theirs = transformers.ViTModel.from_pretrained(golden_folder / folder).eval()
    with np.load(golden_folder / "expected_vit.npz") as golden, torch.no_grad():
        hidden = theirs(torch_pixels(golden["pixels"])).last_hidden_state
        np.testing.assert_allclose(hidden[:, 0].numpy(), golden["image"], atol=2e-6, rtol=0)
        np.testing.assert_allclose(hidden[:, 1:].mean(1).numpy(), golden["mean"], atol=2e-6, rtol=0)
