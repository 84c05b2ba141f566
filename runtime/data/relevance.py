"""What is to be found for what: unique held-out queries, unique candidates, and which belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from specrun.runtime.data.rows import Split
from specrun.runtime.data.split import normalise


@dataclass(frozen=True)
class Relevance:
    """``queries`` and ``candidates`` are row indices, the first of each text; ``relevant[i]`` counts in candidates."""

    queries: np.ndarray
    candidates: np.ndarray
    relevant: tuple[tuple[int, ...], ...]


def relevance(split: Split) -> Relevance:
    """Rows with the same query have all of each other's positives relevant; equal positives are one candidate."""
    queries: dict[str, int] = {}
    candidates: dict[str, int] = {}
    wanted: dict[str, list[int]] = {}
    numbers: dict[str, int] = {}
    for row, (query, positive) in enumerate(zip(split.queries, split.positives, strict=True)):
        q, p = normalise(query), normalise(positive)
        queries.setdefault(q, row)
        candidates.setdefault(p, row)
        wanted.setdefault(q, []).append(numbers.setdefault(p, len(numbers)))
    return Relevance(
        queries=np.array(list(queries.values()), np.int64),
        candidates=np.array(list(candidates.values()), np.int64),
        relevant=tuple(tuple(sorted(set(wanted[q]))) for q in queries),
    )
