"""Scores of rows: what they are, that they are made once, and what a run does that finds them gone or changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specrun
from specrun.runtime import cache
from specrun.runtime.data.difficulty import load_scores
from specrun.runtime.data.order import select
from specrun.runtime.difficulty import scores
from specrun.runtime.difficulty.scores import ensure_scored
from specrun.runtime.teacher import texts
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.plan import Plan
from tests.faults.full_disk import full_disk
from tests.runtime.folders import make_directory, make_run

SPEC = """\
version: 1
name: ranked
model: {kind: text_encoder, hidden_size: 8, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data:
  kind: jsonl
  path: rows.jsonl
  validation: {kind: fraction, fraction: 0.2}
  difficulty:
    weights: {lexical: 0.5, syntactic: 0.5, centrality: 0}
losses: [{kind: infonce}]
train: {batch_size: 8}
curriculum:
  stages:
    - {name: a, select: easy}
    - {name: b, select: {percentile: [20, 80]}}
    - {name: c, select: medium}
    - {name: d, select: hard}
    - {name: e, select: all}
"""
CENTRAL = (
    "data.difficulty.weights={lexical: 0.3, syntactic: 0.3, centrality: 0.4}",
    "data.difficulty.clusters=3",
)
WORDS = ("cat", "file", "iteration", "responsibility", "the", "of", "tree", "administrative")


def rows(count: int = 120) -> list[dict[str, Any]]:
    """Texts that grow in words and sentences."""
    return [
        {
            "query": f"question {i}",
            "positive": " ".join(WORDS[(i * k) % 8] for k in range(1, 3 + i % 11)) + f" {i}.",
        }
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    there = tmp_path_factory.mktemp("difficulty")
    (there / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    make_directory(there / "encoder")
    make_run(there / "old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(there / "cache"))
        patch.chdir(there)
        yield there


def made(*overrides: str) -> Plan:
    return specrun.compile(SPEC, overrides=overrides, environ={})


def test_the_plan_holds_classes_thresholds_and_digest(work: Path):
    plan = made()
    assert plan.difficulty is not None
    found = plan.difficulty.found
    total = plan.data.scan.training_rows
    counts = (found.easy_rows, found.medium_rows, found.hard_rows)
    assert counts == (round(0.33 * total), total - 2 * round(0.33 * total), round(0.33 * total))
    assert sum(found.held_out) == plan.data.scan.validation_rows > 0
    assert [s.rows for s in plan.segments] == [
        *(counts[0], round(0.8 * total) - round(0.2 * total), counts[1], counts[2], total)
    ]
    scored = ensure_scored(plan).training.fields["difficulty"]
    ordered = np.sort(scored)
    assert found.easy_score == ordered[counts[0] - 1]
    assert found.hard_score == ordered[-counts[2]]
    assert {f.name for f in found.fields} == {
        *("difficulty", "difficulty_lexical", "difficulty_syntactic", "difficulty_rank")
    }


def test_the_score_is_the_weighted_sum_of_parts_from_0_to_1(work: Path):
    fields = ensure_scored(made()).training.fields
    for name in ("difficulty_lexical", "difficulty_syntactic"):
        assert (fields[name].min(), fields[name].max()) == (0, 1)
    whole = 0.5 * fields["difficulty_lexical"] + 0.5 * fields["difficulty_syntactic"]
    np.testing.assert_allclose(fields["difficulty"], whole, atol=2e-9)


def test_stages_take_their_rows_by_rank(work: Path):
    plan = made()
    training = ensure_scored(plan).training
    easy, middle, medium, hard, every = (select(training, s.selection) for s in plan.segments)
    assert sorted([*easy, *medium, *hard]) == list(range(len(training))) == every.tolist()
    score = training.fields["difficulty"]
    assert score[easy].max() <= score[medium].min()
    assert score[medium].max() <= score[hard].min()
    assert set(medium) < set(middle)
    assert [s.selection.words for s in plan.segments if s.selection] == [
        *("easy", "percentiles 20 to 80", "medium", "hard")
    ]


def test_equal_scores_part_by_the_order_of_rows(tmp_path: Path, work: Path):
    same = [{"query": f"q {i}", "positive": f"{i} {i}"} for i in range(60)]
    (tmp_path / "same.jsonl").write_text("".join(json.dumps(row) + "\n" for row in same))
    plan = made(
        f"data.path={tmp_path / 'same.jsonl'}",
        "data.validation=null",
        "data.difficulty.weights={lexical: 1, syntactic: 0}",
    )
    training = ensure_scored(plan).training
    assert set(training.fields["difficulty"]) == {0.0}
    easy, _, medium, hard, _ = (select(training, s.selection).tolist() for s in plan.segments)
    assert (easy, medium, hard) == (list(range(20)), list(range(20, 40)), list(range(40, 60)))


def test_held_out_rows_are_scored_and_never_selected_away(work: Path):
    plan = made("evaluation={}")
    found = ensure_scored(plan).validation
    assert found.fields["difficulty"].shape == (plan.data.scan.validation_rows,)
    assert ((found.fields["difficulty"] >= 0) & (found.fields["difficulty"] <= 1)).all()
    bare = specrun.compile(
        SPEC,
        overrides=("curriculum=null", "data.difficulty=null", "train.epochs=1"),
        environ={},
    )
    assert bare.data.scan == plan.data.scan


def test_the_other_text_is_scored_where_the_spec_says_so(work: Path):
    one, other = ensure_scored(made()), ensure_scored(made("data.difficulty.text=query"))
    assert not np.array_equal(
        one.training.fields["difficulty"], other.training.fields["difficulty"]
    )


@pytest.mark.parametrize(
    "encoder",
    ["{kind: pretrained, name_or_path: encoder}", "{kind: run, run: old}"],
)
def test_centrality_is_of_the_encoders_embeddings(work: Path, encoder: str):
    plan = made(*CENTRAL, f"data.difficulty.embedding={encoder}")
    training = ensure_scored(plan).training
    folder = "encoder" if "pretrained" in encoder else "old"
    points = specrun.Predictor(folder).encode_text(list(training.positives))
    centres = scores.clusters.k_means(np.asarray(points), 3)
    away = 1 - scores.clusters.centrality(np.asarray(points), centres)
    wanted = (away - away.min()) / (away.max() - away.min())
    np.testing.assert_allclose(training.fields["difficulty_centrality"], wanted, atol=2e-4)


def test_scores_are_made_once(work: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[object] = []
    original = texts.open_folder
    monkeypatch.setattr(texts, "open_folder", lambda *a: opened.append(a) or original(*a))
    settings = (
        *CENTRAL,
        "data.difficulty.embedding={kind: pretrained, name_or_path: encoder, max_length: 6}",
    )
    first = made(*settings)
    assert len(opened) == 1
    assert made(*settings, "seed=5", "data.difficulty.easy_below=20").difficulty != first.difficulty
    ensure_scored(first)
    assert len(opened) == 1, "the same rows, settings and encoder have the same scores"
    shutil.move(work / "encoder", work / "elsewhere")
    try:
        moved = made(*settings, "data.difficulty.embedding.name_or_path=elsewhere")
    finally:
        shutil.move(work / "elsewhere", work / "encoder")
    assert len(opened) == 1
    assert first.difficulty
    assert moved.difficulty
    assert moved.difficulty.found == first.difficulty.found


def test_without_centrality_nothing_heavy_is_imported(work: Path):
    script = (
        "import sys, specrun\n"
        f"specrun.compile({SPEC!r}, overrides=('data.difficulty.text=query',), environ={{}})\n"
        "print([m for m in ('jax', 'flax', 'transformers', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=work
    )
    assert done.stdout.strip() == "[]"


def _lose(plan: Plan) -> None:
    assert plan.difficulty is not None
    digest = plan.difficulty.found.scores_digest
    shutil.rmtree(Path("cache/difficulty") / digest.removeprefix("sha256:"))


def test_lost_scores_are_made_again(work: Path):
    plan = made()
    before = ensure_scored(plan).training.fields["difficulty"].tolist()
    _lose(plan)
    assert ensure_scored(plan).training.fields["difficulty"].tolist() == before
    _lose(plan)
    assert made() == plan


def test_damaged_scores_are_made_again(work: Path):
    plan = made()
    assert plan.difficulty is not None
    digest = plan.difficulty.found.scores_digest
    file = Path("cache/difficulty") / digest.removeprefix("sha256:") / "training.difficulty"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-8])
    assert load_scores(digest) is None
    ensure_scored(plan)
    assert load_scores(digest) is not None


def test_an_encoder_that_changed_gives_other_scores_and_the_run_refuses(tmp_path: Path, work: Path):
    shutil.copytree(work / "encoder", tmp_path / "mine")
    plan = made(
        *CENTRAL,
        f"data.difficulty.embedding={{kind: pretrained, name_or_path: {tmp_path / 'mine'}}}",
    )
    _lose(plan)
    (tmp_path / "mine/1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    with pytest.raises(
        InputError, match="score otherwise than when the plan was compiled"
    ) as found:
        ensure_scored(plan)
    assert "compile the spec again" in found.value.diagnostics[0].hint
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(InputError, match="there is no folder"):
        ensure_scored(plan)


def test_a_full_disk_is_told(work: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "_seal", full_disk)
    with pytest.raises(RunError, match="No space left on device"):
        made("data.difficulty.idf_corpus_size=7")


def test_an_encoder_of_nan_is_refused(work: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        texts, "embed", lambda found, *a, width, **k: np.full((len(found), width), np.nan, "f4")
    )
    with pytest.raises(RunError, match="embeds a text as NaN or infinity"):
        made(
            *CENTRAL,
            "data.difficulty.embedding={kind: pretrained, name_or_path: encoder, max_length: 7}",
        )


def test_texts_without_words_are_the_easiest(tmp_path: Path, work: Path):
    odd = [*rows(60), *({"query": f"w {i}", "positive": "?" * (i + 1)} for i in range(3))]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in odd))
    plan = made(f"data.path={tmp_path / 'odd.jsonl'}", "data.validation=null")
    fields = ensure_scored(plan).training.fields
    assert fields["difficulty_lexical"][-3:].tolist() == [0, 0, 0]
    assert fields["difficulty_syntactic"][-3:].tolist() == [0, 0, 0]


def test_a_run_of_a_curriculum_by_difficulty(work: Path):
    result = specrun.run(made("output_dir=run", "evaluation={}"))
    assert result.traces["counted"] == result.traces["promised"]
    report = Path("run/report.html").read_text()
    assert "rows (easy)" in report
    assert "0.5 lexical + 0.5 syntactic of the positive" in report


def test_an_interrupted_scoring_leaves_nothing_half_made(
    work: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = (
        *CENTRAL,
        "data.difficulty.embedding={kind: pretrained, name_or_path: encoder, max_length: 5}",
    )
    before = sorted(Path("cache/difficulty").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(texts, "normalised", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            made(*settings)
    assert sorted(Path("cache/difficulty").iterdir()) == before
    assert made(*settings).difficulty is not None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_checking_a_spec_with_an_encoder_imports_nothing_heavy(work: Path):
    settings = (
        *CENTRAL,
        "data.difficulty.embedding={kind: run, run: old}",
    )
    script = (
        "import sys, specrun\n"
        f"assert all(d.severity != 'error' for d in specrun.check({SPEC!r}, overrides={settings!r}, environ={{}}))\n"
        "print([m for m in ('jax', 'flax', 'transformers', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=work
    )
    assert done.stdout.strip() == "[]"
