"""SigLIP 2 (NaFlex) on tiny random weights against transformers: embeddings, every gradient, every tensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.models.siglip2.config import MAX_PATCHES, siglip2_config
from specrun.runtime.models.siglip2.model import Patches, valid, weights
from tests.parity.towers import BLOCKS, OUTPUT, compare, config_of, moved, round_trip, texts
from tests.runtime.models.one_tower import OneTower, tower

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

TEXT = {**BLOCKS, "vocab_size": 60, "max_position_embeddings": 16, "pad_token_id": 0}
VISION = {**BLOCKS, "num_patches": 25, "patch_size": 4}
MOST = 24
SHAPES = ((4, 6), (6, 4), (1, 24), (12, 2), (5, 4), (1, 1), (2, 11), (3, 8))
"""Height and width in patches: full rows and short ones, larger and smaller than the grid of 5 × 5."""

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "gelu, eps, one head": {
        "vision": {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "num_attention_heads": 1},
    },
    "a grid of one": {"vision": {"num_patches": 1}},
    "a grid finer than any image": {"vision": {"num_patches": 900}},
    "no layers": {"vision": {"num_hidden_layers": 0}},
}


def make(folder: Path, variant: str = "plain") -> Any:
    changes = VARIANTS[variant]
    config = transformers.Siglip2Config(
        text_config={**TEXT, "bos_token_id": 58, "eos_token_id": 59},
        vision_config={**VISION, **changes.get("vision", {})},
    )
    torch.manual_seed(0)
    model = moved(transformers.Siglip2Model._from_config(config))
    model.save_pretrained(folder)
    return model


def towers(folder: Path) -> tuple[OneTower, OneTower]:
    raw = config_of(folder)
    text, vision = siglip2_config(raw)
    return tower(text), tower(with_patches(vision))


def with_patches(vision: Any) -> Any:
    from dataclasses import replace

    return replace(vision, max_num_patches=MOST)


def images() -> tuple[Patches, np.ndarray]:
    """Images of every shape of ``SHAPES``; behind each there are numbers that must not be looked at."""
    shape = np.array(SHAPES, np.int32)
    pixels = np.random.default_rng(1).normal(size=(len(SHAPES), MOST, 4 * 4 * 3))
    mask = np.arange(MOST) < shape[:, :1] * shape[:, 1:]
    return Patches(pixels.astype(np.float32), shape), mask


def theirs_of(model: Any, given: Patches, mask: np.ndarray) -> Any:
    return model.get_image_features(
        pixel_values=torch.tensor(given.pixels),
        pixel_attention_mask=torch.tensor(mask.astype(np.int32)),
        spatial_shapes=torch.tensor(given.shape).long(),
    ).pooler_output


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_of_every_shape_equal_torch(tmp_path: Path, variant: str):
    model = make(tmp_path, variant)
    given, mask = images()
    np.testing.assert_array_equal(valid(given.shape, MOST), mask)
    compare(towers(tmp_path)[1], model, theirs_of(model, given, mask), tmp_path, given, mask)


def test_texts_equal_torch(tmp_path: Path):
    model = make(tmp_path)
    text = towers(tmp_path)[0]
    ids, mask = texts(pad=0)
    whole = np.pad(ids, ((0, 0), (0, 16 - 11)))
    expected = model.get_text_features(torch.tensor(whole).long()).pooler_output
    compare(text, model, expected, tmp_path, ids, mask)


def test_padding_changes_nothing(tmp_path: Path):
    """Another filling behind the patches gives the same bits."""
    make(tmp_path)
    vision = towers(tmp_path)[1]
    params = vision.read(tmp_path)
    given, mask = images()
    other = np.where(mask[..., None], given.pixels, 7.0).astype(np.float32)
    assert (other != given.pixels).any()
    np.testing.assert_array_equal(
        vision.encode(params, given, mask), vision.encode(params, Patches(other, given.shape), mask)
    )


def test_positions_are_resized_as_torch_does():
    """Every short length and the longest ones: the weights themselves, line by line."""
    made = jax.jit(weights, static_argnums=2)
    for grid in (16, 27):
        lines = torch.eye(grid)[None, :, :, None].expand(1, grid, grid, 2)
        for count in (*range(1, 41), 64, 100, 128, 255, 256):
            expected = torch.nn.functional.interpolate(
                lines, size=(count, 2), mode="bilinear", antialias=True, align_corners=False
            )[0, :, :, 0].numpy()
            found = made(jnp.arange(256), jnp.full(256, count), grid)[:count]
            np.testing.assert_allclose(found, expected.T, atol=2e-6, rtol=0, err_msg=str(count))


def test_images_a_patch_wide_are_resized_as_those_a_patch_high():
    """torch's CPU kernel gives every line of a column the weights of its first, so columns are compared turned."""
    from specrun.runtime.models.siglip2.model import VisionEmbeddings

    module = VisionEmbeddings(with_patches(siglip2_config({"model_type": "siglip2"})[1]))
    grid = np.random.default_rng(3).normal(size=(16, 16, 768)).astype(np.float32)
    module.position_embedding.embedding[...] = jnp.array(grid.reshape(256, 768))
    found = module.positions(jnp.array([[MOST, 1], [1, MOST]]), MOST)
    for row, turned in zip(found, (grid.transpose(1, 0, 2), grid), strict=True):
        lines = torch.tensor(turned.transpose(2, 0, 1).copy())[None]
        expected = torch.nn.functional.interpolate(
            lines, size=(1, MOST), mode="bilinear", antialias=True, align_corners=False
        )[0, :, 0].numpy()
        np.testing.assert_allclose(row, expected.T, atol=OUTPUT, rtol=0)


def test_every_tensor_of_the_file_comes_back_under_its_name(tmp_path: Path):
    make(tmp_path)
    round_trip(towers(tmp_path), tmp_path, beside={"logit_scale", "logit_bias"})


@pytest.mark.parametrize(
    "raw",
    [
        {"model_type": "siglip2"},
        {
            "model_type": "siglip2",
            "text_config": {"vocab_size": 256000, "model_type": "siglip2_text_model"},
            "vision_config": {"num_patches": 729, "patch_size": 14},
        },
    ],
)
def test_the_defaults_are_those_of_transformers(tmp_path: Path, raw: dict[str, Any]):
    (tmp_path / "config.json").write_text(json.dumps(raw))
    theirs = transformers.Siglip2Config.from_pretrained(tmp_path)
    renamed = {
        "attention_probs_dropout_prob": "attention_dropout",
        "projection_dim": "projection_size",
    }
    ours = {"kind", "hidden_dropout_prob", "initializer_range", "max_num_patches"}
    parts = (theirs.text_config, theirs.vision_config)
    for own, part in zip(siglip2_config(raw), parts, strict=True):
        for key in set(vars(own)) - ours:
            assert getattr(own, key) == getattr(part, renamed.get(key, key)), key
    assert transformers.Siglip2ImageProcessor().max_num_patches == MAX_PATCHES
