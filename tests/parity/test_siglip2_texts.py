"""SigLIP 2's texts: a made directory through our tokenizer and through transformers' processor, id for id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.runtime.models.directory import inspect
from specrun.runtime.predict.predictor import Predictor
from specrun.spec.plan.networks import TextImageConfig
from tests.runtime.models.gemma import PREPROCESSOR, gemma

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

TOWERS = Path(__file__).parents[1] / "golden" / "towers"
TEXTS = (
    "A red BOX",
    "a red box",
    "  Two  spaces, İstanbul ǅ STRASSE ẞ Σας",
    "",
    "Œuvre 😀 <eos> <PAD> 日本語",
    "a very long text " * 20,
)


def make(folder: Path, **config: Any) -> Path:
    shutil.copytree(TOWERS / "siglip2_torch", folder)
    raw = json.loads((folder / "config.json").read_text())
    raw["text_config"]["pad_token_id"] = 1  # the default of the class, which is not the tokenizer's
    (folder / "config.json").write_text(json.dumps(raw))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "tokenizer.json").write_text(gemma())
    told = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right"}
    told |= {"model_input_names": ["input_ids"], "add_bos_token": False, "add_eos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(told | config))
    return folder


@pytest.mark.parametrize("saved", [False, True])
def test_texts_become_the_ids_of_transformers_processor(tmp_path: Path, saved: bool):
    """A directory as it was published, and what transformers writes of it."""
    folder = make(tmp_path / "model")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(theirs).__name__ == "Siglip2Tokenizer"
    if saved:
        theirs.save_pretrained(folder)
    found = inspect(folder)
    assert isinstance(found.config, TextImageConfig)
    pad = found.config.text.pad_token_id
    assert pad == theirs.pad_token_id == 0
    length = found.config.longest
    assert length == 12
    images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    processor = transformers.Siglip2Processor(image_processor=images, tokenizer=theirs)
    asked = {"padding": "max_length", "truncation": True, "max_length": length}
    expected = processor(text=list(TEXTS), **asked, return_tensors="np")["input_ids"]
    predictor = Predictor(folder)
    ids = predictor.trained.tokenizer.encode(list(TEXTS), length)
    ours = np.stack([np.pad(x, (0, length - len(x)), constant_values=pad) for x in ids])
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(ours[0], ours[1])


def test_texts_and_images_of_any_shape_are_embedded_as_by_transformers(tmp_path: Path):
    from PIL import Image

    folder = make(tmp_path / "model")
    model = transformers.Siglip2Model.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    rng = np.random.default_rng(0)
    sizes = ((30, 40), (200, 40), (9, 300), (3, 3), (640, 480))
    pictures = [Image.fromarray(rng.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in sizes]
    with torch.no_grad():
        ids = tokenizer(
            list(TEXTS),
            padding="max_length",
            truncation=True,
            max_length=12,
            return_attention_mask=False,
            return_tensors="pt",
        )
        text = model.get_text_features(**ids).pooler_output
        image = model.get_image_features(**images(pictures, return_tensors="pt")).pooler_output
    predictor = Predictor(folder)
    for ours, theirs in (
        (predictor.encode_text(list(TEXTS)), text),
        (predictor.encode_image(pictures), image),
    ):
        unit = torch.nn.functional.normalize(theirs, dim=-1).numpy()
        np.testing.assert_allclose(ours, unit, atol=1e-5, rtol=0)
