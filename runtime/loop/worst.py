"""The held-out queries whose right answer ranks worst, and what was found instead."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from specrun.runtime.data.items import shortened, shown
from specrun.runtime.data.rows import Split
from specrun.runtime.loop.evaluate import Measured
from specrun.runtime.vectors import Compare, Vectors, cut

SHOWN = 10
"""Queries kept."""

FOUND = 3
"""Candidates named for each."""

CHARACTERS = 600
"""Of a text that are kept."""

BLOCK = 2048


def worst_of(measured: Measured, split: Split, step: int) -> str:
    """The text of worst.json: after ``step`` steps, at the whole width, the worst ranks first.

    A rank is 1 plus the number of candidates that score above the query's best right answer (or as
    high with a larger number, as the metrics rank). ``found`` holds the best wrong candidates.
    """
    queries = cut(measured.queries, measured.width)
    candidates = cut(measured.candidates, measured.width)
    ranks = _ranks(queries, candidates, measured)
    order = np.argsort(-ranks, kind="stable")[:SHOWN]
    worst = [_one(int(i), int(ranks[i]), queries, candidates, measured, split) for i in order]
    facts = {
        "step": step,
        "width": measured.width,
        "queries": len(queries),
        "candidates": len(candidates),
        "worst": worst,
    }
    return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _ranks(queries: Vectors, candidates: Vectors, measured: Measured) -> np.ndarray:
    """The rank of each query's best right answer, blockwise. int64 [N]"""
    relevant, compare = measured.pairs.relevant, measured.compare
    found = np.ones(len(queries), np.int64)
    for first in range(0, len(queries), BLOCK):
        rows = queries[first : first + BLOCK]
        own = [
            _own(rows[i : i + 1], candidates, relevant[first + i], compare)
            for i in range(len(rows))
        ]
        best = np.array([c for c, _ in own])[:, None]
        score = np.array([s for _, s in own], np.float32)[:, None]
        for start in range(0, len(candidates), BLOCK):
            scores = compare(rows, candidates[start : start + BLOCK])  # [n, m]
            numbers = np.arange(start, start + scores.shape[1])
            ahead = (scores > score) | ((scores == score) & (numbers > best))
            found[first : first + BLOCK] += np.count_nonzero(ahead & (numbers != best), axis=1)
    return found


def _own(
    query: Vectors, candidates: Vectors, wanted: tuple[int, ...], compare: Compare
) -> tuple[int, np.float32]:
    """The best right answer of a query, and its score."""
    scores = compare(query, candidates[list(wanted)])[0]
    return max(zip(wanted, scores, strict=True), key=lambda pair: (pair[1], pair[0]))


def _one(
    index: int,
    rank: int,
    queries: Vectors,
    candidates: Vectors,
    measured: Measured,
    split: Split,
) -> dict[str, Any]:
    pairs = measured.pairs
    scores = measured.compare(queries[index : index + 1], candidates)[0]
    right = set(pairs.relevant[index])
    order = len(scores) - 1 - np.argsort(-scores[::-1], kind="stable")
    wrong = [int(c) for c in order[: FOUND + len(right)] if int(c) not in right][:FOUND]
    row = int(pairs.queries[index])
    best = max(pairs.relevant[index], key=lambda c: (scores[c], c))
    return {
        "query": _text(split.queries[row], split),
        "place": split.places[row],
        "rank": rank,
        "expected": _candidate(best, scores, measured, split),
        "found": [_candidate(c, scores, measured, split) for c in wrong],
    }


def _candidate(index: int, scores: np.ndarray, measured: Measured, split: Split) -> dict[str, Any]:
    pairs = measured.pairs
    score = round(float(scores[index]), 4)
    if index >= len(pairs.candidates):  # an explicit negative, which has no row of its own
        assert split.negatives is not None
        text = split.negatives.texts[int(pairs.negatives[index - len(pairs.candidates)])]
        return {"text": _text(text, split), "place": "", "name": "", "score": score}
    row = int(pairs.candidates[index])
    return {
        "text": _text(split.positives[row], split),
        "place": split.places[row],
        "name": split.names[row],
        "score": score,
    }


def _text(item: str, split: Split) -> str:
    return shortened(shown(item, split.images), CHARACTERS)
