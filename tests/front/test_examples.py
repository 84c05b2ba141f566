"""Every example and preset is a spec that checks clean, and says what it is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

import specrun

EXAMPLES = sorted(
    p.name
    for p in files("specrun.configs").joinpath("examples").iterdir()
    if p.name.endswith(".yaml")
)
PRESETS = sorted(
    p.name
    for p in files("specrun.configs").joinpath("presets").iterdir()
    if p.name.endswith(".yaml")
)
MODELINE = "# yaml-language-server: $schema=../../schemas/experiment.schema.json\n"


def text_of(kind: str, name: str) -> str:
    return files("specrun.configs").joinpath(kind, name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_checks_clean(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that may be missing: a model or a font that this machine lacks, a run that another example makes."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text_of("examples", name))
    found = specrun.check(tmp_path / name, environ={})
    assert [d for d in found if d.code not in ("model-not-found", "no-run", "no-font")] == []


@pytest.mark.parametrize(
    ("kind", "name"), [*(("examples", n) for n in EXAMPLES), *(("presets", n) for n in PRESETS)]
)
def test_a_config_opens_with_its_modeline_and_its_purpose(kind: str, name: str) -> None:
    text = text_of(kind, name)
    assert text.startswith(MODELINE)
    assert text.removeprefix(MODELINE).startswith("#\n# ")
    assert kind == "presets" or "command" in text


def test_a_chain_starts_where_its_first_spec_ends() -> None:
    """The folder in the second's `init_from` is the one that the first writes to."""
    from specrun.compiler.front import load

    second = load(text_of("examples", "code-search-hard-negatives.yaml"), environ={}).draft
    first = load(text_of("examples", "code-search-baseline.yaml"), environ={}).draft
    assert first is not None
    assert second is not None
    assert second.init_from == f"runs/{first.name}"
    assert second.model == first.model
    assert second.data.validation == first.data.validation


def test_the_demo_is_among_the_examples() -> None:
    assert {"stdlib-search.yaml", "minilm-lora.yaml", "curriculum.yaml"} <= set(EXAMPLES)
