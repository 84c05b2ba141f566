"""What is searched for what, and which of the texts found are negatives. Imports no jax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from specrun.runtime.data.split import normalise

BLOCK = 4096
"""Rows that are judged at a time."""


class Rule(Protocol):
    """Which of the nearest texts become negatives; ``MiningPlan`` says what each means."""

    @property
    def num_negatives(self) -> int: ...
    @property
    def top_k(self) -> int: ...
    @property
    def skip_top(self) -> int: ...
    @property
    def relative_margin(self) -> float: ...


@dataclass(frozen=True)
class Pool:
    """The different queries and positives of rows, texts that normalise alike being one.

    ``queries`` and ``documents`` are the first row of each; ``query_of`` and ``document_of`` say for
    each row which of them it has. All int64.
    """

    queries: np.ndarray  # [Q]
    documents: np.ndarray  # [M]
    query_of: np.ndarray  # [rows]
    document_of: np.ndarray  # [rows]
    labels: np.ndarray | None = None  # [rows], -1 is none

    @property
    def own(self) -> np.ndarray:
        """Each pair of a query and a document of one of its rows, as query · M + document. Rising."""
        return np.unique(self.query_of * len(self.documents) + self.document_of)

    def wanted(self, rule: Rule) -> int:
        """How many documents must be found for each query, so that ``top_k`` others are among them."""
        counts = np.bincount(self.own // len(self.documents), minlength=1)
        return min(len(self.documents), rule.top_k + int(counts.max(initial=0)))


def pool_of(
    queries: Sequence[str], positives: Sequence[str], labels: np.ndarray | None = None
) -> Pool:
    """The pool of rows given as texts."""
    first_queries, query_of = _numbered(queries)
    first_documents, document_of = _numbered(positives)
    return Pool(first_queries, first_documents, query_of, document_of, labels)


def choose(
    pool: Pool, rule: Rule, scores: np.ndarray, found: np.ndarray, positive: np.ndarray
) -> np.ndarray:
    """The negatives of each row, hardest first: int32 [rows, num_negatives] of rows, -1 for none.

    ``scores`` float32 and ``found`` int64 [Q, K] are the nearest documents of each query, best first;
    ``positive`` float32 [rows] is each row's cosine with its own. Of the nearest, those of the query's
    own rows are not counted; then the first ``skip_top`` are left out, what lies behind ``top_k``,
    what reaches positive × (1 − relative_margin), and what a row of the same label has.
    """
    own, labelled = pool.own, _labelled(pool)
    chosen = np.full((len(pool.query_of), rule.num_negatives), -1, np.int32)
    for start in range(0, len(chosen), BLOCK):  # so that what is in between stays small
        rows = np.arange(start, min(start + BLOCK, len(chosen)))
        query = pool.query_of[rows]
        near = found[query]
        mine = np.isin(query[:, None] * len(pool.documents) + near, own)
        rank = np.cumsum(~mine, axis=1) - 1
        limit = positive[rows] * np.float32(1 - rule.relative_margin)
        kept = ~mine & (rank >= rule.skip_top) & (rank < rule.top_k)
        kept &= scores[query] < limit[:, None]
        if labelled is not None:
            kept &= ~labelled.shared(rows, near)
        chosen[rows] = _first(kept, pool.documents[near], rule.num_negatives)
    return chosen


def _first(kept: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` kept of each line, -1 where there are fewer."""
    order = np.argsort(~kept, axis=1, kind="stable")[:, :count]
    there = np.take_along_axis(kept, order, axis=1)
    found = np.full((len(kept), count), -1, np.int32)
    found[:, : order.shape[1]] = np.where(there, np.take_along_axis(rows, order, axis=1), -1)
    return found


@dataclass(frozen=True)
class _Labelled:
    """Which documents some row of a label has: ``pairs`` are document · size + label, rising."""

    labels: np.ndarray
    size: int
    pairs: np.ndarray

    def shared(self, rows: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Which of the documents found [n, K] a row of the same label has."""
        own = self.labels[rows][:, None]
        return (own >= 0) & np.isin(found * self.size + own, self.pairs)


def _labelled(pool: Pool) -> _Labelled | None:
    if pool.labels is None:
        return None
    labels = np.asarray(pool.labels, np.int64)
    size = int(labels.max(initial=0)) + 1
    has = labels >= 0
    return _Labelled(labels, size, np.unique(pool.document_of[has] * size + labels[has]))


def _numbered(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    numbers: dict[str, int] = {}
    first: list[int] = []
    of = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        key = normalise(text)
        if key not in numbers:
            numbers[key] = len(first)
            first.append(row)
        of[row] = numbers[key]
    return np.array(first, np.int64), of
