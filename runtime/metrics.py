"""Retrieval metrics at k over binary relevance, equal to trec_eval's: MRR, nDCG, recall, precision.

Candidates of equal score rank by their number, the larger first. That is trec_eval's rule for
documents named by their numbers, padded with zeros; so a ranking is a function of the scores alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from specrun.runtime.vectors import Compare, Vectors, products
from specrun.spec.diagnostics import RunError

BLOCK = 2048
"""Rows and columns of the scores held at a time: 16 MiB, whatever the number of candidates."""

_INDEX_BITS = np.uint64(32)


def retrieval_metrics(
    queries: Vectors,
    candidates: Vectors,
    relevant: Sequence[Collection[int]],
    metrics: Sequence[str],
    *,
    compare: Compare = products,
    block: int = BLOCK,
) -> dict[str, float]:
    """Metrics by name of embeddings float32 [N, D] against [M, D], by dot product over all candidates.

    ``compare`` scores queries and candidates otherwise, as MaxSim does texts of many vectors.

    ``relevant[i]`` holds the candidates that query i should find, at least one. Names are
    ``mrr@k``, ``ndcg@k``, ``recall@k`` and ``precision@k``. RunError for embeddings that are not finite.
    """
    _, ranking = top_k(queries, candidates, depth(metrics), compare=compare, block=block)
    return metrics_of_ranking(ranking, relevant, metrics)


def top_k(
    queries: Vectors,
    candidates: Vectors,
    k: int,
    *,
    compare: Compare = products,
    block: int = BLOCK,
) -> tuple[np.ndarray, np.ndarray]:
    """The best candidates of each query, best first: scores float32 and indices int64, [N, min(k, M)].

    Scores are dot products of float32 [N, D] with [M, D], or what ``compare`` says. RunError where one is not finite.
    """
    k = min(k, len(candidates))
    keys = [
        _best_keys(queries[i : i + block], candidates, k, compare, block)
        for i in _starts(queries, block)
    ]
    found = np.concatenate(keys) if keys else np.zeros((0, k), np.uint64)
    return _scores(found), (found & np.uint64(2**32 - 1)).astype(np.int64)


def rank_scores(scores: np.ndarray, k: int) -> np.ndarray:
    """The indices of the k best scores of each row, best first: int64 [N, min(k, M)] of float [N, M]."""
    last = scores.shape[1] - 1
    return (last - np.argsort(-scores[:, ::-1], axis=1, kind="stable"))[:, :k]


def metrics_of_ranking(
    ranking: np.ndarray, relevant: Sequence[Collection[int]], metrics: Sequence[str]
) -> dict[str, float]:
    """Means over queries. ``ranking`` is [N, K], best first; K reaches the largest k or all candidates.

    ``mrr@k``: 1 / rank of the first relevant candidate within k, else 0. ``recall@k``: the share of
    the relevant ones within k. ``precision@k``: the relevant ones within k over k, also where there
    are fewer candidates. ``ndcg@k``: Σ 1 / log₂(rank + 1) over the greatest possible such sum
    (Järvelin and Kekäläinen 2002). NaN without queries; ValueError for a query without relevant ones.
    """
    totals = np.array([len(set(wanted)) for wanted in relevant], np.int64)
    if len(ranking) != len(totals) or not totals.all():
        raise ValueError("every query needs a ranking and at least one relevant candidate")
    if not len(totals):
        return dict.fromkeys(metrics, float("nan"))
    wanted_by_row = zip(ranking, relevant, strict=True)
    hits = np.stack([np.isin(row, list(wanted)) for row, wanted in wanted_by_row])
    return {name: _mean(name, hits, totals) for name in metrics}


def ranking_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Those of the metrics that are taken of a ranking: all but Spearman's."""
    return tuple(name for name in metrics if "@" in name)


def spearman(similarities: np.ndarray, scores: np.ndarray) -> float:
    """Spearman's rank correlation of two lists of N numbers; equal ones share the mean of their ranks.

    Equal to scipy's ``spearmanr``, but 0 where all similarities are equal, which order nothing.
    RunError where the scores are fewer than two different ones, or a similarity is not finite.
    """
    if not np.isfinite(similarities).all():
        raise RunError("an embedding is not finite, so nothing can be compared by it")
    if len(np.unique(scores)) < 2:
        raise RunError(
            "`spearman` needs held-out rows with at least two different scores in data.columns.score"
        )
    x, y = (r - r.mean() for r in (_ranks(similarities), _ranks(scores)))
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread > 0 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values at the mean of theirs. float64 [N]"""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def depth(metrics: Sequence[str]) -> int:
    """The largest k among the metrics' names."""
    return max(int(name.partition("@")[2]) for name in metrics)


def _starts(rows: Vectors, block: int) -> range:
    return range(0, len(rows), block)


def _best_keys(
    queries: Vectors, candidates: Vectors, k: int, compare: Compare, block: int
) -> np.ndarray:
    """Keys of the k best candidates of a block of queries, falling. uint64 [n, k]"""
    best = np.zeros((len(queries), 0), np.uint64)
    for start in _starts(candidates, block):
        with np.errstate(invalid="ignore", over="ignore"):
            scores = compare(queries, candidates[start : start + block])
        if not np.isfinite(scores).all():
            raise RunError("an embedding is not finite, so nothing can be ranked by it")
        best = _largest(np.concatenate([best, _keys(scores, start)], axis=1), k)
    return np.sort(best, axis=1)[:, ::-1]


def _largest(keys: np.ndarray, k: int) -> np.ndarray:
    count = keys.shape[1]
    return keys if count <= k else np.partition(keys, count - k, axis=1)[:, count - k :]


def _keys(scores: np.ndarray, first: int) -> np.ndarray:
    """Scores and candidate numbers as integers that sort as the ranking does: all keys differ.

    A float's bits sort as the float does once negative ones are inverted and the sign bit is
    flipped. Adding zero makes -0 a 0.
    """
    bits = (scores.astype(np.float32, copy=False) + np.float32(0)).view(np.uint32)
    sign = np.uint32(1 << 31)
    rising = np.where(bits & sign, ~bits, bits | sign).astype(np.uint64)
    return rising << _INDEX_BITS | np.arange(first, first + scores.shape[1], dtype=np.uint64)


def _scores(keys: np.ndarray) -> np.ndarray:
    """The inverse of ``_keys``."""
    rising = (keys >> _INDEX_BITS).astype(np.uint32)
    sign = np.uint32(1 << 31)
    return np.where(rising & sign, rising ^ sign, ~rising).view(np.float32)


def _mean(name: str, hits: np.ndarray, totals: np.ndarray) -> float:
    kind, _, k = name.partition("@")
    return float(_BY_KIND[kind](hits[:, : int(k)], totals, int(k)).mean())


def _mrr(hits: np.ndarray, totals: np.ndarray, k: int) -> np.ndarray:
    if not hits.shape[1]:
        return np.zeros(len(hits))
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)


def _recall(hits: np.ndarray, totals: np.ndarray, k: int) -> np.ndarray:
    return hits.sum(axis=1) / totals


def _precision(hits: np.ndarray, totals: np.ndarray, k: int) -> np.ndarray:
    return hits.sum(axis=1) / k


def _ndcg(hits: np.ndarray, totals: np.ndarray, k: int) -> np.ndarray:
    gains = 1.0 / np.log2(np.arange(max(k, 1)) + 2.0)
    return hits @ gains[: hits.shape[1]] / np.cumsum(gains)[np.minimum(totals, k) - 1]


_BY_KIND: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "mrr": _mrr,
    "recall": _recall,
    "precision": _precision,
    "ndcg": _ndcg,
}
