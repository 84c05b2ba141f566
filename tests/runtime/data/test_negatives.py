"""Explicit negatives and labels in tokens, layouts, batches and what is to be found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import specrun
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.bm25 import BM25, score_split
from specrun.runtime.data.layout import layout
from specrun.runtime.data.relevance import Relevance, relevance
from specrun.runtime.data.rows import Lists, Rows, Split
from specrun.runtime.data.scan import ensure_rows, rows_of
from specrun.runtime.data.tokenizer import Tokenizer, load
from specrun.runtime.data.tokens import Negatives, Ragged, Tokens, TokenSplit, ensure_tokens
from specrun.spec.plan.plan import Plan

SPEC = """\
version: 1
model: {kind: text_encoder, hidden_size: 16, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data:
  kind: jsonl
  path: rows.jsonl
  columns: {negatives: wrong, label: topic}
  max_length: {query: 24, positive: 40}
  validation: {kind: fraction, fraction: 0.2}
losses: [{kind: infonce}]
train: {batch_size: 8, accumulation_steps: 2, length_buckets: 3, epochs: 3}
evaluation: {}
"""


class Compiled(NamedTuple):
    plan: Plan
    tokens: Tokens
    training: Split
    validation: Split
    encoder: Tokenizer


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """100 rows with none to four negatives, some longer than any positive, and three labels."""
    folder = tmp_path_factory.mktemp("negatives")
    rows = [
        {
            "query": f"number {i}",
            "positive": f"def f{i}(): " + "x " * (i % 7),
            "wrong": [f"no {i} {k} zzz " + f"{i * k} " * (9 * k) for k in range(i % 5)],
            "topic": ["a", None, 3, "b"][i % 4],
        }
        for i in range(100)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "spec.yaml").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(folder / "cache"))
        plan = specrun.compile(folder / "spec.yaml")
        rows_ = ensure_rows(plan.data)
        encoder = load(plan.tokenizer)
        tokens = ensure_tokens(plan.data, plan.tokenizer)
        return Compiled(plan, tokens, rows_.training, rows_.validation, encoder)


def batches(compiled: Compiled) -> Batches:
    rows = Rows("", compiled.training, compiled.validation)
    return Batches(compiled.plan, compiled.tokens, rows)


def test_the_plan_counts_them(compiled: Compiled) -> None:
    plan, training = compiled.plan, compiled.training
    assert training.negatives is not None
    assert plan.data.scan.negatives == max(map(len, training.negatives)) == 4
    assert plan.data.scan.labels == 3


def test_a_batch_holds_its_rows_negatives_and_labels(
    compiled: Compiled,
) -> None:
    plan, training, encoder = compiled.plan, compiled.training, compiled.encoder
    assert training.negatives is not None
    assert training.labels is not None
    made, filling = batches(compiled), 0
    for number in range(plan.train.total_steps):
        name, batch = made.at(number)
        length = next(t.positive_length for t in plan.traces if t.name == name)
        assert batch.negative_ids is not None
        assert batch.negative_mask is not None
        assert batch.negative_weight is not None
        assert batch.label is not None
        assert (batch.negative_ids.dtype, batch.negative_ids.shape) == (np.int32, (2, 8, 4, length))
        assert (batch.negative_mask.dtype, batch.negative_mask.shape) == (bool, (2, 8, 4, length))
        assert (batch.negative_weight.dtype, batch.negative_weight.shape) == (
            np.float32,
            (2, 8, 4),
        )
        assert (batch.label.dtype, batch.label.shape) == (np.int32, (2, 8))
        assert batch.negative_mask.any(axis=3).all()
        for at in np.ndindex(batch.row.shape):
            row, own = int(batch.row[at]), batch.weight[at] > 0
            filling += not own
            texts = training.negatives[row]
            there = [own] * len(texts) + [False] * (4 - len(texts))
            assert batch.negative_weight[at].tolist() == there
            assert batch.label[at] == (training.labels[row] if own else -1)
            for n, text in enumerate(texts):
                ids = batch.negative_ids[at][n][batch.negative_mask[at][n]]
                assert ids.tolist() == encoder.encode([text], 40)[0].tolist()
            for n in range(len(texts), 4):
                assert batch.negative_mask[at][n].tolist() == [True] + [False] * (length - 1)
                assert (batch.negative_ids[at][n] == plan.tokenizer.pad_id).all()
    assert filling


def test_a_steps_positive_length_covers_its_negatives(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, tokens = compiled.plan, compiled.tokens
    own, both = tokens.training.positives.lengths, tokens.training.positive_lengths
    assert (both >= own).all()
    assert (both > own).any()
    assert both.max() == 40 > own.max()
    negatives = tokens.training.negatives
    assert negatives is not None
    for row in range(len(own)):
        mine = range(int(negatives.ends[row]), int(negatives.ends[row + 1]))
        assert both[row] == max(own[row], *(len(negatives.tokens[n]) for n in mine), 0)
    monkeypatch.setattr("specrun.runtime.data.layout.tokens_of", lambda *_, **__: tokens)
    rows = Rows("", compiled.training, compiled.validation)
    monkeypatch.setattr("specrun.runtime.data.layout.rows_of", lambda _: rows)
    stage = type(
        "Stage",
        (),
        {"selection": None, "epochs": 3, "transition_epochs": 0, "mined": False, "pseudo": None},
    )()
    (found,) = layout(
        scan=plan.data.scan,
        tokenizer=plan.tokenizer,
        max_query_length=24,
        max_positive_length=40,
        seed=plan.seed,
        batch_size=8,
        accumulation_steps=2,
        drop_last=False,
        stages=[stage],
    )
    made = batches(compiled)
    for number, (_, positive) in enumerate(found.lengths):
        assert positive == both[made.at(number)[1].row].max()


def test_fewer_negatives_are_the_first_ones(compiled: Compiled, tmp_path: Path) -> None:
    plan, training, validation = compiled.plan, compiled.training, compiled.validation
    assert training.negatives is not None
    source = plan.data.source
    cut = specrun.compile(
        Path(source.path).parent / "spec.yaml",  # type: ignore[union-attr]
        overrides=["data.max_negatives=2"],
    )
    both = rows_of(cut.data.scan.rows_digest)
    assert both.training.negatives is not None
    assert both.validation.negatives is not None
    assert cut.data.scan.negatives == 2
    assert list(both.training.negatives) == [texts[:2] for texts in training.negatives]
    assert list(both.validation.negatives) == list(validation.negatives or ())
    assert cut.train.buckets[-1][1] < plan.train.buckets[-1][1]
    assert cut.cost.activation_bytes < plan.cost.activation_bytes


def test_the_tokenizer_is_trained_on_negatives_too(
    compiled: Compiled,
) -> None:
    assert "zzz" in json.loads(compiled.encoder.json_text)["model"]["vocab"]


# what is to be found


def split(rows: list[tuple[str, str, list[str]]]) -> Split:
    texts = [text for _, _, wrong in rows for text in wrong]
    ends = np.cumsum([0, *(len(wrong) for _, _, wrong in rows)])
    blank = [""] * len(rows)
    queries, positives = [r[0] for r in rows], [r[1] for r in rows]
    return Split(queries, positives, blank, blank, {}, Lists(texts, ends))


ROWS = [
    ("a", "x", ["n", "Y", "n2"]),
    ("b", "y", ["N ", "x"]),
    ("a", "z", []),
    ("c", "X", ["n3", "z"]),
]


def test_negatives_join_the_candidates_unless_they_are_positives() -> None:
    found = relevance(split(ROWS))
    assert found.queries.tolist() == [0, 1, 3]
    assert found.candidates.tolist() == [0, 1, 2]
    assert found.negatives.tolist() == [0, 2, 5]
    assert found.relevant == ((0, 2), (1,), (0,))
    rows = split(ROWS)
    assert rows.negatives is not None
    assert found.offered(rows.positives, rows.negatives.texts) == ["x", "y", "z", "n", "n2", "n3"]


def test_without_negatives_nothing_joins() -> None:
    rows = dataclasses.replace(split([(q, p, []) for q, p, _ in ROWS]), negatives=None)
    found = relevance(rows)
    assert (found.negatives.dtype, found.negatives.tolist()) == (np.int64, [])
    assert found.offered(rows.positives, None) == ["x", "y", "z"]


def test_bm25_ranks_among_the_negatives() -> None:
    rows = split([("find word", "def word(): pass", ["find word find word"]), ("b", "b", [])])
    assert score_split(rows, ("mrr@10", "recall@1")) == {"mrr@10": 0.75, "recall@1": 0.5}
    alone = dataclasses.replace(rows, negatives=None)
    assert score_split(alone, ("recall@1",)) == {"recall@1": 1.0}
    assert len(BM25(["a", "b"]).scores("a")) == 2


def test_evaluation_embeds_the_negatives_as_candidates() -> None:
    from tests.runtime.test_evaluate import evaluator, make_plan

    evaluate, queries, _, _ = evaluator(make_plan(evaluation={"metrics": ("recall@1",)}))
    ids = np.concatenate(queries)
    ends = np.cumsum([0, *map(len, queries)])
    same = TokenSplit(
        queries,  # type: ignore[arg-type]
        evaluate.tokens.validation.positives,
        Negatives(Ragged(ids, ends), np.arange(31)),
    )
    pairs = Relevance(np.arange(30), np.arange(30), tuple((i,) for i in range(30)))
    tokens = dataclasses.replace(evaluate, tokens=Tokens(same, same, 0), pairs=pairs)
    joined = dataclasses.replace(tokens, pairs=dataclasses.replace(pairs, negatives=np.arange(30)))
    state = {"query": 1.0, "positive": 1.0}
    assert tokens(state)["recall@1"] > joined(state)["recall@1"] == 0.0
