"""BM25 on the words of identifiers: the baseline that a trained encoder must beat."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from specrun.runtime.data.relevance import relevance
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.metrics import depth, metrics_of_ranking
from specrun.spec.plan.plan import Plan

K1, B = 1.5, 0.75
METRICS = ("mrr@10", "ndcg@10", "recall@1", "recall@10")


def words(text: str) -> list[str]:
    """Lower-case words, identifiers taken apart at underscores and capitals."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.findall(r"[a-z0-9]+", apart.replace("_", " ").lower())


class BM25:
    """Okapi BM25 with the idf ``log(1 + (N − n + ½) / (n + ½))`` (Robertson and Zaragoza 2009; Lucene's idf)."""

    def __init__(self, documents: Sequence[str]):
        counts = [Counter(words(d)) for d in documents]
        lengths = np.array([sum(c.values()) for c in counts], np.float64)
        self._norm = K1 * (1 - B + B * lengths / max(lengths.mean() if len(lengths) else 1.0, 1e-9))
        self._postings: dict[str, list[tuple[int, int]]] = {}
        for index, count in enumerate(counts):
            for word, times in count.items():
                self._postings.setdefault(word, []).append((index, times))
        self._size = len(documents)

    def scores(self, query: str) -> np.ndarray:
        """A score per document, float64 [documents]."""
        total = np.zeros(self._size)
        for word in words(query):
            postings = self._postings.get(word)
            if postings:
                index, times = np.array(postings).T
                idf = math.log(1 + (self._size - len(index) + 0.5) / (len(index) + 0.5))
                total[index] += idf * times * (K1 + 1) / (times + self._norm[index])
        return total


def score_plan(plan: Plan) -> dict[str, float]:
    """BM25's metrics on the plan's held-out rows; empty when it holds none out."""
    split = ensure_rows(plan.data).validation
    if not len(split):
        return {}
    metrics = plan.evaluation.metrics if plan.evaluation else METRICS
    pairs = relevance(split)
    bm25 = BM25([split.positives[int(i)] for i in pairs.candidates])
    scores = np.stack([bm25.scores(split.queries[int(i)]) for i in pairs.queries])
    order = scores.shape[1] - 1 - np.argsort(-scores[:, ::-1], axis=1, kind="stable")
    return metrics_of_ranking(order[:, : depth(metrics)], pairs.relevant, metrics)
