"""`specrun init`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specrun.compiler.front import load
from specrun.compiler.init import SCHEMA_COPY, init, template
from specrun.spec.diagnostics import InputError


def test_the_template_has_nothing_wrong_with_it() -> None:
    loaded = load(template(), environ={}, local={})
    assert loaded.diagnostics == ()
    assert loaded.experiment is not None


def test_its_commented_parts_hold_too() -> None:
    text = template()
    start = text.index("# lora:")
    lines = [line.removeprefix("# ") for line in text[start:].splitlines()]
    sections = "\n".join(line for line in lines if line[:1] in (" ", "l", "c") and ":" in line)
    sections = "\n".join(line for line in sections.splitlines() if "pretrained" not in line)
    body = text[:start].replace("  epochs: 10\n", "")
    found = load(f"{body}\n{sections}\n", environ={}, local={}).diagnostics
    assert [d.code for d in found] == ["lora-from-scratch"]


def test_init_writes_a_spec_and_the_schema_that_it_names(tmp_path: Path) -> None:
    spec, schema = init(tmp_path / "my spec.yaml")
    first = spec.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA_COPY}"
    assert (tmp_path / SCHEMA_COPY) == schema
    assert json.loads(schema.read_text())["title"] == "specrun experiment"
    loaded = load(spec, environ={}, local={})
    assert loaded.experiment is not None
    assert loaded.experiment.name == "my-spec"


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("mine")
    with pytest.raises(InputError, match="already there"):
        init(path)
    assert path.read_text() == "mine"


def test_init_says_what_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        init(tmp_path / "file" / "spec.yaml")


@pytest.mark.parametrize(
    ("model", "preset", "mode"),
    [
        ("openai/clip-vit-base-patch32", "clip", "t2i"),
        ("google/siglip-base-patch16-224", "siglip", "t2i"),
        ("Qwen/Qwen3-Embedding-0.6B", "qwen3", "t2t"),
        ("sentence-transformers/all-MiniLM-L6-v2", None, "t2t"),
        ("models/with space: # and {braces}", None, "t2t"),
        ("123", None, "t2t"),
    ],
)
def test_a_spec_for_a_model_checks_clean(
    tmp_path: Path, model: str, preset: str | None, mode: str
) -> None:
    spec, _ = init(tmp_path / "own.yaml", model)
    loaded = load(spec, environ={}, local={})
    assert [d for d in loaded.diagnostics if d.severity == "error"] == []
    tree = loaded.tree
    assert (tree["model"]["name_or_path"], tree["data"]["retrieval_mode"]) == (model, mode)
    assert tree["optimizer"]["learning_rate"] == 1e-5
    assert tree["extends"] == (None if preset else ["defaults"])
    assert preset is None or f"The preset {preset} is picked" in spec.read_text()
    lines = spec.read_text().splitlines()
    own = [line.removeprefix("# ") for line in lines if line[:3] in ("# t", "# m", "# l", "#  ")]
    keys = [x for x in own if x.rstrip().endswith(":") or x.startswith("  ")]
    whole = load(spec.read_text() + "\n".join(keys) + "\n", environ={}, local={})
    assert [d.code for d in whole.diagnostics if d.severity == "error"] == []
    assert whole.tree["lora"]["target_modules"]


def test_the_directory_says_the_family_of_a_new_spec(tmp_path: Path) -> None:
    spec, _ = init(tmp_path / "own.yaml", "mine", lambda _: None)
    assert "extends: [defaults]" in spec.read_text()
    (tmp_path / "mine").mkdir()
    spec, _ = init(tmp_path / "two.yaml", "mine", lambda _: "siglip")
    assert "The preset siglip is picked" in spec.read_text()
    assert "target_modules: [q_proj, v_proj]" in spec.read_text()


@pytest.mark.parametrize("model", ["", " ", "a\nb"])
def test_a_model_without_a_name(tmp_path: Path, model: str) -> None:
    with pytest.raises(InputError, match="name is empty or cannot be printed"):
        init(tmp_path / "own.yaml", model)
    assert not (tmp_path / "own.yaml").exists()
