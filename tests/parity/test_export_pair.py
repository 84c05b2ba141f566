"""Exports of CLIP and SigLIP as transformers, sentence-transformers and PEFT load them: the embeddings are ours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from specrun.runtime.adapters.peft import read_adapter
from specrun.runtime.data.tokenizer import lowercased
from specrun.runtime.loop.parameters import write_parameters
from specrun.runtime.predict.export import export
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.trees import flatten
from tests.runtime.models.gemma import gemma
from tests.runtime.pictured import COMPOSED, TEXTS, make_models, make_run, moved

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.parity

EMBEDDING = 1e-5
"""Largest difference of a unit vector's number in f32."""

CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}
SHAPES = ((40, 30), (90, 9), (300, 10), (20, 60), (3, 3), (17, 5))
"""Width and height of more pictures for SigLIP 2. None is a patch wide and many high: there torch's CPU kernel is
wrong, as ``test_siglip2`` explains."""
ADAPTED = "'self_attn.q_proj', 'mlp.fc2'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    there = make_models(tmp_path / "here")
    (there / "siglip2" / "tokenizer.json").write_text(gemma())
    (there / "shapes").mkdir()
    for i, (width, height) in enumerate(SHAPES):
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(there / "shapes" / f"{i}.png")
    return there


def run_of(folder: Path, kind: str, **more: Any) -> Any:
    """A run on one of the three models; the names of SigLIP 2's are those of ``kind: siglip``."""
    own = f"{{kind: siglip, name_or_path: {folder}/siglip2}}" if kind == "siglip2" else ""
    return make_run(folder, kind, model=own, **more)


def pictures(folder: Path) -> list[Path]:
    shapes = sorted((folder / "shapes").iterdir())
    return [folder / "pics" / f"{i}.png" for i in (0, 3, 7)] + shapes


def images(folder: Path) -> list[Image.Image]:
    return [Image.open(path) for path in pictures(folder)]


def features(model: Any, directory: Path, folder: Path, length: int) -> tuple[Any, Any]:
    """Unit embeddings of the texts and of the pictures, by transformers' own tokenizer and processor."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    processor = transformers.AutoImageProcessor.from_pretrained(directory)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=length, return_tensors="pt")  # fmt: skip
    if model.config.model_type != "clip":
        short = tokenizer(TEXTS, truncation=True, max_length=length)
        batch = tokenizer.pad(short, padding="max_length", max_length=12, return_tensors="pt")  # fmt: skip
    given = processor(images=images(folder), return_tensors="pt")
    with torch.no_grad():
        texts = model.eval().get_text_features(**batch).pooler_output
        seen = model.get_image_features(**given).pooler_output
    unit = torch.nn.functional.normalize
    return unit(texts).numpy(), unit(seen).numpy()


def same(found: tuple[Any, Any], predictor: Predictor, folder: Path) -> None:
    texts = predictor.encode_text(TEXTS)
    seen = predictor.encode_image(pictures(folder))
    np.testing.assert_allclose(found[0], texts, atol=EMBEDDING, rtol=0)
    np.testing.assert_allclose(found[1], seen, atol=EMBEDDING, rtol=0)


@pytest.mark.parametrize("lora", ["", ADAPTED])
@pytest.mark.parametrize("kind", CLASSES)
def test_transformers_embeds_as_we_do(folder: Path, kind: str, lora: str):
    """By the class and by AutoModel; nothing is missing from the file, and nothing in it is unexpected."""
    run_of(folder, kind, lora=lora)
    export(folder / "run", folder / "out", to="hf")
    for loader in (getattr(transformers, CLASSES[kind]), transformers.AutoModel):
        model, told = loader.from_pretrained(folder / "out", output_loading_info=True)
        assert type(model).__name__ == CLASSES[kind]
        assert not told["unexpected_keys"]
        assert not told["missing_keys"]
        same(features(model, folder / "out", folder, 8), Predictor(folder / "run"), folder)
    assert bool(json.loads((folder / "out" / "specrun_export.json").read_text())["merged"]) == bool(lora)  # fmt: skip


@pytest.mark.parametrize("lora", ["", ADAPTED])
@pytest.mark.parametrize("kind", CLASSES)
def test_sentence_transformers_embeds_as_we_do(folder: Path, kind: str, lora: str):
    run_of(folder, kind, lora=lora, length=8 if kind == "clip" else 12)
    export(folder / "run", folder / "out")
    model = sentence_transformers.SentenceTransformer(str(folder / "out"), device="cpu")
    found = (model.encode(TEXTS), model.encode(images(folder)))
    same(found, Predictor(folder / "run"), folder)
    same(found, Predictor(folder / "out"), folder)


@pytest.mark.parametrize("kind", CLASSES)
def test_peft_loads_one_adapter_upon_the_source(folder: Path, kind: str):
    """Only the adapters have moved; without them the embeddings are others."""
    plan = run_of(folder, kind, lora=ADAPTED)
    run = folder / "run"
    shutil.rmtree(run / "best")
    write_parameters(run / "best", moved(plan.model, only="lora_"), {"step": 1})
    export(run, folder / "out", to="peft")
    base = getattr(transformers, CLASSES[kind])
    plain = features(base.from_pretrained(folder / kind), folder / "out", folder, 8)
    model = peft.PeftModel.from_pretrained(base.from_pretrained(folder / kind), folder / "out")
    same(features(model, folder / "out", folder, 8), Predictor(run), folder)
    model.save_pretrained(folder / "theirs")
    ours, theirs = (flatten(read_adapter(folder / name, plan.model)) for name in ("out", "theirs"))
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        np.testing.assert_array_equal(leaf, theirs[path], err_msg=path)
    assert np.abs(plain[0] - Predictor(run).encode_text(TEXTS)).max() > 100 * EMBEDDING
    assert np.abs(plain[1] - Predictor(run).encode_image(pictures(folder))).max() > 100 * EMBEDDING


@pytest.mark.parametrize("to", ["hf", "sentence-transformers", "peft"])
@pytest.mark.parametrize("kind", CLASSES)
def test_the_card_tells_how_to_make_our_vectors(folder: Path, kind: str, to: Any):
    """Its code, with our texts and pictures in place of its own."""
    whole = kind != "clip" and to == "sentence-transformers"
    plan = run_of(folder, kind, lora=ADAPTED, length=12 if whole else 8)
    shutil.rmtree(folder / "run" / "best")
    write_parameters(folder / "run" / "best", moved(plan.model, only="lora_"), {"step": 1, "metrics": {}})  # fmt: skip
    export(folder / "run", folder / "out", to=to)
    code = (folder / "out" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    opened = ", ".join(f"Image.open({str(path)!r})" for path in pictures(folder))
    for written, ours in {
        '"DIRECTORY"': repr(str(folder / "out")),
        f'"{kind}"': repr(str(folder / kind)),
        '["a text", "another"]': repr(TEXTS),
        'Image.open("picture.png")': opened,
    }.items():
        code = code.replace(written, ours)
    names: dict[str, Any] = {}
    exec(code, names)
    same((np.asarray(names["texts"]), np.asarray(names["images"])), Predictor(folder / "run"), folder)  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
def test_the_processor_of_both_is_found(folder: Path, kind: str):
    """By AutoProcessor and by the class, from the files alone."""
    export(folder / kind, folder / "out", to="hf")
    own = CLASSES[kind].replace("Model", "Processor")
    for loader in (transformers.AutoProcessor, getattr(transformers, own)):
        processor = loader.from_pretrained(folder / "out")
        assert type(processor).__name__ == own
        # transformers' processor of both takes 16 and 256 for SigLIP 2 unless it is told
        patches = {"patch_size": 4, "max_num_patches": 12} if kind == "siglip2" else {}
        seen = images(folder)
        given = processor(text=TEXTS[:1], images=seen, return_tensors="pt", **patches)
        shape = (12, 48) if kind == "siglip2" else (3, 11, 11)
        assert given["pixel_values"].shape == (len(seen), *shape)
        assert ("attention_mask" in given) == (kind == "clip")


SIGLIP2_TEXTS = (
    "A red BOX",
    "a red box",
    "  Two  spaces, İstanbul ǅ STRASSE ẞ Σας",
    "",
    "Œuvre 😀 <eos> <PAD> <mask> 日本語",
    "a very long text " * 20,
)


@pytest.mark.parametrize("to", ["hf", "peft"])
@pytest.mark.parametrize("lowered", [False, True])
def test_siglip_2s_tokenizer_gives_our_ids(folder: Path, lowered: bool, to: Any):
    """By transformers' Siglip2Tokenizer beside config.json, and by the plain one without; whether the source lower-cased or not."""
    source = folder / "siglip2"
    told = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right", "pad_token": "<pad>"}
    (source / "tokenizer_config.json").write_text(json.dumps(told))
    if lowered:
        (source / "tokenizer.json").write_text(lowercased(gemma()))
    run_of(folder, "siglip2", lora=ADAPTED, length=12)
    if to == "peft":
        plan = run_of(folder, "siglip2", lora=ADAPTED, length=12, name="adapted")
        shutil.rmtree(folder / "adapted" / "best")
        write_parameters(folder / "adapted" / "best", moved(plan.model, only="lora_"), {"step": 1, "metrics": {}})  # fmt: skip
    export(folder / ("run" if to == "hf" else "adapted"), folder / "out", to=to)
    copied = json.loads((folder / "out" / "specrun_export.json").read_text())["files_of_the_source"]
    assert "tokenizer_config.json" not in copied
    theirs = transformers.AutoTokenizer.from_pretrained(folder / "out")
    if to == "hf":
        assert type(theirs).__name__ == "Siglip2Tokenizer"
    assert (theirs.padding_side, theirs.pad_token_id) == ("right", 0)
    asked = {"padding": "max_length", "truncation": True, "max_length": 12}
    ids = theirs(list(SIGLIP2_TEXTS), **asked)["input_ids"]
    ours = Predictor(folder / "run").trained.tokenizer.encode(list(SIGLIP2_TEXTS), 12)
    assert ids == [[*x.tolist(), *[0] * (12 - len(x))] for x in ours]
    assert ids[0] == ids[1]


COMPOSED_FORMS = {
    "heads": {"dim": 8},
    "projections": {"dim": "null", "text": ", projection_dim: 6, pooling: cls", "image": ", projection_dim: 6"},
    "none": {"dim": "null"},
    "both": {"dim": 5, "text": ", projection_dim: 6", "image": ", projection_dim: 7"},
}  # fmt: skip


def make_composed(folder: Path, name: str) -> None:
    values = {"text": "", "image": "", **COMPOSED_FORMS[name]}
    make_run(folder, model=COMPOSED.format(**values, folder=folder))


@pytest.mark.parametrize("name", COMPOSED_FORMS)
def test_sentence_transformers_embeds_with_both_networks_and_their_heads(folder: Path, name: str):
    make_composed(folder, name)
    export(folder / "run", folder / "out")
    model = sentence_transformers.SentenceTransformer(str(folder / "out"), device="cpu")
    found = (model.encode(TEXTS), model.encode(images(folder)))
    same(found, Predictor(folder / "run"), folder)
    same(found, Predictor(folder / "out"), folder)


def test_transformers_loads_each_network_of_a_composed_model(folder: Path):
    """Without heads the pooled states of its own classes are our embeddings."""
    make_composed(folder, "none")
    export(folder / "run", folder / "out", to="hf")
    out = folder / "out"
    tokenizer = transformers.AutoTokenizer.from_pretrained(out / "text")
    processor = transformers.AutoImageProcessor.from_pretrained(out / "image")
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=8, return_tensors="pt")
    pixels = processor(images(folder), return_tensors="pt").pixel_values
    networks = []
    for part in ("text", "image"):
        model, told = transformers.AutoModel.from_pretrained(out / part, output_loading_info=True)
        assert not told["unexpected_keys"]
        assert all(key.startswith("pooler.") for key in told["missing_keys"])
        networks.append(model.eval())
    with torch.no_grad():
        hidden = networks[0](batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        seen = networks[1](pixels).last_hidden_state[:, 0]
    weight = batch.attention_mask[..., None].float()
    unit = torch.nn.functional.normalize
    texts = unit((hidden * weight).sum(1) / weight.sum(1))
    same((texts.numpy(), unit(seen).numpy()), Predictor(folder / "run"), folder)


@pytest.mark.parametrize("kind", CLASSES)
def test_bfloat16_loads_as_bfloat16(folder: Path, kind: str):
    run_of(folder, kind)
    export(folder / "run", folder / "out", to="hf", dtype="bfloat16")
    model = transformers.AutoModel.from_pretrained(folder / "out")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    found = Predictor(folder / "out").encode_text(TEXTS)
    expected = Predictor(folder / "run").encode_text(TEXTS)
    np.testing.assert_allclose(found, expected, atol=0.05, rtol=0)
    assert not np.array_equal(found, expected)
