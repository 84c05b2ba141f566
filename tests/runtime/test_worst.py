"""The worst queries: ranks by hand, ties, several right answers, and what is said of them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from specrun.runtime.data.relevance import Relevance
from specrun.runtime.loop import worst
from specrun.runtime.loop.evaluate import Measured
from specrun.runtime.loop.worst import CHARACTERS, FOUND, SHOWN, worst_of
from specrun.runtime.metrics import top_k
from specrun.runtime.vectors import normalised


def measured(queries: np.ndarray, candidates: np.ndarray, relevant) -> Measured:
    pairs = Relevance(
        queries=np.arange(len(queries)),
        candidates=np.arange(len(candidates)),
        relevant=tuple(relevant),
    )
    return Measured({}, queries, candidates, pairs, queries.shape[1])


def split(count: int):
    return SimpleNamespace(
        images={},
        queries=[f"query {i}" for i in range(count)],
        positives=[f"text {i}" + "x" * (700 * (i == 0)) for i in range(count)],
        places=[f"f.py:{i}" for i in range(count)],
        names=[f"name{i}" for i in range(count)],
    )


@pytest.mark.parametrize("block", [3, 2048])
def test_ranks_are_those_of_the_whole_ranking(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worst, "BLOCK", block)
    draw = np.random.default_rng(5)
    queries = draw.normal(size=(40, 6)).astype(np.float32)
    candidates = draw.normal(size=(50, 6)).astype(np.float32)
    relevant = [tuple(sorted({i, (7 * i) % 50})) for i in range(40)]
    found = json.loads(worst_of(measured(queries, candidates, relevant), split(50), 9))
    _, ranking = top_k(normalised(queries, 6), normalised(candidates, 6), 50)
    ranks = [
        min(list(row).index(c) for c in wanted) + 1
        for row, wanted in zip(ranking, relevant, strict=True)
    ]
    order = sorted(range(40), key=lambda i: (-ranks[i], i))[:SHOWN]
    assert [w["rank"] for w in found["worst"]] == [ranks[i] for i in order]
    assert [w["query"] for w in found["worst"]] == [f"query {i}" for i in order]
    for entry, i in zip(found["worst"], order, strict=True):
        wrong = [int(c) for c in ranking[i] if int(c) not in relevant[i]][:FOUND]
        assert [f["name"] for f in entry["found"]] == [f"name{c}" for c in wrong]
        best = next(int(c) for c in ranking[i] if int(c) in relevant[i])
        assert entry["expected"]["name"] == f"name{best}"
        cosine = float(normalised(queries, 6)[i] @ normalised(candidates, 6)[best])
        assert entry["expected"]["score"] == pytest.approx(cosine, abs=6e-5)
    assert (found["step"], found["width"], found["queries"], found["candidates"]) == (9, 6, 40, 50)


def test_equal_scores_rank_as_in_the_metrics():
    """Of equal scores the larger number comes first, so the first candidate is the last of four."""
    same = np.ones((4, 2), np.float32)
    found = json.loads(worst_of(measured(same[:1], same, [(0,)]), split(4), 0))
    assert found["worst"][0]["rank"] == 4
    assert [f["name"] for f in found["worst"][0]["found"]] == ["name3", "name2", "name1"]
    assert len(found["worst"][0]["expected"]["text"]) == CHARACTERS


def test_few_candidates_and_zero_vectors_are_no_fault():
    zero = np.zeros((1, 3), np.float32)
    found = json.loads(worst_of(measured(zero, zero, [(0,)]), split(1), 0))
    assert found["worst"][0]["rank"] == 1
    assert found["worst"][0]["found"] == []
