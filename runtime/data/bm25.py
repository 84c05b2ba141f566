"""BM25 over the words of identifiers: the baseline that a trained encoder must beat."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from specrun.runtime.data.relevance import relevance
from specrun.runtime.data.rows import Split
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.metrics import depth, metrics_of_ranking, rank_scores, ranking_metrics
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import texts_only
from specrun.spec.plan.plan import Plan

K1, B = 1.5, 0.75
METRICS = ("mrr@10", "ndcg@10", "recall@1", "recall@10")
"""What is measured for a plan without evaluation."""

_IN_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+|\d+")
_AT_ONCE = 256


def words(text: str) -> list[str]:
    """Lower-case words, with identifiers taken apart at underscores, capitals and digits."""
    return _WORD.findall(_IN_CAMEL_CASE.sub(" ", text).lower())


class BM25:
    """Okapi BM25 with the idf ``log(1 + (N - n + ½) / (n + ½))`` (Robertson and Zaragoza 2009, as in Lucene)."""

    def __init__(self, documents: Sequence[str]):
        counts = [Counter(words(document)) for document in documents]
        lengths = np.array([sum(count.values()) for count in counts], np.float64)
        mean = max(lengths.mean(), 1.0) if len(lengths) else 1.0
        self._norm = K1 * (1 - B + B * lengths / mean)
        self._postings: dict[str, list[tuple[int, int]]] = {}
        for index, count in enumerate(counts):
            for word, times in count.items():
                self._postings.setdefault(word, []).append((index, times))

    def scores(self, query: str) -> np.ndarray:
        """A score for each document. float64 [documents]"""
        size = len(self._norm)
        total = np.zeros(size)
        for word in words(query):
            if postings := self._postings.get(word):
                index, times = np.array(postings).T
                idf = math.log(1 + (size - len(index) + 0.5) / (len(index) + 0.5))
                total[index] += idf * times * (K1 + 1) / (times + self._norm[index])
        return total


def score_plan(plan: Plan) -> dict[str, float]:
    """BM25's metrics on the plan's held-out rows; empty when it holds none out. InputError where rows are texts."""
    if texts_only(plan.data.source):
        raise InputError(
            "rows of the kind `text` are texts alone: none is to be found for another",
            code="no-queries",
            hint="give a plan of rows with queries and positives",
        )
    metrics = plan.evaluation.metrics if plan.evaluation else METRICS
    return score_split(ensure_rows(plan.data).validation, metrics)


def score_split(split: Split, metrics: Sequence[str]) -> dict[str, float]:
    """BM25's metrics of all queries of a split against all its candidates; empty for an empty split."""
    if not len(split):
        return {}
    metrics = ranking_metrics(metrics)
    if not metrics:
        return {}
    pairs, k = relevance(split), depth(metrics)
    texts = split.negatives.texts if split.negatives else None
    documents = BM25(pairs.offered(split.positives, texts))
    queries = [split.queries[int(row)] for row in pairs.queries]
    ranking = [
        rank_scores(np.stack([documents.scores(q) for q in queries[i : i + _AT_ONCE]]), k)
        for i in range(0, len(queries), _AT_ONCE)
    ]
    return metrics_of_ranking(np.concatenate(ranking), pairs.relevant, metrics)
