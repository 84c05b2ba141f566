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
