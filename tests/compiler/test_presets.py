"""Presets picked by a model's name or config.json: what matches and what only looks like it, levels, and the guide's values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import specrun
from specrun.compiler.explain import explain
from specrun.compiler.front import Loaded, load
from specrun.compiler.presets import PICKS, pick
from specrun.compiler.summary import summary
from specrun.runtime.models.directory import model_type_of
from specrun.spec.files import packaged_preset, preset_names
from specrun.spec.plan.file import identity
from tests.front.test_pretrained import tokenizer_text, write_model

DATA = "data: {kind: jsonl, path: rows.jsonl}\n"


def named(name: str, kind: str | None = None) -> str | None:
    found = pick(name, kind, Path(), {}, None)
    return found.preset if found else None


def loaded(model: str, more: str = "", **arguments: Any) -> Loaded:
    text = f"version: 1\nmodel: {model}\n{DATA}{more}"
    return load(text, **{"environ": {}, "local": {}, **arguments})


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("openai/clip-vit-base-patch32", "clip"),
        ("openai/clip-vit-large-patch14-336", "clip"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "clip"),
        ("models/clip-vit-base-patch32/", "clip"),
        ("google/siglip-base-patch16-224", "siglip"),
        ("google/siglip2-so400m-patch14-384", "siglip"),
        ("Qwen/Qwen3-Embedding-0.6B", "qwen3"),
        ("qwen3-embedding-4b", "qwen3"),
        ("eclipse-bert", None),
        ("someone/eclipse-bert", None),
        ("clipper-vit-base", None),
        ("clip-vital", None),
        ("jinaai/jina-clip-v2", None),
        ("OFA-Sys/chinese-clip-vit-base-patch16", None),
        ("clip-vit-base-patch32/bert-base", None),
        ("/data/openai/clip-vit-base-patch32/runs/minilm", None),
        ("google/siglip/bert", None),
        ("siglip3-base", None),
        ("Qwen/Qwen3-0.6B", None),
        ("Qwen/Qwen3-VL-Embedding-2B", None),
        ("Qwen/Qwen3-Embeddings-mine", None),
        ("Qwen/Qwen2.5-7B", None),
        ("sentence-transformers/all-MiniLM-L6-v2", None),
        ("", None),
        ("/", None),
        ("a\0clip-vit", None),
    ],
)
def test_names_that_match_and_names_that_nearly_do(name: str, preset: str | None) -> None:
    assert named(name) == preset


@pytest.mark.parametrize("name", [None, 3, True, ["clip-vit-x"], {"a": 1}, "x" * 100_000])
def test_what_is_no_name_picks_nothing(name: object) -> None:
    assert pick(name, None, Path(), {}, lambda _: "clip") is None


def test_the_kind_must_be_the_presets_own() -> None:
    name = "openai/clip-vit-base-patch32"
    assert [named(name, kind) for kind in (None, "auto", "clip")] == ["clip"] * 3
    assert [named(name, kind) for kind in ("bert", "siglip", "composed", "wharble")] == [None] * 4


def test_the_table_and_the_presets_agree() -> None:
    for entry in PICKS:
        path = packaged_preset(entry.preset)
        assert path is not None
        plain = load(path, environ={}, local={}).tree
        assert plain["model"]["kind"] == entry.kind
        assert named(plain["model"]["name_or_path"]) == entry.preset
        assert plain["extends"] == []


@pytest.mark.parametrize(
    ("written", "family"),
    [
        ('{"model_type": "clip"}', "clip"),
        ('{"model_type": "clip", ', None),
        ('{"model_type": 3}', None),
        ("[]", None),
        ("null", None),
        ("", None),
        ("\xff", None),
        ("[" * 100_000, None),
    ],
)
def test_config_json_says_the_family_where_it_can_be_read(
    tmp_path: Path, written: str, family: str | None
) -> None:
    (tmp_path / "config.json").write_bytes(written.encode("latin-1"))
    assert model_type_of(tmp_path) == family


def test_the_folder_of_the_network_is_found_through_modules_json(tmp_path: Path) -> None:
    assert model_type_of(tmp_path) is None
    assert model_type_of(tmp_path / "gone") is None
    model = write_model(tmp_path / "model", "torch_safetensors", tokenizer_text())
    assert model_type_of(model) == "bert"
    (model / "0_Transformer").mkdir()
    (model / "config.json").rename(model / "0_Transformer" / "config.json")
    modules = [
        {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]  # fmt: skip
    (model / "modules.json").write_text(json.dumps(modules))
    assert model_type_of(model) == "bert"


def test_config_json_is_stronger_than_the_name(tmp_path: Path) -> None:
    for name, family in (("clip-vit-x", "bert"), ("mine", "siglip"), ("none", "")):
        (tmp_path / name).mkdir()
        if family:
            (tmp_path / name / "config.json").write_text(json.dumps({"model_type": family}))
    found = {
        name: pick(name, None, tmp_path, {}, model_type_of)
        for name in ("clip-vit-x", "mine", "none", "clip-vit-gone")
    }
    presets = {name: entry and entry.preset for name, entry in found.items()}
    assert presets == {"clip-vit-x": None, "mine": "siglip", "none": None, "clip-vit-gone": "clip"}
    local = {"short": tmp_path / "mine", "clip-vit-b": tmp_path / "none"}
    mapped = {name: pick(name, None, Path(), local, model_type_of) for name in local}
    assert {n: e and e.preset for n, e in mapped.items()} == {
        "short": "siglip",
        "clip-vit-b": "clip",
    }


def test_it_is_a_level_between_environment_and_file() -> None:
    environ = {"SPECRUN__OPTIMIZER__WEIGHT_DECAY": "0.5", "SPECRUN__SEED": "4"}
    found = loaded(
        "{name_or_path: openai/clip-vit-base-patch32}",
        "train: {batch_size: 8}\n",
        environ=environ,
        overrides=["optimizer.learning_rate=1e-4"],
    )
    assert [d for d in found.diagnostics if d.severity == "error"] == []
    levels = {
        path: [(o.level, o.value) for o in found.history[path]]
        for path in ("model.kind", "train.batch_size", "optimizer.weight_decay", "seed")
    }
    assert levels == {
        "model.kind": [("picked", "clip")],
        "train.batch_size": [("default", 64), ("picked", 32), ("spec", 8)],
        "optimizer.weight_decay": [("default", 0.01), ("environment", 0.5), ("picked", 0.01)],
        "seed": [("default", 0), ("environment", 4)],
    }
    rate = [o.level for o in found.history["optimizer.learning_rate"]]
    assert rate == ["default", "picked", "override"]
    assert found.tree["extends"] is None


@pytest.mark.parametrize("extends", ["[]", "[matryoshka_256]", "[siglip]"])
def test_extends_leaves_it_out(extends: str) -> None:
    clip = "{kind: clip, name_or_path: openai/clip-vit-base-patch32}"
    found = loaded(clip, f"extends: {extends}\n")
    assert "picked" not in {o.level for said in found.history.values() for o in said}
    for how in ({"overrides": [f"extends={extends}"]}, {"environ": {"SPECRUN__EXTENDS": extends}}):
        found = loaded(clip, **how)
        assert "picked" not in {o.level for said in found.history.values() for o in said}


def test_null_is_as_if_it_were_not_there() -> None:
    clip = "{name_or_path: openai/clip-vit-base-patch32}"
    assert loaded(clip, "extends: null\n").tree == loaded(clip).tree
    again = loaded(clip, "extends: []\n", overrides=["extends=null"])
    assert again.tree == loaded(clip).tree


def test_the_model_may_come_from_any_level() -> None:
    start = "{name_or_path: sentence-transformers/all-MiniLM-L6-v2}"
    found = loaded(start, overrides=["model.name_or_path=google/siglip-base-patch16-224"])
    assert found.tree["losses"][0]["kind"] == "siglip"
    text = f"version: 1\n{DATA}"
    environ = {"SPECRUN__MODEL__NAME_OR_PATH": "Qwen/Qwen3-Embedding-0.6B"}
    assert load(text, environ=environ, local={}).tree["train"]["batch_size"] == 16
    assert [d.code for d in loaded("{name_or_path: [1]}").diagnostics][:1] == ["missing-key"]


def test_a_mistake_in_its_values_says_where_it_comes_from() -> None:
    found = loaded("{name_or_path: Qwen/Qwen3-Embedding-0.6B}", "train: {batch_size: 6}\n")
    [wrong] = [d for d in found.diagnostics if d.code == "does-not-divide"]
    assert wrong.file == "presets/qwen3.yaml"
    assert any("picked by the model's name" in note for note in wrong.notes)


@pytest.mark.parametrize(
    "length",
    [
        "train: {max_steps: 4}\n",
        "train: {epochs: 5}\n",
        "curriculum: {stages: [{name: a, epochs: 1}, {name: b, epochs: 1}]}\n",
    ],
)
def test_its_epochs_give_way(length: str) -> None:
    found = loaded("{name_or_path: openai/clip-vit-base-patch32}", length)
    assert [d for d in found.diagnostics if "epochs" in d.path] == []


# --- plans -----------------------------------------------------------------------------------------------------------

SPEC = """\
version: 1
model: {name_or_path: qwen3}
data: {kind: jsonl, path: rows.jsonl, max_length: {query: 8, positive: 8}}
train: {batch_size: 8}
"""
WRITTEN = """\
version: 1
extends: []
model: {kind: qwen3, name_or_path: qwen3}
data: {kind: jsonl, path: rows.jsonl, max_length: {query: 8, positive: 8}}
losses: [{kind: infonce, temperature: 0.07}]
train: {epochs: 3, batch_size: 8, max_grad_norm: 1.0, gradient_cache: {chunk_size: 4}}
optimizer: {kind: adamw, learning_rate: 1e-5, weight_decay: 0.01}
schedule: {kind: cosine, warmup_ratio: 0.1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = tmp_path_factory.mktemp("presets")
    write_model(there / "qwen3", "qwen3_torch", tokenizer_text())
    rows = ({"query": f"open a {i}", "positive": f"the file {i}"} for i in range(20))
    (there / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (there / "picked.yaml").write_text(SPEC)
    (there / "written.yaml").write_text(WRITTEN)
    return there


@pytest.fixture(autouse=True)
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "folder" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("folder"))


def test_the_plan_depends_on_the_values_alone(folder: Path) -> None:
    picked = specrun.compile("picked.yaml", environ={})
    assert identity(picked) == identity(specrun.compile("written.yaml", environ={}))
    assert specrun.compile("picked.yaml", environ={}) == picked


def test_explain_and_the_summary_say_so(folder: Path) -> None:
    environ = {"SPECRUN__OPTIMIZER__WEIGHT_DECAY": "0.5"}
    losses = "losses=[{kind: triplet}]"
    plan = specrun.compile("picked.yaml", environ=environ, overrides=[losses])
    told = explain(plan, "optimizer.weight_decay")
    assert "set by   0.01  presets/qwen3.yaml:24:17 (preset, picked by the model's name)" in told
    assert "instead  0.5  SPECRUN__OPTIMIZER__WEIGHT_DECAY (environment)" in told
    assert "instead  16  presets/qwen3.yaml" in explain(plan, "train.batch_size")
    assert "presets/qwen3.yaml" in explain(plan, "losses[0].kind")
    lines = [line.strip() for line in summary(plan).splitlines()]
    assert "preset     qwen3, picked by the model's name; `extends: []` leaves it out" in lines
    [sets] = [line for line in lines if line.startswith("sets ")]
    assert sets.startswith("sets model.kind qwen3, train.epochs 3, train.max_grad_norm 1,")
    assert "overrides the environment in optimizer.weight_decay (0.01, not 0.5)" in lines
    [lost] = [line for line in lines if line.startswith("overridden in")]
    assert lost == (
        "overridden in losses (another list, not [{kind: infonce, temperature: 0.07}]), "
        "train.batch_size (8, not 16)"
    )


def test_a_preset_that_is_named_is_told_too_and_none_is_not(folder: Path) -> None:
    own = specrun.compile("written.yaml", environ={}, overrides=["extends=[qwen3]"])
    assert "\npreset     qwen3\n" in summary(own)
    assert "preset" not in summary(specrun.compile("written.yaml", environ={}))


# --- the guide -------------------------------------------------------------------------------------------------------

GUIDE = {
    "losses[0].kind": "infonce",
    "losses[0].temperature": 0.07,
    "train.epochs": 3,
    "train.batch_size": 32,
    "train.max_grad_norm": 1.0,
    "optimizer.kind": "adamw",
    "optimizer.learning_rate": 1e-5,
    "optimizer.weight_decay": 0.01,
    "schedule.kind": "cosine",
    "schedule.warmup_ratio": 0.1,
    "train.gradient_cache": None,
    "train.gradient_checkpointing": False,
    "matryoshka": None,
    "lora": None,
    "precision.compute": "float32",
    "model.projection_dim": None,
    "data.validation": None,
}
"""vembed-factory's defaults, by our names."""

OWN = {
    "defaults": {},
    "clip": {},
    "siglip": {"losses[0].kind": "siglip", "losses[0].temperature": 0.1},
    "qwen3": {"train.batch_size": 16, "train.gradient_cache": {"chunk_size": 4}},
}
"""What a preset says otherwise: the guide's for Qwen3, and SigLIP's own loss with its published start."""


def at(tree: Any, path: str) -> Any:
    for step in path.replace("[0]", ".0").split("."):
        tree = tree[int(step)] if step == "0" else tree.get(step)
    return tree


@pytest.mark.parametrize("name", sorted(OWN))
def test_the_presets_have_the_guides_values(name: str) -> None:
    model = "model: {kind: bert, name_or_path: a}\n" if name == "defaults" else ""
    found = load(f"version: 1\nextends: [{name}]\n{model}{DATA}", environ={}, local={})
    values = found.require() and found.tree
    assert {p: at(values, p) for p in GUIDE} == {**GUIDE, **OWN[name]}
    assert name in preset_names()


def test_sections_have_the_guides_values_when_they_are_there() -> None:
    losses = "[{kind: triplet}, {kind: cosent}, {kind: distillation, teacher: {name_or_path: a}}]"
    more = f"losses: {losses}\nlora: {{target_modules: [q_proj]}}\ntrain: {{epochs: 1}}\n"
    tree = loaded("{kind: bert, name_or_path: a}", more).tree
    lora = {key: tree["lora"][key] for key in ("rank", "alpha", "dropout")}
    assert lora == {"rank": 8, "alpha": 16, "dropout": 0.05}
    triplet, cosent, distilled = tree["losses"]
    assert triplet["margin"] == 0.5
    assert cosent["temperature"] == pytest.approx(1 / 20)
    assert distilled["distillation_temperature"] == 4.0
    rows = "data: {kind: jsonl, path: rows.jsonl, retrieval_mode: t2i}\n"
    text = f"version: 1\nmodel: {{kind: clip, name_or_path: a}}\n{rows}"
    assert load(text, environ={}, local={}).tree["data"]["image_root"] == "."
