"""Which of the nearest become negatives, against the rule written as a loop over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from specrun.runtime.data.split import normalise
from specrun.runtime.mining import pool as home
from specrun.runtime.mining.nearest import exact
from specrun.runtime.mining.pool import Pool, choose, pool_of


@dataclass(frozen=True)
class Rule:
    num_negatives: int = 3
    top_k: int = 8
    skip_top: int = 0
    relative_margin: float = 0.0


def unit(rows: int, seed: int) -> np.ndarray:
    found = np.abs(np.random.default_rng(seed).normal(size=(rows, 6))).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def mined(pool: Pool, rule: Rule, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    scores, found = exact(queries, documents, pool.wanted(rule))
    own = np.einsum("nd,nd->n", queries[pool.query_of], documents[pool.document_of])
    return choose(pool, rule, scores, found, own)


def by_hand(
    texts: list[tuple[str, str]],
    labels: list[int] | None,
    rule: Rule,
    pool: Pool,
    queries: np.ndarray,
    documents: np.ndarray,
) -> list[list[int]]:
    """The rule, word by word."""
    scores = queries @ documents.T
    names = [normalise(texts[row][1]) for row in pool.documents]
    answers: list[list[int]] = []
    for row, (query, positive) in enumerate(texts):
        q = normalise(query)
        line = scores[int(pool.query_of[row])]
        own = {normalise(p) for other, p in texts if normalise(other) == q}
        order = [d for d in np.argsort(-line, kind="stable") if names[d] not in own]
        limit = np.float32(line[names.index(normalise(positive))]) * np.float32(
            1 - rule.relative_margin
        )
        left = []
        for d in order[: rule.top_k][rule.skip_top :]:
            shares = labels is not None and labels[row] >= 0
            shares = shares and any(
                labels[i] == labels[row] and normalise(p) == names[d]
                for i, (_, p) in enumerate(texts)
            )
            if line[d] < limit and not shares:
                left.append(int(pool.documents[d]))
        answers.append((left + [-1] * rule.num_negatives)[: rule.num_negatives])
    return answers


TEXTS = [
    (f"query {i % 17}", f"Positive  {(i * 7) % 23}" if i % 2 else f"positive {(i * 7) % 23}")
    for i in range(40)
]


@pytest.mark.parametrize("labels", [None, [i % 5 - 1 for i in range(40)]])
@pytest.mark.parametrize(
    "rule",
    [
        Rule(),
        Rule(skip_top=2),
        Rule(relative_margin=0.05),
        Rule(num_negatives=8, relative_margin=0.3),
        Rule(top_k=22, num_negatives=20),
        Rule(top_k=1, num_negatives=1),
    ],
)
def test_the_rule(rule: Rule, labels: list[int] | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(home, "BLOCK", 7)
    kept = None if labels is None else np.array(labels, np.int32)
    pool = pool_of([q for q, _ in TEXTS], [p for _, p in TEXTS], kept)
    assert (len(pool.queries), len(pool.documents)) == (17, 23)
    queries, documents = unit(17, 1), unit(23, 2)
    found = mined(pool, rule, queries, documents)
    assert found.dtype == np.int32
    want = by_hand(TEXTS, labels, rule, pool, queries, documents)
    assert found.tolist() == want
    assert (found >= 0).any()


def test_a_negative_is_never_an_answer():
    pool = pool_of([q for q, _ in TEXTS], [p for _, p in TEXTS])
    found = mined(pool, Rule(top_k=22, num_negatives=22), unit(17, 3), unit(23, 4))
    for row, negatives in enumerate(found):
        query = normalise(TEXTS[row][0])
        answers = {normalise(p) for q, p in TEXTS if normalise(q) == query}
        assert answers.isdisjoint(normalise(TEXTS[i][1]) for i in negatives if i >= 0)


def test_where_nothing_is_left_there_is_none():
    pool = pool_of(["a", "b"], ["same", "Same "])
    assert mined(pool, Rule(), unit(2, 1), unit(1, 2)).tolist() == [[-1] * 3] * 2
    near = np.ones((2, 4), np.float32) / 2
    pool = pool_of(["a", "b"], ["x", "y"])
    assert mined(pool, Rule(), near, near).tolist() == [[-1] * 3] * 2  # as near as the positive
