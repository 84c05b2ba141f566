"""From a spec to embeddings with images: every retrieval mode, every kind of model, and the mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import specrun
from specrun.cli import main
from specrun.compiler.summary import summary
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.predict.mine import Rule, mine
from specrun.runtime.predict.search import search
from specrun.spec.plan.plan import Plan
from tests.runtime.data.fonts import PICTURED, FontMaker
from tests.runtime.models.gemma import PREPROCESSOR

TOWERS = Path(__file__).parents[1] / "golden" / "towers"
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}
SPEC = """\
version: 1
name: tiny
model: {model}
data:
  kind: jsonl
  path: rows.jsonl
  retrieval_mode: {mode}
  image_root: pics
  columns: {columns}
  validation: {{kind: fraction, fraction: 0.3}}
losses: [{{kind: infonce, temperature: 0.1}}]
train: {{batch_size: 8, max_steps: 3}}
evaluation: {{metrics: [mrr@10]}}
"""
COLUMNS = {
    "t2t": "{positive: other}",
    "t2i": "{positive: image, negatives: wrong}",
    "i2t": "{query_image: image, positive: other}",
    "i2i": "{query_image: next, positive: image}",
    "m2t": "{query_image: image, positive: other}",
    "m2i": "{query_image: next, positive: image}",
}
COMPOSED = """{{kind: composed, head_dim: {dim},
  text: {{kind: bert, name_or_path: bert}}, image: {{kind: vit, name_or_path: vit{more}}}}}"""


def vocabulary() -> str:
    """Words between <s> and 39, the towers' end of text; padded with 1."""
    words = ["<unk>", "<pad>", "<s>", *COLOURS, "box", "wide", *map(str, range(24)), "is", "a"]
    ids = {word: i for i, word in enumerate(words)} | {"</s>": 39}
    made = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["<s>", "</s>", "<pad>"])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 39)]
    )
    return made.to_str()


def processor(name: str) -> str:
    if name == "siglip2":
        return json.dumps(PREPROCESSOR)
    kinds = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}
    size = {"height": 11, "width": 11}
    own = {"size": size, "crop_size": size, "do_center_crop": False}
    return json.dumps({"image_processor_type": kinds.get(name, "ViTImageProcessor")} | own)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, images, and the golden models with a processor and a tokenizer beside them."""
    there = tmp_path_factory.mktemp("images")
    (there / "pics").mkdir()
    rows: list[dict[str, Any]] = []
    for i in range(24):
        name = list(COLOURS)[i % 3]
        Image.new("RGB", (20 + i, 30 - i), COLOURS[name]).save(there / "pics" / f"{i}.png")
        texts = {"query": f"a {name} box {i}", "other": f"{i} is {name}"}
        images = {
            "image": f"{i}.png",
            "next": f"{(i + 3) % 24}.png",
            "wrong": f"{(i + 1) % 24}.png",
        }
        rows.append(texts | images)
    (there / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("clip", "siglip", "siglip2", "vit"):
        shutil.copytree(TOWERS / f"{name}_torch", there / name)
        (there / name / "preprocessor_config.json").write_text(processor(name))
        (there / name / "tokenizer.json").write_text(vocabulary())
    shutil.copytree(TOWERS.parent / "models" / "torch_safetensors", there / "bert")
    (there / "bert" / "tokenizer.json").write_text(vocabulary())
    return there


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SPECRUN_CACHE", str(folder / "cache"))


def spec(model: str, mode: str, **more: str) -> str:
    columns = more.pop("columns", COLUMNS[mode])
    text = SPEC.format(model=model, mode=mode, columns=columns)
    if mode == "t2t":
        text = text.replace("  image_root: pics\n", "")
    sides = {"query": mode[0], "positive": mode[-1]}
    limits = ", ".join(f"{side}: 8" for side, letter in sides.items() if letter != "i")
    if limits:
        text = text.replace("  columns:", f"  max_length: {{{limits}}}\n  columns:")
    return text


def write(text: str) -> Path:
    path = Path("spec.yaml")
    path.write_text(text)
    return path


def directory(kind: str) -> str:
    return f"{{kind: {kind}, name_or_path: {kind}}}"


@pytest.mark.parametrize("mode", COLUMNS)
def test_every_retrieval_mode_trains_and_is_evaluated(mode: str) -> None:
    plan = specrun.compile(write(spec(directory("clip"), mode)), overrides=[f"name={mode}"])
    result = specrun.run(plan)
    assert 0 < result.metrics["mrr@10"] <= 1
    assert np.isfinite(result.metrics["loss"])
    tower = {"t2t": "text.", "i2i": "image."}.get(mode)
    for p in plan.model.parameters:
        assert p.trained == (tower is None or p.path.startswith(tower)), p.path
    mined_for(plan, mode)


def mined_for(plan: Plan, mode: str) -> None:
    """What `specrun mine` writes for a run's rows is read again, and is what a search by hand finds.

    Pictures of one colour are the same to the network, so scores are compared and not names.
    """
    training = ensure_rows(plan.data).training
    top = min(10, len(training) - 1)
    rule = Rule(num_negatives=2, top_k=top, relative_margin=0)
    found = mine(plan.output_dir, f"{mode}.jsonl", rule=rule)
    lines = [json.loads(line) for line in Path(f"{mode}.jsonl").read_text().splitlines()]
    assert found.rows == len(lines) == len(training)
    assert found.image_root == (None if mode == "t2t" else str(Path("pics").absolute()))
    columns = {"t": ["query"], "i": ["query_image"], "m": ["query", "query_image"]}[mode[0]]
    positives = [line["positive"] for line in lines]
    asked = {name: [line[name] for line in lines] for name in columns}
    image, predictor = mode[-1] == "i", specrun.Predictor(plan.output_dir)
    queries = embedded(predictor, asked.get("query"), asked.get("query_image"))
    documents = embedded(predictor, *((None, positives) if image else (positives, None)))
    scores = queries @ documents.T
    for row, line in enumerate(lines):
        assert set(line) == {*columns, "positive", "negatives"}
        own = [] if training.negatives is None else training.negatives[row]
        mined = [scores[row, positives.index(name)] for name in line["negatives"][len(own) :]]
        assert not {line["positive"]} & set(line["negatives"][len(own) :])
        others = sorted({s for i, s in enumerate(scores[row]) if positives[i] != positives[row]})
        below = [s for s in others[::-1][:top] if s < scores[row, row] - 1e-4]
        assert all(s < scores[row, row] + 1e-5 for s in mined)
        assert len(mined) >= min(2, len(below))
        assert all(s <= min(mined) + 1e-4 for s in below[2:] if len(mined) == 2)
    read_again(mode, lines, columns)


def embedded(
    predictor: specrun.Predictor, texts: list[str] | None, images: list[str] | None
) -> np.ndarray:
    if images is not None:
        return predictor.encode_image([Path("pics", name) for name in images], texts=texts)
    assert texts is not None
    return predictor.encode_document(texts)


def read_again(mode: str, lines: list[dict[str, Any]], columns: list[str]) -> None:
    image = ", query_image: query_image" if "query_image" in columns else ""
    named = f"{{negatives: negatives{image}}}"
    again = specrun.compile(
        write(spec(directory("clip"), mode, columns=named)),
        overrides=[
            f"data.path={mode}.jsonl",
            *("data.validation=null", "evaluation=null", "data.bad_rows=error"),
        ],
    )
    assert again.data.scan.training_rows == len(lines)
    assert again.data.scan.negatives == max(len(line["negatives"]) for line in lines) >= 1


@pytest.mark.parametrize(
    "model",
    [
        directory("siglip"),
        "{kind: siglip, name_or_path: siglip2}",
        "{kind: auto, name_or_path: clip}",
        COMPOSED.format(dim=8, more=""),
        COMPOSED.format(dim="null", more=", projection_dim: 16"),
    ],
)
def test_every_kind_of_model_trains(model: str, request: pytest.FixtureRequest) -> None:
    name = f"kind-{request.node.callspec.indices['model']}"
    plan = specrun.compile(write(spec(model, "t2i")), overrides=[f"name={name}"])
    result = specrun.run(plan)
    assert np.isfinite(result.metrics["loss"])
    assert (result.metrics["mrr@10"]) > 0
    vectors = specrun.Predictor(result.folder).encode_image(["pics/0.png", "pics/1.png"])
    assert vectors.shape == (2, plan.model.embedding_dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_a_directory_embeds_texts_images_and_both() -> None:
    predictor = specrun.Predictor("clip")
    paths = ["pics/0.png", "pics/1.png", "pics/2.png"]
    pictures = [Image.open(path) for path in paths]
    content = [Path(path).read_bytes() for path in paths]
    found = predictor.encode_image(paths, batch_size=2)
    assert np.allclose(found, predictor.encode_image(pictures), atol=1e-6)
    assert np.allclose(found, predictor.encode_image(content), atol=1e-6)
    texts = ["a red box", "green", "blue box 2"]
    both = predictor.encode_image(paths, texts=texts)
    summed = found + predictor.encode_text(texts)
    assert np.allclose(both, summed / np.linalg.norm(summed, axis=1, keepdims=True), atol=1e-5)


def test_a_run_finds_images_for_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    write(spec(directory("clip"), "t2i"))
    assert main(["compile", "spec.yaml", "-o", "found.json", "--set", "name=found"]) == 0
    assert "clip_text of 2 layers and clip_vision of 2 layers" in capsys.readouterr().out
    assert main(["run", "found.json", "--quiet"]) == 0
    capsys.readouterr()
    hits = search("runs/found", "a red box", top=24)
    assert sorted(hit.text for hit in hits) == sorted(f"{i}.png" for i in range(24))
    beside = search("runs/found", "a red box", top=24, corpus="pics")
    assert [round(hit.score, 4) for hit in beside] == [round(hit.score, 4) for hit in hits]
    worst = json.loads(Path("runs/found/best/worst.json").read_text())["worst"][0]
    assert worst["expected"]["text"].endswith(".png]")


def test_two_files_with_one_content_are_one_image() -> None:
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    shutil.copy("pics/0.png", "pics/again.png")
    rows.append(rows[0] | {"image": "again.png"})
    Path("again.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = specrun.compile(
        write(spec(directory("clip"), "t2i")), overrides=["data.path=again.jsonl"]
    )
    assert plan.data.scan.duplicates == 1


@pytest.mark.parametrize("mode", ["t2i", "i2t", "m2i"])
def test_mined_negatives_are_of_the_positives_kind(mode: str) -> None:
    columns = COLUMNS[mode].replace(", negatives: wrong", "")
    plan = specrun.compile(
        write(spec(directory("clip"), mode, columns=columns)),
        overrides=[
            f"name=mined-{mode}",
            "data.negatives={kind: mined, refresh_every_steps: 2, top_k: 4, num_negatives: 2}",
        ],
    )
    result = specrun.run(plan)
    events = Path(result.folder, "events.jsonl").read_text()
    assert events.count('"mined"') == 2
    assert np.isfinite(result.metrics["loss"])


def test_an_image_that_changes_after_compiling_stops_the_run() -> None:
    shutil.copytree("pics", "changing", dirs_exist_ok=True)
    plan = specrun.compile(
        write(spec(directory("clip"), "t2i")),
        overrides=["data.image_root=changing", "name=changed"],
    )
    Image.new("RGB", (5, 5)).save("changing/3.png")
    with pytest.raises(specrun.InputError, match="the images changed since the plan was compiled"):
        specrun.run(plan)


BAD = {
    "missing": ("gone.png", "missing image"),
    "outside": ("../rows.jsonl", "image outside image_root"),
    "absolute": ("/etc/hostname", "image outside image_root"),
    "folder": ("inner", "unreadable image"),
    "text": ("text.png", "broken image"),
    "empty": ("empty.png", "truncated image"),
    "cut": ("cut.png", "truncated image"),
    "large": ("large.png", "too many pixels"),
}


@pytest.fixture(scope="module")
def bad(folder: Path) -> None:
    pics = folder / "pics"
    (pics / "inner").mkdir()
    (pics / "text.png").write_text("no image at all")
    (pics / "empty.png").write_bytes(b"")
    (pics / "cut.png").write_bytes((pics / "0.png").read_bytes()[:60])
    Image.new("RGB", (300, 300)).save(pics / "large.png")
    rows = (folder / "rows.jsonl").read_text()
    for name, (image, _) in BAD.items():
        (folder / f"{name}.jsonl").write_text(
            rows + json.dumps({"query": "a bad one", "image": image}) + "\n"
        )


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_counted_or_stops_the_compiling(name: str, bad: None) -> None:
    path = write(spec(directory("clip"), "t2i", columns="{positive: image}"))
    more = [f"data.path={name}.jsonl", "data.max_image_pixels=2000"]
    plan = specrun.compile(path, overrides=more)
    (found,) = plan.data.scan.bad
    assert (found.count, found.reason) == (1, BAD[name][1])
    assert found.places == (f"{name}.jsonl:25",)
    assert f"bad: 1 × {BAD[name][1]}" in summary(plan)
    with pytest.raises(specrun.InputError) as caught:
        specrun.compile(path, overrides=[*more, "data.bad_rows=error"])
    (diagnostic,) = (d for d in caught.value.diagnostics if d.severity == "error")
    assert diagnostic.code == "bad-row"
    assert diagnostic.message.startswith(BAD[name][1])
    assert f"{name}.jsonl:25" in diagnostic.message


@pytest.mark.parametrize(
    ("model", "mode", "columns", "code", "path"),
    [
        ("{kind: bert, name_or_path: bert}", "t2i", None, "no-image-network", "data.retrieval_mode"),
        (directory("clip"), "i2t", "{positive: other}", "missing-key", "data.columns.query_image"),
        (directory("clip"), "t2i", "{query_image: next}", "no-effect", "data.columns.query_image"),
        (directory("clip"), "i2i", "{query: other, query_image: next, positive: image}", "no-effect", "data.columns.query"),
        ("{kind: siglip, name_or_path: clip}", "t2i", None, "other-family", "model.kind"),
        ("{kind: bert, name_or_path: clip}", "t2t", None, "other-family", "model.kind"),
        ("{kind: clip, name_or_path: nowhere}", "t2i", None, "model-not-found", "model.name_or_path"),
        ("{kind: auto, name_or_path: clip, pooling: mean}", "t2i", None, "no-effect", "model.pooling"),
        (COMPOSED.format(dim="null", more=", projection_dim: 9"), "t2i", None, "widths-differ", "model.head_dim"),
        (COMPOSED.format(dim=8, more=""), "t2t", None, "no-effect", "model.image"),
        (COMPOSED.format(dim=8, more="").replace("vit", "bert").replace("kind: bert, name_or_path: bert}}", "kind: vit, name_or_path: bert}}"), "t2i", None, "bad-model", "model.image.name_or_path"),
        ("{kind: composed, text: {kind: bert, name_or_path: bert}, image: {kind: image_encoder, image_size: 10, patch_size: 3}}", "t2i", None, "patches-do-not-divide", "model.image.patch_size"),
        ("{kind: composed, text: {kind: bert, name_or_path: bert, towers: separate}, image: {kind: image_encoder}}", "t2i", None, "two-towers", "model.text.towers"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place(
    model: str, mode: str, columns: str | None, code: str, path: str
) -> None:
    more = {} if columns is None else {"columns": columns}
    with pytest.raises(specrun.InputError) as caught:
        specrun.compile(write(spec(model, mode, **more)))
    assert (code, path) in {(d.code, d.path) for d in caught.value.diagnostics}


def test_the_image_root_must_be_a_folder() -> None:
    with pytest.raises(specrun.InputError) as caught:
        specrun.compile(
            write(spec(directory("clip"), "t2i")), overrides=["data.image_root=rows.jsonl"]
        )
    assert ("not-found", "data.image_root") in {(d.code, d.path) for d in caught.value.diagnostics}


def test_a_network_of_texts_embeds_no_images() -> None:
    with pytest.raises(specrun.InputError, match="embeds texts alone"):
        specrun.Predictor("bert").encode_image(["pics/0.png"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["pics/gone.png"], "pics/gone.png: missing image"),
        ([b"no image"], r"images\[0\]: broken image"),
        ([3], r"images\[0\] is int"),
        ("pics/0.png", "images must be a list"),
    ],
)
def test_what_is_no_image_is_refused(images: Any, message: str) -> None:
    with pytest.raises(specrun.InputError, match=message):
        specrun.Predictor("clip").encode_image(images)


EMOJI = """\
version: 1
name: emoji
model: {kind: composed, head_dim: 8, text: {kind: text_encoder, num_hidden_layers: 0,
  position_embedding: none, hidden_size: 8},
  image: {kind: image_encoder, image_size: 8, patch_size: 4, hidden_size: 8, num_hidden_layers: 1}}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: emoji, font: small.ttf, size: 16}
losses: [{kind: infonce}]
train: {batch_size: 4, max_steps: 3}
"""


def test_the_emoji_of_a_font_are_rows_that_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("small.ttf").write_bytes(FontMaker().build())
    plan = specrun.compile(write(EMOJI))
    assert plan.data.source.kind == "emoji"
    assert plan.data.scan.training_rows == 10
    monkeypatch.setenv("SPECRUN_CACHE", str(Path("another").absolute()))
    assert np.isfinite(specrun.run(plan).metrics["loss"])
    other = specrun.compile(write(EMOJI), overrides=["name=other"])
    Path("small.ttf").write_bytes(FontMaker(rows=PICTURED[:5]).build())
    with pytest.raises(specrun.InputError, match="changed since the plan was compiled"):
        specrun.run(other)


@pytest.mark.parametrize(("content", "code"), [(None, "no-font"), (b"no font at all", "font")])
def test_a_font_that_cannot_be_read_is_told(content: bytes | None, code: str) -> None:
    Path("small.ttf").unlink(missing_ok=True)
    if content is not None:
        Path("small.ttf").write_bytes(content)
    found = specrun.check(write(EMOJI))
    assert (code, "data.font") in {(d.code, d.path) for d in found}


@pytest.fixture(scope="module")
def mined_run(folder: Path, bad: None) -> Path:
    """A run of t2i, for which other rows are mined."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SPECRUN_CACHE", str(folder / "cache"))
        short = ["name=miner", "train.max_steps=1", "data.validation=null", "evaluation=null"]
        plan = specrun.compile(write(spec(directory("clip"), "t2i")), overrides=short)
        return folder / specrun.run(plan).folder


def test_mining_counts_rows_of_bad_images(mined_run: Path, capsys: Any) -> None:
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    broken = [{"query": f"q {i}", "image": name} for i, (name, _) in enumerate(BAD.values())]
    kept = [row for row in broken if row["image"] != "large.png"]
    Path("some.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [*rows, *kept]))
    asked = ["mine", str(mined_run), "--corpus", "some.jsonl", "-o", "found.jsonl", "--top-k", "9"]
    assert main([*asked, "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "24 rows" in told
    for reason in {reason for name, reason in BAD.values() if name != "large.png"}:
        assert f"× {reason} (some.jsonl:" in told
    assert f"begin at {Path('pics').absolute()}, which is data.image_root" in told
    lines = [json.loads(line) for line in Path("found.jsonl").read_text().splitlines()]
    assert [line["query"] for line in lines] == [row["query"] for row in rows]
    assert all(line["negatives"][0] == row["wrong"] for line, row in zip(lines, rows, strict=True))


def test_what_mining_rows_of_images_refuses(mined_run: Path) -> None:
    for name in ("gone.jsonl", "pics", "rows.txt"):
        with pytest.raises(specrun.InputError):
            mine(mined_run, "no.jsonl", corpus=name)
    Path("none.jsonl").write_text(json.dumps({"query": "a", "image": "gone.png"}) + "\n")
    with pytest.raises(specrun.InputError, match="no row that can be used: 1 × missing image"):
        mine(mined_run, "no.jsonl", corpus="none.jsonl")
    strict = specrun.compile(
        write(spec(directory("clip"), "t2i")),
        overrides=["name=strict", "train.max_steps=1", "data.validation=null", "evaluation=null", "data.bad_rows=error"],
    )  # fmt: skip
    folder = specrun.run(strict).folder
    with pytest.raises(specrun.InputError, match=r"missing image: `gone\.png`"):
        mine(folder, "no.jsonl", corpus="none.jsonl")
    original = Path("pics/5.png").read_bytes()
    try:
        Image.new("RGB", (5, 5)).save("pics/5.png")
        with pytest.raises(specrun.InputError, match="the images changed since the plan was comp"):
            mine(mined_run, "no.jsonl", rule=Rule(top_k=9))
    finally:
        Path("pics/5.png").write_bytes(original)
    assert not Path("no.jsonl").exists()
