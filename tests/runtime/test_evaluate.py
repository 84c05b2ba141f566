"""Evaluation over held-out rows: equal to embedding each text by itself, and free of every accident."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.runtime.data.relevance import relevance
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokens import Ragged, Tokens, TokenSplit
from specrun.runtime.embed import embed, normalised, padded_length
from specrun.runtime.evaluate import Evaluator, make_evaluator
from specrun.runtime.metrics import retrieval_metrics
from specrun.runtime.predictor import Predictor
from specrun.runtime.program import build_program
from specrun.spec.plan.data import JsonlSource
from specrun.spec.plan.plan import Plan
from tests.runtime.folders import make_parameters, make_run

METRICS = ("mrr@10", "ndcg@10", "recall@1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    letters = list("abcdefghijklm _(")
    rows = [
        {"query": "".join(draw.choice(letters, 12)), "positive": "".join(draw.choice(letters, 20))}
        for _ in range(60)
    ]
    rows += [{"query": r["query"].upper(), "positive": "again " + r["positive"]} for r in rows[:20]]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    make_run(tmp_path / "run", source=JsonlSource(path=str(path)))
    return tmp_path / "run"


def evaluator(folder: Path, **changes: Any) -> Evaluator:
    predictor = Predictor(folder)
    plan = predictor.trained.plan
    assert plan is not None
    assert plan.evaluation is not None
    policy = {"metrics": METRICS, "dims": (16, 8), **changes}
    plan = dataclasses.replace(plan, evaluation=dataclasses.replace(plan.evaluation, **policy))
    rows = ensure_rows(plan.data)
    found = make_evaluator(plan, build_program(plan), rows, tokens(predictor, plan, rows))
    assert found is not None
    return found


def tokens(predictor: Predictor, plan: Plan, rows: Rows) -> Tokens:
    """The held-out rows by the tokenizer in the folder, which no cache knows."""

    def side(texts: Any, length: int) -> Ragged:
        ids = predictor.trained.tokenizer.encode(list(texts), length)
        ends = np.cumsum([0, *map(len, ids)])
        return Ragged(np.concatenate(ids), ends)

    held, data = rows.validation, plan.data
    split = TokenSplit(
        side(held.queries, data.max_query_length), side(held.positives, data.max_positive_length)
    )
    return Tokens(split, split, 0)


def parameters(found: Evaluator) -> Any:
    return make_parameters(found.plan, 0)


def test_metrics_are_those_of_the_predictor_s_embeddings(folder: Path):
    found = evaluator(folder)
    held = ensure_rows(found.plan.data).validation
    pairs, predictor = relevance(held), Predictor(folder)
    assert 3 < len(pairs.queries) < len(held)
    queries = [held.queries[i] for i in pairs.queries.tolist()]
    candidates = [held.positives[i] for i in pairs.candidates.tolist()]
    expected: dict[str, float] = {}
    for width, suffix in ((16, ""), (8, " at 8")):
        values = retrieval_metrics(
            predictor.encode_text(queries, dimension=width, side="query"),
            predictor.encode_text(candidates, dimension=width),
            pairs.relevant,
            METRICS,
        )
        expected |= {f"{name}{suffix}": value for name, value in values.items()}
    assert found(parameters(found)) == expected
    assert all(type(v) is float and 0 <= v <= 1 for v in expected.values())


def test_the_batch_size_and_repetition_change_nothing(folder: Path):
    results = []
    for size in (1, 3, 8, 64):
        found = evaluator(folder, batch_size=size)
        results += [found(parameters(found)), found(parameters(found))]
    assert all(r == results[0] for r in results)


def test_traces_stay_few_and_an_interrupt_is_heard_before_every_batch(folder: Path):
    found = evaluator(folder, batch_size=4)
    heard: list[int] = []
    found(parameters(found), lambda: heard.append(1))
    assert found.program.traces.encoding <= 2  # queries of 6 tokens, positives of 8
    count = -(-len(found.pairs.queries) // 4) + -(-len(found.pairs.candidates) // 4)
    assert len(heard) == count

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(parameters(found), stop)


def test_a_plan_that_evaluates_nothing_has_no_evaluator(folder: Path):
    found = evaluator(folder)
    plan = dataclasses.replace(found.plan, evaluation=None)
    rows = ensure_rows(plan.data)
    assert make_evaluator(plan, found.program, rows, found.tokens) is None


def test_lengths_padded_to_are_few_and_hold_every_row():
    assert [padded_length(n, 100) for n in (1, 8, 9, 33, 64, 65, 100)] == [
        8,
        8,
        16,
        64,
        64,
        100,
        100,
    ]
    assert [padded_length(n, 5) for n in (1, 5)] == [5, 5]


def test_embedding_keeps_the_order_and_pads_by_rows_that_do_no_harm():
    sequences = [np.arange(n, dtype=np.int32) for n in (7, 1, 30, 2, 9)]
    seen = []

    def encode(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        assert mask.any(axis=1).all()
        assert (ids[~mask] == 99).all()
        seen.append(ids.shape)
        return np.stack([mask.sum(axis=1), np.where(mask, ids, 0).sum(axis=1)], axis=1)

    found = embed(sequences, encode, batch_size=2, longest=30, pad_id=99, width=2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[len(s), s.sum()] for s in sequences])
    assert seen == [(2, 8), (2, 16), (2, 30)]
    assert embed([], encode, batch_size=2, longest=30, pad_id=0, width=2).shape == (0, 2)


def test_zero_rows_stay_zero_when_normalised():
    found = normalised(np.array([[0, 0, 5], [3, 4, 0]], np.float32), 2)
    np.testing.assert_allclose(found, [[0, 0], [0.6, 0.8]])
    assert found.dtype == np.float32
