"""SigLIP on tiny random weights against transformers: embeddings of both networks, every gradient, every tensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.runtime.models.siglip.config import siglip_config
from tests.parity.towers import (
    BLOCKS,
    OUTPUT,
    compare,
    config_of,
    moved,
    pixels,
    round_trip,
    seen,
    texts,
    torch_pixels,
)
from tests.runtime.models.one_tower import OneTower, tower

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

TEXT = {**BLOCKS, "vocab_size": 60, "max_position_embeddings": 16, "pad_token_id": 1}
VISION = {**BLOCKS, "image_size": 16, "patch_size": 4}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "another width, padding id 0": {
        "text": {"hidden_size": 24, "projection_size": 32, "pad_token_id": 0}
    },
    "gelu, eps, one head": {
        "text": {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "num_attention_heads": 1},
        "vision": {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "num_attention_heads": 1},
    },
    "patches that leave an edge": {"vision": {"image_size": 19}},
    "no layers": {"text": {"num_hidden_layers": 0}, "vision": {"num_hidden_layers": 0}},
}


def make(folder: Path, variant: str = "plain") -> Any:
    changes = VARIANTS[variant]
    config = transformers.SiglipConfig(
        text_config={**TEXT, "bos_token_id": 58, "eos_token_id": 59, **changes.get("text", {})},
        vision_config={**VISION, **changes.get("vision", {})},
    )
    torch.manual_seed(0)
    model = moved(transformers.SiglipModel._from_config(config))
    model.save_pretrained(folder)
    return model


def towers(folder: Path) -> tuple[OneTower, OneTower]:
    text, vision = siglip_config(config_of(folder))
    return tower(text), tower(vision)


@pytest.mark.parametrize("variant", VARIANTS)
def test_texts_equal_torch(tmp_path: Path, variant: str):
    """torch is given rows padded to the last position and no mask, as the processor makes them; ours are shorter."""
    theirs = make(tmp_path, variant)
    text = towers(tmp_path)[0]
    ids, mask = texts(pad=text.config.pad_token_id)
    whole = np.pad(ids, ((0, 0), (0, 16 - 11)), constant_values=text.config.pad_token_id)
    expected = theirs.get_text_features(torch.tensor(whole).long()).pooler_output
    compare(text, theirs, expected, tmp_path, ids, mask)


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_equal_torch(tmp_path: Path, variant: str):
    theirs = make(tmp_path, variant)
    vision = towers(tmp_path)[1]
    images = pixels(vision.config.image_size)
    expected = theirs.get_image_features(torch_pixels(images)).pooler_output
    compare(vision, theirs, expected, tmp_path, images, seen(vision))


def test_the_length_of_a_batch_changes_no_embedding(tmp_path: Path):
    theirs = make(tmp_path)
    text = towers(tmp_path)[0]
    ids, _ = texts(pad=1)
    params = text.read(tmp_path)
    with torch.no_grad():
        for row in (1, 3):  # a single token, four tokens
            whole = np.pad(ids[row : row + 1], ((0, 0), (0, 5)), constant_values=1)
            expected = theirs.get_text_features(torch.tensor(whole).long()).pooler_output.numpy()
            for length in (4, 7, 16):
                own = whole[:, :length]
                out = text.encode(params, own, own != 1)
                np.testing.assert_allclose(out, expected, atol=OUTPUT, rtol=0)


def test_every_tensor_of_the_file_comes_back_under_its_name(tmp_path: Path):
    make(tmp_path)
    round_trip(towers(tmp_path), tmp_path, beside={"logit_scale", "logit_bias"})


@pytest.mark.parametrize(
    "raw",
    [
        {"model_type": "siglip"},
        {
            "model_type": "siglip",
            "text_config": {"vocab_size": 256000, "model_type": "siglip_text_model"},
            "vision_config": {"image_size": 384, "patch_size": 14},
        },
    ],
)
def test_the_defaults_are_those_of_transformers(tmp_path: Path, raw: dict[str, Any]):
    (tmp_path / "config.json").write_text(json.dumps(raw))
    theirs = transformers.SiglipConfig.from_pretrained(tmp_path)
    renamed = {
        "attention_probs_dropout_prob": "attention_dropout",
        "projection_dim": "projection_size",
    }
    for ours, part in zip(
        siglip_config(raw), (theirs.text_config, theirs.vision_config), strict=True
    ):
        # transformers has no spread for SigLIP's new parameters: nothing of it is new
        for key in set(vars(ours)) - {"kind", "hidden_dropout_prob", "initializer_range"}:
            assert getattr(ours, key) == getattr(part, renamed.get(key, key)), key
