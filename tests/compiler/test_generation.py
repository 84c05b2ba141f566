"""The section `generation`: what it becomes in the plan, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

import specrun
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.file import differences, identity
from specrun.spec.plan.generation import GenerationPlan
from specrun.spec.plan.plan import Plan

SPEC = """\
version: 1
model: {kind: masked_lm, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: text, path: prose.txt, max_length: 24}
losses: [{kind: masked_diffusion}]
train: {batch_size: 4, epochs: 1}
"""
LEARNED = "model.position_embedding=learned"


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("generation")
    text = "\n\n".join(f"Row {i} has words. There are {i + 1} of them." for i in range(30))
    (folder / "prose.txt").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        yield


def compiled(*settings: str) -> Plan:
    return specrun.compile(SPEC, overrides=settings, environ={})


def test_without_the_section_the_plan_has_the_defaults() -> None:
    assert compiled().generation == GenerationPlan(
        temperature=0.8,
        steps=50,
        max_length=8,  # what the rows are padded to
        top_k=None,
        top_p=None,
        num_return_sequences=1,
        confidence_schedule="linear",
        style=None,
        style_strength=1.0,
        interactive=False,
    )


@pytest.mark.parametrize(("limit", "expected"), [(600, 512), (100, 100), (40, 40)])
def test_a_text_is_no_longer_than_the_rows_or_512(limit: int, expected: int) -> None:
    Path("long.txt").write_text("\n\n".join(f"{'a b c d e ' * 120}{i}." for i in range(9)))
    rows = "data={kind: text, path: long.txt, max_chars: 5000}"
    found = compiled(rows, f"data.max_length={limit}").generation
    assert found is not None
    assert found.max_length == expected


def test_other_settings_are_the_same_run() -> None:
    plan, other = compiled(), compiled("generation={steps: 9, top_k: 3}")
    assert identity(plan) == identity(other)
    assert {d.klass for d in differences(plan, other)} == {"cosmetic"}
    assert "generation.steps" in {d.path for d in differences(plan, other)}


@pytest.mark.parametrize(
    ("settings", "path", "said"),
    [
        ("generation.top_k=301", "generation.top_k", "the size of the vocabulary"),
        ("generation.top_p=0", "generation.top_p", "above 0"),
        ("generation.steps=0", "generation.steps", "1"),
        ("generation.temperature=-1", "generation.temperature", "0"),
        ("generation.style=' '", "generation.style", "form"),
        ("generation.confidence_schedule=cosine", "generation.confidence_schedule", "linear"),
        ("generation.num_steps=3", "generation.num_steps", "steps"),
    ],
)
def test_mistakes_have_their_place(settings: str, path: str, said: str) -> None:
    for way in (specrun.compile, specrun.check):
        try:
            found = way(SPEC, overrides=(settings,), environ={})
        except InputError as error:
            found = error.diagnostics
        assert [d.path for d in found if d.severity == "error"] == [path]
        assert said in found[0].message + found[0].hint


def test_a_length_beyond_the_positions_is_refused() -> None:
    room = (LEARNED, "model.max_position_embeddings=32")
    found = specrun.check(SPEC, overrides=(*room, "generation.max_length=33"), environ={})
    assert [(d.path, d.code) for d in found if d.severity == "error"] == [
        ("generation.max_length", "bad-generation")
    ]
    assert "positions for 32 tokens" in found[0].message


def test_a_length_beyond_the_rows_is_a_warning() -> None:
    plan = compiled("generation.max_length=25")
    assert [(w.path, w.code) for w in plan.warnings] == [
        ("generation.max_length", "longer-than-rows")
    ]


def test_an_encoder_has_no_use_for_the_section() -> None:
    encoder = (
        "model={kind: text_encoder, hidden_size: 16, num_hidden_layers: 0}",
        "data={kind: jsonl, path: rows.jsonl}",
        "losses=[{kind: infonce}]",
    )
    Path("rows.jsonl").write_text(
        '{"query": "a", "positive": "b"}\n{"query": "c", "positive": "d"}\n'
    )
    found = specrun.check(SPEC, overrides=(*encoder, "generation={}"), environ={})
    assert [(d.path, d.code) for d in found if d.severity == "error"] == [
        ("generation", "no-vocabulary-head")
    ]


def test_a_finished_run_takes_new_settings() -> None:
    settings = ("train.max_steps=1", "output_dir=runs/one")
    specrun.run(compiled(*settings, "generation={steps: 2}"))
    before = specrun.Predictor("runs/one").complete(["Row"])
    result = specrun.run(compiled(*settings, "generation={steps: 2, max_length: 11}"))
    assert result.was_finished
    [[text]] = specrun.Predictor("runs/one").complete(["Row"])
    assert (len(before[0][0].ids), len(text.ids)) == (8, 11)
