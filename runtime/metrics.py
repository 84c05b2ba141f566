"""Retrieval metrics at k, equal to trec_eval's (pytrec_eval): MRR, nDCG and recall over binary relevance.

Ties are broken as trec_eval breaks them when documents are numbered in order: of equal scores the later document
comes first. So the ranking is a function of the scores alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCK = 1024


def top_k(queries: np.ndarray, candidates: np.ndarray, k: int, *, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """(scores float32, indices int64), both [N, min(k, M)], best first, by dot product of [N, D] with [M, D].

    Works on ``block`` queries at a time; the N × M matrix is never whole.
    """
    k = min(k, len(candidates))
    found = [_best(queries[i : i + block] @ candidates.T, k) for i in range(0, len(queries), block)]
    if not found:
        return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
    scores, indices = zip(*found, strict=True)
    return np.concatenate(scores), np.concatenate(indices)


def metrics_of_ranking(
    ranking: np.ndarray, relevant: Sequence[Sequence[int]], metrics: Sequence[str]
) -> dict[str, float]:
    """Means over queries. ``ranking`` holds candidate indices [N, K], best first; ``relevant[i]`` those of query i.

    ``mrr@k``: 1 / rank of the first relevant one within k, else 0. ``recall@k``: share of the relevant ones within
    k. ``ndcg@k``: Σ 1/log₂(rank+1) over the best possible sum. K must reach the largest k, or hold all candidates.
    """
    hits = np.zeros(ranking.shape, bool)
    for row, (ranks, wanted) in enumerate(zip(ranking, relevant, strict=True)):
        hits[row] = np.isin(ranks, np.asarray(wanted, np.int64))
    totals = np.array([len(set(w)) for w in relevant], np.int64)
    return {name: _metric(name, hits, totals) for name in metrics}


def retrieval_metrics(
    queries: np.ndarray, candidates: np.ndarray, relevant: Sequence[Sequence[int]], metrics: Sequence[str]
) -> dict[str, float]:
    """Metrics of embeddings [N, D] against [M, D], by dot product over all candidates."""
    _, ranking = top_k(queries, candidates, depth(metrics))
    return metrics_of_ranking(ranking, relevant, metrics)


def depth(metrics: Sequence[str]) -> int:
    """The largest k among the metrics."""
    return max(int(name.partition("@")[2]) for name in metrics)


def _best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each row, ties to the larger index: a stable sort of the reversed columns."""
    count = scores.shape[1]
    if k < count // 4:
        floor = np.partition(scores, count - k, axis=1)[:, count - k]
        order = np.stack([_best_above(row, low, k) for row, low in zip(scores, floor, strict=True)])
    else:
        order = count - 1 - np.argsort(-scores[:, ::-1], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


def _best_above(row: np.ndarray, low: float, k: int) -> np.ndarray:
    chosen = np.flatnonzero(row >= low)[::-1]
    return chosen[np.argsort(-row[chosen], kind="stable")][:k]


def _metric(name: str, hits: np.ndarray, totals: np.ndarray) -> float:
    kind, _, at = name.partition("@")
    within = hits[:, : int(at)]
    if not len(within):
        return 0.0
    match kind:
        case "mrr":
            first = within.argmax(axis=1)
            values = np.where(within.any(axis=1), 1.0 / (first + 1), 0.0)
        case "recall":
            values = within.sum(axis=1) / np.maximum(totals, 1)
        case "ndcg":
            gains = 1.0 / np.log2(np.arange(within.shape[1]) + 2)
            ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(int(at)) + 2))])
            values = within @ gains / np.maximum(ideal[np.minimum(totals, int(at))], 1e-300)
        case _:
            raise ValueError(f"no metric {name!r}")
    return float(values.mean())
