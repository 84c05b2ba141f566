"""Scores of rows: read as a column, carried to the batches, and trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import specrun
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.columns import row_of
from specrun.runtime.data.raw import Fault, Record, Row
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokens import ensure_tokens
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import JsonlSource

SPEC = """\
version: 1
model: {kind: text_encoder, hidden_size: 8, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: jsonl, path: rows.jsonl, columns: {score: sim}, max_length: {query: 8, positive: 8}}
losses: [{kind: cosent}]
train: {batch_size: 16, epochs: 1, log_every_steps: 1}
"""


@pytest.mark.parametrize(
    ("textual", "value", "wanted"),
    [
        (False, 0.25, 0.25),
        (False, 3, 3.0),
        (False, None, None),
        (True, " 0.25", 0.25),
        (True, "", None),
        (True, "  ", None),
        (False, "0.25", "`sim` is not a number"),
        (False, True, "`sim` is not a number"),
        (False, [1], "`sim` is not a number"),
        (False, float("nan"), "number too large"),
        (False, float("inf"), "number too large"),
        (True, "high", "`sim` is not a number"),
        (True, "nan", "`sim` is not a number"),
    ],
)
def test_a_score_is_a_number_or_not_there(textual: bool, value: object, wanted: object) -> None:
    record = Record("f", 7, {"query": "q", "positive": "p", "sim": value}, textual)
    found = row_of(record, JsonlSource(path="", score="sim"))
    if isinstance(wanted, str):
        assert isinstance(found, Fault)
        assert (found.reason, found.place) == (wanted, "f:7")
    else:
        assert isinstance(found, Row)
        assert found.numbers.get("sim") == wanted


def write(folder: Path, scores: list[object], spec: str = SPEC) -> Path:
    rows = [{"query": f"q {i}", "positive": f"p {i % 7} {i}"} for i in range(len(scores))]
    rows = [r | ({} if s is None else {"sim": s}) for r, s in zip(rows, scores, strict=True)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "spec.yaml").write_text(spec)
    return folder / "spec.yaml"


def test_scores_reach_the_batches_and_are_trained_on(tmp_path: Path) -> None:
    scores: list[object] = [None if i % 5 == 0 else i % 4 / 4 for i in range(40)]
    plan = specrun.compile(write(tmp_path, [*scores, "bad"]))
    assert plan.data.scan.scores == 4
    assert [(b.reason, b.count) for b in plan.data.scan.bad] == [("`sim` is not a number", 1)]
    rows = ensure_rows(plan.data)
    batches = Batches(plan, ensure_tokens(plan.data, plan.tokenizer), rows)
    for step in range(plan.train.total_steps):
        _, batch = batches.at(step)
        assert batch.score is not None
        assert batch.score.dtype == np.float32
        for row, score in zip(batch.row.ravel(), batch.score.ravel(), strict=True):
            wanted = scores[int(rows.training.queries[int(row)].split()[1])]
            assert np.isnan(score) if wanted is None else score == np.float32(wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        specrun.run(plan)
        told = [
            json.loads(x)
            for x in Path(plan.output_dir, "metrics.jsonl").read_text().split("\n")
            if x
        ]
    losses = [x["loss"] for x in told if "loss" in x]
    assert len(losses) == plan.train.total_steps
    assert all(np.isfinite(x) and x > 0 for x in losses)


@pytest.mark.parametrize(
    ("scores", "code"), [([None] * 30, "no-values"), ([0.5] * 30, "one-value")]
)
def test_scores_that_order_nothing_are_refused(tmp_path: Path, scores: list[object], code: str):
    with pytest.raises(InputError) as caught:
        specrun.compile(write(tmp_path, scores))
    assert [(d.code, d.path) for d in caught.value.diagnostics if d.severity == "error"] == [
        (code, "data.columns.score")
    ]


def test_a_column_that_is_not_there_is_named_by_check(tmp_path: Path) -> None:
    path = write(tmp_path, [0.5, 1.0] * 9, SPEC.replace("sim}", "simm}"))
    found = [d for d in specrun.check(path) if d.severity == "error"]
    assert [d.code for d in found] == ["unknown-column"]
    assert "did you mean `sim`?" in found[0].hint
