"""SigLIP 2 of any image shape from a spec to embeddings, and the mistakes that its directory can hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import specrun
from specrun.compiler.explain import explain
from specrun.compiler.summary import summary
from specrun.runtime.models.directory import inspect
from specrun.spec.plan.images import Patching
from specrun.spec.plan.networks import TextImageConfig
from specrun.spec.plan.towers import Siglip2VisionConfig, SiglipTextConfig
from tests.runtime.models.gemma import PREPROCESSOR, SPECIAL, gemma

TOWERS = Path(__file__).parents[1] / "golden" / "towers"
SPEC = """\
version: 1
name: {name}
model: {{kind: {kind}, name_or_path: model}}
data:
  kind: jsonl
  path: rows.jsonl
  retrieval_mode: {mode}
  image_root: pics
  max_length: {{{limit}: 8}}
  columns: {columns}
losses: [{{kind: siglip}}]
train: {{batch_size: 4, max_steps: 2}}
"""
COLUMNS = {
    "t2i": ("query", "{positive: image}"),
    "m2i": ("query", "{query_image: image, positive: other}"),
}
SIZES = ((40, 30), (9, 90), (90, 9), (3, 3), (64, 65), (20, 20), (300, 10), (17, 5))
TOLD = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right", "pad_token": "<pad>"}


def make(folder: Path) -> Path:
    shutil.copytree(TOWERS / "siglip2_torch", folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "tokenizer.json").write_text(gemma())
    (folder / "tokenizer_config.json").write_text(json.dumps(TOLD))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and images of every shape with a text each."""
    there = tmp_path_factory.mktemp("naflex")
    make(there / "model")
    (there / "pics").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i, (width, height) in enumerate(SIZES):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(there / "pics" / f"{i}.png")
        row = {"query": f"a BOX{' red' * i}", "image": f"{i}.png"}
        rows.append(row | {"other": f"{(i + 1) % len(SIZES)}.png"})
    (there / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return there


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SPECRUN_CACHE", str(folder / "cache"))


def write(name: str, kind: str = "siglip", mode: str = "t2i") -> Path:
    limit, columns = COLUMNS[mode]
    path = Path(f"{name}.yaml")
    path.write_text(SPEC.format(name=name, kind=kind, mode=mode, limit=limit, columns=columns))
    return path


def test_the_plan_says_what_the_directory_decided() -> None:
    named, plan = specrun.compile(write("named")), specrun.compile(write("auto", "auto"))
    config = plan.model.config
    assert isinstance(config, TextImageConfig)
    assert named.model.config == config
    assert isinstance(config.image, Siglip2VisionConfig)
    assert (config.image.num_patches, config.image.max_num_patches) == (9, 12)
    assert plan.model.image_processor is not None
    assert plan.model.image_processor.patches == Patching(size=4, most=12)
    assert plan.tokenizer.source.lowercase
    networks = "siglip_text of 2 layers and siglip2_vision of 2 layers"
    assert f"{networks} (auto: config.json says siglip2)" in summary(plan)
    assert networks in summary(named)
    told = explain(plan, "model.kind")
    assert told.endswith(
        "decided  siglip_text and siglip2_vision, by model_type 'siglip2' of config.json"
    )


def test_adapters_train_in_both_networks_under_the_sigmoid_loss() -> None:
    lora = "lora={rank: 2, target_modules: [q_proj, v_proj]}"
    plan = specrun.compile(write("lora"), overrides=[lora])
    assert plan.model.lora is not None
    modules = {m.module for m in plan.model.lora.matches}
    assert {"text.layers.0.self_attn.q_proj", "image.layers.1.self_attn.v_proj"} <= modules
    assert len(modules) == 8
    result = specrun.run(plan)
    assert np.isfinite(result.metrics["loss"])
    names = [f"pics/{i}.png" for i in range(len(SIZES))]
    after = specrun.Predictor(result.folder).encode_image(names)
    before = specrun.Predictor("model").encode_image(names)
    assert np.abs(after - before).max() > 1e-5
    assert np.abs(after - before).max() < 0.1


@pytest.mark.slow
def test_texts_and_images_together_train_and_are_embedded() -> None:
    plan = specrun.compile(write("both", mode="m2i"))
    assert np.isfinite(specrun.run(plan).metrics["loss"])
    predictor = specrun.Predictor("model")
    names, texts = ["pics/0.png", "pics/1.png"], ["a red box", "a box"]
    images, both = predictor.encode_image(names), predictor.encode_image(names, texts=texts)
    summed = images + predictor.encode_text(texts)
    expected = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    np.testing.assert_allclose(both, expected, atol=1e-5)


def test_an_embedding_depends_on_its_image_alone() -> None:
    """Not on the batch, which is filled up, nor on where its pixels come from."""
    predictor = specrun.Predictor("model")
    names = [f"pics/{i}.png" for i in range(len(SIZES))]
    whole = predictor.encode_image(names, batch_size=8)
    np.testing.assert_allclose(predictor.encode_image(names, batch_size=3), whole, atol=1e-6)
    np.testing.assert_allclose(predictor.encode_image(names[2:3]), whole[2:3], atol=1e-6)
    opened = [Image.open(name) for name in names]
    np.testing.assert_array_equal(predictor.encode_image(opened, batch_size=8), whole)


def test_texts_are_lower_cased_before_training_and_after() -> None:
    predictor = specrun.Predictor("model")
    first, second = predictor.encode_text(["A RED BOX", "a red box"])
    np.testing.assert_array_equal(first, second)
    other = specrun.compile(write("own"), overrides=["tokenizer={kind: file, path: model}"])
    assert not other.tokenizer.source.lowercase  # a file that the spec names is taken as it is
    assert other.tokenizer.digest != specrun.compile(write("theirs")).tokenizer.digest


FAULTS: dict[str, tuple[str, Any, str]] = {
    "a processor of one size": (
        "preprocessor_config.json",
        {"image_processor_type": "SiglipImageProcessor"},
        "makes images of one size, and the network takes patches of any shape",
    ),
    "patches of another size": (
        "preprocessor_config.json",
        {**PREPROCESSOR, "patch_size": 5},
        "makes patches of 5 pixels, and the network takes 4",
    ),
    "no processor": ("preprocessor_config.json", None, "configuration is needed, found none"),
    "padding on the left": (
        "tokenizer_config.json",
        {**TOLD, "padding_side": "left"},
        "padding_side must be right, and is left",
    ),
    "padding where Gemma's is": (
        "tokenizer_config.json",
        {"tokenizer_class": "GemmaTokenizer"},
        "padding_side must be right, and is left",
    ),
    "padding without an id": (
        "tokenizer_config.json",
        {**TOLD, "pad_token": "<nothing>"},
        "the padding token '<nothing>' has no id in tokenizer.json",
    ),
    "a cut tokenizer": ("tokenizer.json", '{"model": {"vocab"', "is not a tokenizer.json"),
    "no square of positions": (
        "config.json",
        {"model_type": "siglip2", "vision_config": {"num_patches": 10}},
        "num_patches must be a square number, found 10",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_directory_that_does_not_fit_is_refused(tmp_path: Path, fault: str) -> None:
    name, content, message = FAULTS[fault]
    file = make(tmp_path / "model") / name
    file.unlink()
    if content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(specrun.InputError) as caught:
        specrun.compile(write("bad"), overrides=[f"model.name_or_path={tmp_path / 'model'}"])
    assert any(message in d.message for d in caught.value.diagnostics)
    with pytest.raises(specrun.InputError, match=message.replace("(", r"\(")):
        specrun.Predictor(tmp_path / "model")


def test_a_siglip_of_one_size_takes_no_patches(tmp_path: Path) -> None:
    shutil.copytree(TOWERS / "siglip_torch", tmp_path / "model")
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    with pytest.raises(specrun.InputError, match="keeps the shape of images, and the network"):
        inspect(tmp_path / "model")


@pytest.mark.parametrize(
    ("told", "special", "expected"),
    [
        (TOLD, SPECIAL, 0),
        ({"padding_side": "right"}, SPECIAL, 0),
        ({**TOLD, "pad_token": {"content": "<mask>"}}, SPECIAL, 4),
        (TOLD, ("<unk>", "<eos>", "<pad>"), 2),
        # what the file lists may be of another vocabulary: tokenizer.json makes the ids
        ({**TOLD, "added_tokens_decoder": {"7": {"content": "<pad>"}}}, SPECIAL, 0),
        (None, SPECIAL, 0),
    ],
)
def test_the_padding_is_the_id_that_tokenizer_json_gives(
    tmp_path: Path, told: dict[str, Any] | None, special: tuple[str, ...], expected: int
) -> None:
    directory = make(tmp_path / "model")
    raw = json.loads((directory / "config.json").read_text())
    raw["text_config"]["pad_token_id"] = 1
    (directory / "config.json").write_text(json.dumps(raw))
    (directory / "tokenizer.json").write_text(gemma(special))
    file = directory / "tokenizer_config.json"
    file.unlink()
    if told is not None:
        file.write_text(json.dumps(told))
    config = inspect(directory).config
    assert isinstance(config, TextImageConfig)
    assert isinstance(config.text, SiglipTextConfig)
    assert config.text.pad_token_id == expected


def test_a_composed_model_takes_no_half_of_it() -> None:
    composed = "model={kind: composed, text: {kind: text_encoder}, image: {kind: vit, name_or_path: model}}"
    with pytest.raises(specrun.InputError, match="model_type must be vit, found 'siglip2'"):
        specrun.compile(write("half"), overrides=[composed, "tokenizer={kind: train}"])
