"""CLIP on tiny random weights against transformers: embeddings of both networks, every gradient, every tensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.runtime.models.clip.config import clip_config
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
    torch_texts,
)
from tests.runtime.models.one_tower import OneTower, tower

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

GOLDEN = Path(__file__).parents[1] / "golden" / "towers"

TEXT = {**BLOCKS, "vocab_size": 60, "max_position_embeddings": 12}
IDS = {"bos_token_id": 58, "eos_token_id": 59, "pad_token_id": 0}
VISION = {**BLOCKS, "image_size": 16, "patch_size": 4}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "old end of text": {"text": {"eos_token_id": 2}},
    "gelu, eps, one head": {
        "text": {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "num_attention_heads": 1},
        "vision": {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "num_attention_heads": 1},
    },
    "patches that leave an edge": {"vision": {"image_size": 15, "hidden_act": "gelu_pytorch_tanh"}},
    "no layers": {"text": {"num_hidden_layers": 0}, "vision": {"num_hidden_layers": 0}},
}


def make(folder: Path, variant: str = "plain", kind: str = "CLIPModel") -> Any:
    changes = VARIANTS[variant]
    text = transformers.CLIPTextConfig(
        **{**TEXT, **IDS, **changes.get("text", {})}, projection_dim=6
    )
    vision = transformers.CLIPVisionConfig(
        **{**VISION, **changes.get("vision", {})}, projection_dim=6
    )
    whole = transformers.CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=6
    )
    config = {"CLIPTextModelWithProjection": text, "CLIPVisionModelWithProjection": vision}
    torch.manual_seed(0)
    model = moved(getattr(transformers, kind)._from_config(config.get(kind, whole)))
    model.save_pretrained(folder)
    whole.save_pretrained(folder)
    return model


def towers(folder: Path) -> tuple[OneTower, OneTower]:
    text, vision = clip_config(config_of(folder))
    return tower(text), tower(vision)


@pytest.mark.parametrize("variant", VARIANTS)
def test_texts_equal_torch(tmp_path: Path, variant: str):
    theirs = make(tmp_path, variant)
    ids, mask = texts(pad=0)
    expected = theirs.get_text_features(**torch_texts(ids, mask)).pooler_output
    compare(towers(tmp_path)[0], theirs, expected, tmp_path, ids, mask)


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_equal_torch(tmp_path: Path, variant: str):
    theirs = make(tmp_path, variant)
    vision = towers(tmp_path)[1]
    images = pixels(vision.config.image_size)
    expected = theirs.get_image_features(torch_pixels(images)).pooler_output
    compare(vision, theirs, expected, tmp_path, images, seen(vision))


def test_a_network_of_texts_alone_equals_torch(tmp_path: Path):
    theirs = make(tmp_path, kind="CLIPTextModelWithProjection")
    ids, mask = texts(pad=0)
    expected = theirs(**torch_texts(ids, mask)).text_embeds
    compare(towers(tmp_path)[0], theirs, expected, tmp_path, ids, mask)


def test_a_network_of_images_alone_equals_torch(tmp_path: Path):
    theirs = make(tmp_path, kind="CLIPVisionModelWithProjection")
    vision, images = towers(tmp_path)[1], pixels(16)
    expected = theirs(torch_pixels(images)).image_embeds
    compare(vision, theirs, expected, tmp_path, images, seen(vision))


def test_padding_with_the_end_of_text_is_pooled_at_its_first_place(tmp_path: Path):
    """As OpenAI's tokenizer pads. Row 3 has no end of its own; transformers then takes the padding's."""
    theirs = make(tmp_path)
    ids, mask = texts(pad=59)
    ended = np.array([0, 1, 2, 4, 5])
    with torch.no_grad():
        inputs = torch_texts(ids[ended], mask[ended])
        expected = theirs.get_text_features(**inputs).pooler_output.numpy()
        bare = theirs.get_text_features(inputs["input_ids"]).pooler_output.numpy()
    text = towers(tmp_path)[0]
    out = text.encode(text.read(tmp_path), ids, mask)
    np.testing.assert_allclose(out[ended], expected, atol=OUTPUT, rtol=0)
    np.testing.assert_allclose(out[ended], bare, atol=OUTPUT, rtol=0)


def test_every_tensor_of_the_file_comes_back_under_its_name(tmp_path: Path):
    make(tmp_path)
    round_trip(towers(tmp_path), tmp_path, beside={"logit_scale"})


@pytest.mark.parametrize(
    "raw",
    [
        {"model_type": "clip"},
        {"model_type": "clip", "text_config": {"eos_token_id": 2}, "projection_dim": 768},
        {
            "model_type": "clip",
            "text_config": {"hidden_size": 64, "vocab_size": 99},
            "text_config_dict": {"hidden_size": 768, "num_attention_heads": 12},
            "vision_config": {"patch_size": 16},
            "vision_config_dict": {
                "patch_size": 14,
                "hidden_size": 1024,
                "num_attention_heads": 16,
            },
        },
    ],
)
def test_the_defaults_are_those_of_transformers(tmp_path: Path, raw: dict[str, Any]):
    (tmp_path / "config.json").write_text(json.dumps(raw))
    theirs = transformers.CLIPConfig.from_pretrained(tmp_path)
    for ours, part in zip(
        clip_config(raw), (theirs.text_config, theirs.vision_config), strict=True
    ):
        assert ours.projection_dim == theirs.projection_dim
        assert ours.attention_probs_dropout_prob == part.attention_dropout
        for key in set(vars(ours)) - {"kind", "projection_dim", "hidden_dropout_prob"}:
            if key != "attention_probs_dropout_prob":
                assert getattr(ours, key) == getattr(part, key), key


@pytest.mark.parametrize(("folder", "family"), [("clip_torch", "clip"), ("siglip_torch", "siglip")])
def test_the_stored_output_is_that_of_todays_torch(folder: str, family: str):
    """Of the checked-in files, which transformers 4.57 wrote."""
    theirs = transformers.AutoModel.from_pretrained(GOLDEN / folder).eval()
    with np.load(GOLDEN / f"expected_{family}.npz") as golden, torch.no_grad():
        image = theirs.get_image_features(torch_pixels(golden["pixels"])).pooler_output
        np.testing.assert_allclose(image.numpy(), golden["image"], atol=2e-6, rtol=0)
        inputs = torch_texts(golden["ids"], golden["mask"])
        if family == "siglip":
            inputs = {"input_ids": torch.nn.functional.pad(inputs["input_ids"], (0, 3), value=1)}
        text = theirs.get_text_features(**inputs).pooler_output
        np.testing.assert_allclose(text.numpy(), golden["text"], atol=2e-6, rtol=0)
