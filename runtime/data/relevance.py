"""What is to be found for what: unique held-out queries, unique candidates, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from specrun.runtime.data.rows import Split
from specrun.runtime.data.split import normalise

T = TypeVar("T")


@dataclass(frozen=True)
class Relevance:
    """What is asked and what is offered: row indices, the first of each text.

    Candidates are the positives of ``candidates``, then the explicit negatives of ``negatives``,
    which index the split's list of all negatives; ``relevant[i]`` counts in these candidates.
    ``query_of`` and ``candidate_of`` are the numbers of each row's two texts.
    """

    queries: np.ndarray
    candidates: np.ndarray
    relevant: tuple[tuple[int, ...], ...]
    negatives: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    query_of: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    candidate_of: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def reversed(self) -> tuple[tuple[int, ...], ...]:
        """The queries of each positive, which all have some; explicit negatives are not asked."""
        found: list[list[int]] = [[] for _ in self.candidates]
        for query, wanted in enumerate(self.relevant):
            for candidate in wanted:
                found[candidate].append(query)
        return tuple(map(tuple, found))

    def offered(self, positives: Sequence[T], negatives: Sequence[T] | None) -> list[T]:
        """All candidates, of texts or of what was made of them: by row, and by negative."""
        found = [positives[int(row)] for row in self.candidates]
        if negatives is not None:
            found += [negatives[int(at)] for at in self.negatives]
        return found


def relevance(split: Split) -> Relevance:
    """Rows with the same query have all of each other's positives relevant; equal texts are one candidate.

    A negative that is somebody's positive is that candidate, and relevant for that query alone.
    """
    places: list[tuple[int, int]] = []
    order: dict[str, int] = {}
    queries: dict[str, int] = {}
    candidates: dict[str, int] = {}
    wanted: dict[str, list[int]] = {}
    numbers: dict[str, int] = {}
    for row, (query, positive) in enumerate(zip(split.queries, split.positives, strict=True)):
        q, p = normalise(query), normalise(positive)
        queries.setdefault(q, row)
        candidates.setdefault(p, row)
        candidate = numbers.setdefault(p, len(numbers))
        wanted.setdefault(q, []).append(candidate)
        places.append((order.setdefault(q, len(order)), candidate))
    negatives: dict[str, int] = {}
    for at, text in enumerate(split.negatives.texts if split.negatives else ()):
        if (n := normalise(text)) not in candidates:
            negatives.setdefault(n, at)
    return Relevance(
        queries=np.array(list(queries.values()), np.int64),
        candidates=np.array(list(candidates.values()), np.int64),
        relevant=tuple(tuple(sorted(set(wanted[q]))) for q in queries),
        negatives=np.array(list(negatives.values()), np.int64),
        query_of=np.array([q for q, _ in places], np.int64),
        candidate_of=np.array([c for _, c in places], np.int64),
    )
