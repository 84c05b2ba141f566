"""Embedding in batches, and held-out metrics at each width."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from specrun.runtime.data.relevance import Relevance
from specrun.runtime.loop.embed import SHORTEST, batches, embed, padded_length
from specrun.runtime.loop.evaluate import Evaluator, make_evaluator
from specrun.runtime.metrics import retrieval_metrics
from specrun.runtime.vectors import normalised
from specrun.spec.plan.plan import Plan
from tests.runtime.plans import make_plan

WIDTH = 16
PAD = 0


def sequences(count: int, longest: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [
        draw.integers(1, 64, draw.integers(1, longest + 1)).astype(np.int32) for _ in range(count)
    ]


TABLE = np.random.default_rng(1).standard_normal((64, WIDTH)).astype(np.float32)


def mean_encode(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    summed = (TABLE[ids] * mask[..., None]).sum(axis=1)
    return summed / np.maximum(mask.sum(axis=1, keepdims=True), 1)


def embedded(rows: list[np.ndarray], batch_size: int, longest: int = 40, **more: Any) -> np.ndarray:
    return embed(
        rows,
        mean_encode,
        batch_size=batch_size,
        longest=longest,
        pad_id=PAD,
        width=WIDTH,
        **more,
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_rows_come_back_in_their_order_whatever_the_batches(batch_size: int):
    rows = sequences(50, 40)
    expected = np.stack([TABLE[row].mean(axis=0) for row in rows])
    np.testing.assert_allclose(embedded(rows, batch_size), expected, atol=1e-5)


def test_no_rows_give_no_embeddings():
    assert embedded([], 8).shape == (0, WIDTH)


def test_shapes_are_few_and_every_row_has_a_token():
    shapes = set()
    for rows, ids, mask in batches(sequences(300, 100), 16, 100, PAD):
        shapes.add(ids.shape)
        assert ids.shape == mask.shape
        assert mask.any(axis=1).all()
        assert len(rows) <= 16
    assert shapes <= {(16, n) for n in (8, 16, 32, 64, 100)}


def test_padding_goes_to_powers_of_two_within_the_limits():
    assert [padded_length(n, 100) for n in (1, 8, 9, 64, 65, 100)] == [8, 8, 16, 64, 100, 100]
    assert padded_length(3, 5) == 5
    assert SHORTEST == 8


def test_what_is_called_between_batches_can_end_it():
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        embedded(sequences(50, 40), 8, between=stop)
    assert len(calls) == 3


def test_normalised_cuts_first_and_keeps_a_zero_row():
    rows = np.array([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]], np.float32)
    np.testing.assert_allclose(normalised(rows, 2), [[0.6, 0.8], [0.0, 0.0]])
    np.testing.assert_allclose(np.linalg.norm(normalised(rows, 3), axis=1), 1.0)


def evaluator(plan: Plan) -> tuple[Evaluator, list[np.ndarray], list[np.ndarray], Relevance]:
    queries, candidates = sequences(30, 6, seed=2), sequences(30, 8, seed=3)
    pairs = Relevance(
        queries=np.arange(2, 30),
        candidates=np.arange(0, 25),
        relevant=tuple((i % 25,) for i in range(28)),
    )
    tokens = SimpleNamespace(
        validation=SimpleNamespace(queries=queries, positives=candidates, negatives=None),
        pad_id=PAD,
    )
    program = SimpleNamespace(
        encode=lambda state, ids, mask, side: state[side] * mean_encode(ids, mask)
    )
    assert plan.evaluation
    made = Evaluator(plan, plan.evaluation, pairs, tokens, program)  # type: ignore[arg-type]
    return made, queries, candidates, pairs


def test_metrics_are_those_of_all_queries_against_all_candidates_at_each_width():
    plan = make_plan(evaluation={"dims": (16, 4), "metrics": ("mrr@10", "recall@1")})
    evaluate, queries, candidates, pairs = evaluator(plan)
    state = {side: TABLE[i] for i, side in enumerate(("query", "positive"))}  # each side its own
    found = evaluate(state)
    expected = {}
    for width, suffix in ((16, ""), (4, " at 4")):
        left = np.stack([TABLE[queries[i]].mean(axis=0) for i in pairs.queries]) * TABLE[0]
        right = np.stack([TABLE[candidates[i]].mean(axis=0) for i in pairs.candidates]) * TABLE[1]
        values = retrieval_metrics(
            normalised(left, width),
            normalised(right, width),
            pairs.relevant,
            ("mrr@10", "recall@1"),
        )
        expected |= {name + suffix: value for name, value in values.items()}
    assert found == pytest.approx(expected)
    assert list(found) == ["mrr@10", "recall@1", "mrr@10 at 4", "recall@1 at 4"]


def test_a_plan_without_evaluation_has_no_evaluator(tmp_path: Path):
    plan = dataclasses.replace(make_plan(), evaluation=None)
    assert make_evaluator(plan, None, None, None) is None  # type: ignore[arg-type]
