"""A teacher's scores of the rows' negatives: read as a column, kept beside the negatives, and trained on."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import specrun
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.columns import row_of
from specrun.runtime.data.raw import Fault, Record, Row
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokens import ensure_tokens
from specrun.spec.plan.data import JsonlSource

SPEC = """\
version: 1
model: {kind: text_encoder, hidden_size: 8, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data:
  kind: jsonl
  path: rows.jsonl
  columns: {score: sim, negatives: wrong, negative_scores: sims}
  max_length: {query: 8, positive: 8}
losses: [{kind: distillation, objective: margin_mse, on: cosines}]
train: {batch_size: 16, epochs: 1, log_every_steps: 1}
"""
COLUMNS = JsonlSource(path="", negatives="wrong", negative_scores="sims")
LISTS = "`sims` is neither a number nor a list of numbers"
LENGTHS = "`sims` and `wrong` are not equally long"


@pytest.mark.parametrize(
    ("textual", "wrong", "sims", "wanted"),
    [
        (False, ["a", "b"], [0.5, 2], (0.5, 2.0)),
        (False, ["a", "b"], [0.5, None], (0.5, math.nan)),
        (False, ["a", "b"], None, (math.nan, math.nan)),
        (False, "a", 0.5, (0.5,)),
        (False, None, None, ()),
        (False, None, [], ()),
        (False, ["a", "b", "A ", "c"], [1, 2, 3, 4], (1.0, 2.0, 4.0)),
        (False, ["a", "b", "a", "c"], [1, 2, 3, 4], (1.0, 2.0, 4.0)),
        (True, '["a", "b"]', "[0.5, -2e0]", (0.5, -2.0)),
        (True, "a", " 0.5 ", (0.5,)),
        (True, "a", " ", (math.nan,)),
        (False, ["a", "b"], [1.0], LENGTHS),
        (False, None, [1.0], LENGTHS),
        (False, ["a"], ["1"], LISTS),
        (False, ["a"], [True], LISTS),
        (False, ["a"], "1", LISTS),
        (False, ["a"], {"a": 1}, LISTS),
        (True, "a", "high", LISTS),
        (True, "a", "[1", "`sims` begins with [ and is no JSON list"),
        (False, ["a"], [math.inf], "number too large"),
        (False, ["a"], [math.nan], "number too large"),
        (False, ["a"], [10**400], "number too large"),
    ],
)
def test_as_many_numbers_as_negatives_or_none(
    textual: bool, wrong: object, sims: object, wanted: object
) -> None:
    record = Record("f", 7, {"query": "q", "positive": "p", "wrong": wrong, "sims": sims}, textual)
    found = row_of(record, COLUMNS)
    if isinstance(wanted, str):
        assert isinstance(found, Fault)
        assert (found.reason, found.place) == (wanted, "f:7")
    else:
        assert isinstance(found, Row)
        assert str(found.negative_scores) == str(wanted)
        assert len(found.negatives) == len(found.negative_scores)
        assert "sims" not in found.numbers


def write(folder: Path, rows: list[dict[str, object]], spec: str = SPEC) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "spec.yaml").write_text(spec)
    return folder / "spec.yaml"


def scored(count: int = 40) -> list[dict[str, object]]:
    """Rows with up to two negatives, each with a score that tells which it is."""
    found: list[dict[str, object]] = []
    for i in range(count):
        wrong = [f"n{i % 7} {i} {n}" for n in range(i % 3)]
        row = {"query": f"q {i}", "positive": f"p {i % 5} {i}", "sim": i / count, "wrong": wrong}
        found.append(row | {"sims": [i + n / 4 for n in range(i % 3)]})
    return found


def test_they_reach_the_batches_and_are_trained_on(tmp_path: Path) -> None:
    plan = specrun.compile(write(tmp_path, scored()))
    assert plan.data.scan.negative_scores == sum(i % 3 for i in range(40))
    rows = ensure_rows(plan.data)
    batches = Batches(plan, ensure_tokens(plan.data, plan.tokenizer), rows)
    for step in range(plan.train.total_steps):
        _, batch = batches.at(step)
        assert batch.negative_score is not None
        assert batch.negative_weight is not None
        for row, found in zip(batch.row.ravel(), batch.negative_score.reshape(-1, 2), strict=True):
            i = int(rows.training.queries[int(row)].split()[1])
            wanted = [i + n / 4 if n < i % 3 else math.nan for n in range(2)]
            np.testing.assert_array_equal(found, np.float32(wanted))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        specrun.run(plan)
        text = Path(plan.output_dir, "metrics.jsonl").read_text()
    losses = [x["loss"] for x in map(json.loads, text.splitlines()) if "loss" in x]
    assert len(losses) == plan.train.total_steps
    assert all(np.isfinite(x) and x > 0 for x in losses)


def test_rows_that_repeat_a_pair_keep_each_negative_with_its_score(tmp_path: Path) -> None:
    rows = scored()
    pair = {"query": "q", "positive": "p", "sim": 1.0}
    rows += [pair | {"wrong": [x], "sims": [s]} for x, s in (("a", 0.1), ("b", 0.2), ("a", 0.3))]
    plan = specrun.compile(write(tmp_path, rows), overrides=("data.max_negatives=2",))
    found = ensure_rows(plan.data).training
    at = list(found.queries).index("q")
    assert found.negatives is not None
    assert found.negative_scores is not None
    assert found.negatives[at] == ["a", "b"]
    scores = found.negative_scores[found.negatives.ends[at] : found.negatives.ends[at + 1]]
    np.testing.assert_array_equal(scores, np.float32([0.1, 0.2]))


def test_pairs_alone_are_trained_on_by_their_scores(tmp_path: Path) -> None:
    rows = [{"query": f"q {i}", "positive": f"p {i}", "sim": 0.5} for i in range(20)]
    spec = SPEC.replace(", negatives: wrong, negative_scores: sims", "")
    spec = spec.replace("margin_mse", "mse")
    plan = specrun.compile(write(tmp_path, rows, spec))
    assert plan.losses[0].negatives == "own"
    assert plan.train.negatives_per_query == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert specrun.run(plan).metrics["loss"] > 0


def test_a_column_without_any_score_is_refused(tmp_path: Path) -> None:
    rows = [row | {"sims": None} for row in scored()]
    with pytest.raises(specrun.InputError) as caught:
        specrun.compile(write(tmp_path, rows))
    found = [(d.code, d.path) for d in caught.value.diagnostics if d.severity == "error"]
    assert found == [("no-values", "data.columns.negative_scores")]
    rows = [{k: v for k, v in row.items() if k != "sims"} for row in scored()]
    found = [(d.code, d.path) for d in specrun.check(write(tmp_path, rows))]
    assert found == [("unknown-column", "data.columns.negative_scores")]


def test_mined_negatives_have_no_scores(tmp_path: Path) -> None:
    spec = SPEC.replace("negatives: wrong, negative_scores: sims", "score: sim").replace(
        "score: sim, score: sim", "score: sim"
    )
    spec = spec.replace("margin_mse", "mse").replace(
        "  max_length", "  negatives: {kind: mined, refresh_every_steps: 2, top_k: 5}\n  max_length"
    )
    found = [(d.code, d.path) for d in specrun.check(write(tmp_path, scored(), spec))]
    assert found == [("no-effect", "data.negatives")]
