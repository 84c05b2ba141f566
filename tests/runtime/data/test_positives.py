"""A list of positives is a row for each, and with identical queries told apart none is another's negative."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import specrun
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.columns import rows_of_records
from specrun.runtime.data.raw import Fault, Record
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokens import ensure_tokens
from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.candidates import candidates_of
from specrun.spec.plan.data import JsonlSource
from tests.runtime.plans import make_false

SPEC = """\
version: 1
model: {kind: text_encoder, hidden_size: 8, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: jsonl, path: rows.jsonl, max_length: {query: 8, positive: 8}}
losses: [{kind: infonce, false_negatives: {}}]
train: {batch_size: 8, epochs: 1, log_every_steps: 1}
"""


@pytest.mark.parametrize(
    ("positive", "more", "wanted"),
    [
        (["a"], {}, ["a"]),
        (["b", "a"], {}, ["b", "a"]),
        (["a", "b", "A "], {}, ["a", "b"]),
        (["a", "b"], {"wrong": ["c"]}, ["a", "b"]),
        (["a"], {"sim": 1}, ["a"]),
        ([], {}, "`positive` is an empty list"),
        (["a", 3], {}, "`positive` is not text"),
        (["a", " "], {}, "`positive` is empty"),
        (["a", None], {}, "`positive` is not text"),
        (["a", ["b"]], {}, "`positive` is not text"),
        (["a", "b"], {"wrong": ["B"]}, "a negative is the row's own positive"),
        (["a", "b"], {"sim": 1}, "`sim` is one score of several positives"),
    ],
)
def test_a_row_for_each_or_one_fault(positive: object, more: dict, wanted: object) -> None:
    record = Record("f", 7, {"query": "q", "positive": positive, **more})
    source = JsonlSource(
        path="",
        negatives="wrong" if "wrong" in more else None,
        score="sim" if "sim" in more else None,
    )
    found = list(rows_of_records([record], source))
    if isinstance(wanted, str):
        (fault,) = found
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.place) == (wanted, "f:7")
    else:
        assert [row.positive for row in found] == wanted
        assert {row.query for row in found} == {"q"}


def test_a_column_that_is_both_texts_holds_no_lists() -> None:
    """What is embedded line by line stays line by line."""
    (fault,) = rows_of_records(
        [Record("f", 1, {"text": ["a", "b"]})], JsonlSource(path="", query="text", positive="text")
    )
    assert isinstance(fault, Fault)


def test_all_positives_of_a_query_in_a_batch_are_positives(tmp_path: Path) -> None:
    rows = [
        {"query": f"q {i}", "positive": [f"p {i} {n}" for n in range(1 + i % 3)]} for i in range(20)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "spec.yaml").write_text(SPEC)
    plan = specrun.compile(tmp_path / "spec.yaml")
    assert plan.data.scan.training_rows == sum(1 + i % 3 for i in range(20))
    found = ensure_rows(plan.data)
    batches = Batches(plan, ensure_tokens(plan.data, plan.tokenizer), found)
    seen = 0
    for step in range(plan.train.total_steps):
        _, batch = batches.at(step)
        one = type(batch)(*(None if x is None else x[0] for x in batch))
        outputs = Outputs(np.eye(8, dtype=np.float32), np.eye(8, dtype=np.float32))
        _, masks = candidates_of("in_batch", outputs, one, make_false(margin=None))
        kept = np.asarray(masks.apart(masks.keys, outputs.query, None))
        queries = np.array([found.training.queries[int(i)] for i in one.row])
        valid = one.weight > 0
        same = queries[:, None] == queries
        np.testing.assert_array_equal(kept, valid & ~same)
        seen += int((same & ~np.eye(8, dtype=bool) & valid & valid[:, None]).sum())
    assert seen > 0, "no batch had two positives of one query"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert np.isfinite(specrun.run(plan).metrics["loss"])


def warned(folder: Path, rows: list[dict], *settings: str) -> list[tuple[str, str]]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "spec.yaml").write_text(SPEC)
    plan = specrun.compile(folder / "spec.yaml", overrides=list(settings))
    found = [x for x in plan.warnings if x.code == "repeated-positives"]
    for x in found:
        assert f"{plan.data.scan.repeated} of {plan.data.scan.training_rows} training rows" in (
            x.message
        )
    return [(x.path, x.message) for x in found]


LISTED = [{"query": f"q {i}", "positive": [f"p {i}", f"p {i + 1}"]} for i in range(9)]
PLAIN = [{"query": f"q {i}", "positive": f"p {i}"} for i in range(9)]
BARE = "losses=[{kind: infonce}]"


@pytest.mark.parametrize("kind", ["infonce", "triplet", "siglip"])
def test_right_answers_that_a_loss_takes_for_wrong_ones_are_warned_of(
    tmp_path: Path, kind: str
) -> None:
    """With the key that mends it, which silences the warning."""
    bare = f"losses=[{{kind: {kind}}}]"
    ((path, message),) = warned(tmp_path, LISTED, bare)
    assert path == "losses[0].kind"
    assert "18 of 18 training rows" in message
    assert "`losses[0].false_negatives: {identical: true}`" in message
    assert not warned(tmp_path, LISTED, f"losses=[{{kind: {kind}, false_negatives: {{}}}}]")
    by_margin = f"losses=[{{kind: {kind}, false_negatives: {{identical: false, margin: 0.1}}}}]"
    assert warned(tmp_path, LISTED, by_margin)
    assert not warned(tmp_path, PLAIN, bare)


def test_which_rows_repeat(tmp_path: Path) -> None:
    """A query or a positive in other letters is the same; rows of one label are told apart already."""
    again = [*PLAIN, {"query": "other", "positive": "P  3"}]
    ((_, message),) = warned(tmp_path, again, BARE)
    assert "2 of 10 training rows" in message
    labelled = [row | {"topic": row["query"][-1]} for row in LISTED]
    column = "data.columns.label=topic"
    ((_, message),) = warned(tmp_path, labelled, BARE, column)
    assert "16 of 18 training rows" in message  # positives that rows of two labels have in common
    one = [row | {"topic": "t"} for row in LISTED]
    assert not warned(tmp_path, one, BARE, column)
    late = "model={kind: text_encoder, hidden_size: 8, num_hidden_layers: 0, pooling: none}"
    ((_, message),) = warned(tmp_path, LISTED, late, "losses=[{kind: colbert}]")
    assert "data.columns.label" in message
    assert "false_negatives" not in message
    scored = [row | {"score": i / 9} for i, row in enumerate(PLAIN + again[-1:])]
    cosent = "losses=[{kind: cosent}]"
    assert not warned(tmp_path, scored, cosent, "data.columns.score=score")
