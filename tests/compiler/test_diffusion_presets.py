"""Presets of masked language models: the micro-diffusion guide's training and curricula, alone and several at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import specrun
from specrun.compiler.front import Loaded, load
from specrun.compiler.migrate.dialects import DIFFUSION
from specrun.compiler.migrate.diffusion import THREE_STAGES
from specrun.spec.levels import LEVELS
from tests.compiler.test_migrate_diffusion import corpus

MODEL = """\
model: {kind: masked_lm, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 24}
tokenizer: {kind: train, vocab_size: 400}
data: {kind: text, path: data, max_length: 64}
"""


def loaded(*presets: str, more: str = "", **arguments: Any) -> Loaded:
    text = f"version: 1\nextends: [{', '.join(presets)}]\n{MODEL}{more}"
    return load(text, **{"environ": {}, "local": {}, **arguments})


def tree(*presets: str) -> Any:
    found = loaded(*presets)
    assert found.diagnostics == ()
    return found.tree


@pytest.mark.parametrize(
    ("preset", "rows", "accumulation", "epochs"),
    [
        ("diffusion_defaults", 32, 1, None),
        ("memory_efficient", 16, 4, None),
        ("fast_debug", 8, 1, 2),
    ],
)
def test_training(preset: str, rows: int, accumulation: int, epochs: int | None):
    found = loaded(preset, more="" if epochs else "train: {epochs: 3}\n").tree
    train = found["train"]
    assert (train["batch_size"], train["accumulation_steps"]) == (rows, accumulation)
    assert (train["gradient_checkpointing"], train["epochs"]) == (True, epochs or 3)
    assert found["evaluation"]["batch_size"] == rows
    assert found["optimizer"] == {
        "kind": "adamw",
        "no_decay": [],
        "learning_rate": DIFFUSION.defaults["learning_rate"],
        "weight_decay": DIFFUSION.defaults["weight_decay"],
        "beta1": DIFFUSION.defaults["beta1"],
        "beta2": DIFFUSION.defaults["beta2"],
        "eps": DIFFUSION.defaults["eps"],
    }
    assert found["schedule"]["kind"] == DIFFUSION.defaults["scheduler"]
    assert found["schedule"]["min_learning_rate"] == DIFFUSION.defaults["min_learning_rate"]
    assert found["evaluation"]["early_stopping"] == {"patience": 10, "min_delta": 1e-4}
    assert (found["evaluation"]["every_steps"], found["checkpoint"]["every_steps"]) == (1000, 5000)
    assert [loss["kind"] for loss in found["losses"]] == ["masked_diffusion"]


CURRICULA: dict[str, list[tuple[Any, ...]]] = {
    "three_stage": [tuple(stage.values()) for stage in THREE_STAGES],
    "single_stage": [("all", 300, [0.1, 0.9], "all", "sentences")],
    "fast_debug_stages": [
        ("foundation", 2, [0.75, 0.9], "easy", "sentences"),
        ("refinement", 3, [0.1, 0.3], "all", "sentences"),
    ],
}


@pytest.mark.parametrize("preset", CURRICULA)
def test_curricula(preset: str):
    found = tree("memory_efficient", preset)
    keys = ("name", "epochs", "masking_rate", "select", "format")
    assert [tuple(s[k] for k in keys) for s in found["curriculum"]["stages"]] == CURRICULA[preset]
    scored = any(stage[3] != "all" for stage in CURRICULA[preset])
    assert (found["data"]["difficulty"] is not None) == scored
    assert found["curriculum"]["reset_optimizer"] == scored


def test_the_whole_difficulty_is_a_preset_of_its_own():
    parts = tree("memory_efficient", "three_stage", "centrality_minilm")["data"]["difficulty"]
    assert parts["weights"] == {"lexical": 0.3, "syntactic": 0.3, "centrality": 0.4}
    assert (parts["clusters"], parts["easy_below"], parts["hard_above"]) == (8, 33, 67)
    assert parts["embedding"]["name_or_path"] == DIFFUSION.defaults["embedding_model"]


@pytest.mark.parametrize(
    "presets",
    [("memory_efficient", "three_stage"), ("three_stage", "memory_efficient")],
)
def test_several_at_once_in_any_order(tmp_path: Path, presets: tuple[str, str]):
    """They compile upon a corpus, with nothing else said."""
    corpus(tmp_path / "data")
    (tmp_path / "spec.yaml").write_text(f"version: 1\nextends: [{', '.join(presets)}]\n{MODEL}")
    plan = specrun.compile(tmp_path / "spec.yaml", environ={})
    assert [s.epochs for s in plan.segments] == [50, 100, 150]
    assert [s.transition_epochs for s in plan.segments] == [0, 5, 5]
    assert (plan.train.batch_size, plan.train.accumulation_steps) == (16, 4)
    assert [s.reset_optimizer for s in plan.segments] == [False, True, True]


@pytest.mark.parametrize(("model", "hidden"), [("tiny_125m", 768), ("mini", 256)])
def test_with_a_model_nothing_is_missing_but_the_corpus(tmp_path: Path, model: str, hidden: int):
    corpus(tmp_path / "data")
    extends = f"extends: [{model}, memory_efficient, three_stage]"
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"version: 1\n{extends}\ndata: {{kind: text, path: data}}\n")
    plan = specrun.compile(spec, environ={})
    assert getattr(plan.model.config, "hidden_size", None) == hidden
    assert [s.stage for s in plan.segments] == ["foundation", "structural", "refinement"]
    assert [s.pseudo.count if s.pseudo else 0 for s in plan.segments][:2] == [0, 0]
    assert plan.segments[2].pseudo is not None


def test_a_curriculum_behind_fast_debug_says_how_long():
    stages = tree("fast_debug", "fast_debug_stages")
    assert stages["train"]["epochs"] is None
    assert stages["train"]["batch_size"] == 8
    [one] = loaded("fast_debug_stages", "fast_debug").diagnostics
    assert (one.code, one.file) == ("epochs-disagree", "presets/fast_debug.yaml")
    assert "(presets/fast_debug_stages.yaml:" in one.message


def test_epochs_that_disagree_are_told_with_both_places():
    [one] = loaded("memory_efficient", "three_stage", more="train: {epochs: 12}\n").diagnostics
    assert (one.code, one.file, one.line) == ("epochs-disagree", "<text>", 6)
    assert "`train.epochs` is 12, and the stages (presets/three_stage.yaml:" in one.message
    assert "have 300 in all" in one.message
    assert (
        loaded("memory_efficient", "three_stage", more="train: {epochs: 300}\n").diagnostics == ()
    )


def test_the_file_wins_over_every_preset():
    found = loaded("memory_efficient", "three_stage", more="train: {batch_size: 24}\n")
    said = [(origin.level, origin.value) for origin in found.history["train.batch_size"]]
    assert [level for level, _ in said] == sorted((lv for lv, _ in said), key=LEVELS.index)
    assert said[-3:] == [("preset", 32), ("preset", 16), ("spec", 24)]
