"""Metrics against pytrec_eval, on scores without ties and with nothing but ties."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from specrun.runtime.metrics import depth, metrics_of_ranking, rank_scores, retrieval_metrics, top_k
from specrun.spec.diagnostics import RunError

CUTS = (1, 3, 10, 100)
NAMES = tuple(f"{kind}@{k}" for kind in ("mrr", "ndcg", "recall", "precision") for k in CUTS)


def by_trec(scores: np.ndarray, relevant: Sequence[set[int]]) -> dict[str, float]:
    """The same metrics by pytrec_eval; MRR@k is its reciprocal rank over each query's first k."""
    name = "{:09d}".format
    truth = {str(i): {name(j): 1 for j in wanted} for i, wanted in enumerate(relevant)}
    run = {str(i): {name(j): float(x) for j, x in enumerate(row)} for i, row in enumerate(scores)}
    cuts = ",".join(map(str, CUTS))
    found = mean(truth, run, {f"ndcg_cut.{cuts}", f"recall.{cuts}", f"P.{cuts}"})
    answer = {f"ndcg@{k}": found[f"ndcg_cut_{k}"] for k in CUTS}
    answer |= {f"recall@{k}": found[f"recall_{k}"] for k in CUTS}
    answer |= {f"precision@{k}": found[f"P_{k}"] for k in CUTS}
    for k in CUTS:
        first = {q: dict(sorted(r.items(), key=_best_first)[:k]) for q, r in run.items()}
        answer[f"mrr@{k}"] = mean(truth, first, {"recip_rank"})["recip_rank"]
    return answer


def _best_first(item: tuple[str, float]) -> tuple[float, int]:
    return -item[1], -int(item[0])


def mean(truth: dict, run: dict, measures: set[str]) -> dict[str, float]:  # type: ignore[type-arg]
    rows = list(pytrec_eval.RelevanceEvaluator(truth, measures).evaluate(run).values())
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def case(seed: int, kind: str) -> tuple[np.ndarray, np.ndarray, list[set[int]]]:
    """Queries, candidates and what is relevant: one to six candidates for each query."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 30)), int(rng.integers(1, 150))
    if kind == "random":
        queries, candidates = rng.standard_normal((n, 8)), rng.standard_normal((m, 8))
    elif kind == "ties":
        queries, candidates = rng.integers(-1, 2, (n, 3)), rng.integers(-1, 2, (m, 3))
    else:
        queries, candidates = np.zeros((n, 2)), np.zeros((m, 2))
    most = min(m, 6) + 1
    relevant = [set(rng.choice(m, rng.integers(1, most), replace=False).tolist()) for _ in range(n)]
    return queries.astype(np.float32), candidates.astype(np.float32), relevant


@pytest.mark.parametrize("kind", ["random", "ties", "all equal"])
@pytest.mark.parametrize("seed", range(12))
def test_equal_to_trec_eval(kind: str, seed: int) -> None:
    queries, candidates, relevant = case(seed, kind)
    wanted = by_trec(queries @ candidates.T, relevant)
    for block in (1, 7, 2048):
        found = retrieval_metrics(queries, candidates, relevant, NAMES, block=block)
        assert found == pytest.approx(wanted, abs=1e-12)


@given(
    st.lists(
        st.lists(
            st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 1e-40, 0.5, 3e38]), min_size=5, max_size=5
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 7),
)
@settings(deadline=None)
def test_ranking_of_given_scores_puts_the_later_of_equals_first(
    scores: list[list[float]], k: int
) -> None:
    found = rank_scores(np.array(scores), k).tolist()
    wanted = [sorted(range(5), key=lambda j, r=row: (-r[j], -j))[:k] for row in scores]  # type: ignore[misc]
    assert found == wanted


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 5, 64]), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_blocks_do_not_change_the_ranking(seed: int, block: int, k: int) -> None:
    queries, candidates, _ = case(seed, "ties")
    scores, ranking = top_k(queries, candidates, k, block=block)
    whole = queries @ candidates.T
    assert ranking.tolist() == rank_scores(whole, k).tolist()
    assert scores.tolist() == np.take_along_axis(whole, ranking, axis=1).tolist()


def test_scores_of_every_size_sort_as_numbers() -> None:
    values = np.array([-3e38, -1.0, -1e-40, 0.0, 1e-40, 1.0, 3e38], np.float32)
    scores, ranking = top_k(np.ones((1, 1), np.float32), values[:, None], 7)
    assert ranking.tolist() == [[6, 5, 4, 3, 2, 1, 0]]
    assert scores[0].tolist() == values[::-1].tolist()


def test_minus_zero_ties_with_zero() -> None:
    candidates = np.array([[0.0], [-0.0], [0.0]], np.float32)
    assert top_k(np.ones((1, 1), np.float32), candidates, 3)[1].tolist() == [[2, 1, 0]]


def test_fewer_candidates_than_k() -> None:
    eye = np.eye(2, dtype=np.float32)
    assert retrieval_metrics(eye, eye, [{0}, {1}], ("mrr@10", "recall@10")) == {
        "mrr@10": 1.0,
        "recall@10": 1.0,
    }


def test_precision_divides_by_k_where_candidates_are_fewer() -> None:
    eye = np.eye(2, dtype=np.float32)
    assert retrieval_metrics(eye, eye, [{0}, {1}], ("precision@4",)) == {"precision@4": 0.25}


def test_no_queries_and_no_candidates() -> None:
    none = np.zeros((0, 4), np.float32)
    assert np.isnan(retrieval_metrics(none, none, [], ("mrr@10",))["mrr@10"])
    assert top_k(none, np.ones((3, 4), np.float32), 2)[1].shape == (0, 2)
    assert top_k(np.ones((3, 4), np.float32), none, 2)[1].shape == (3, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_embeddings_that_are_not_finite_are_refused(bad: float) -> None:
    candidates = np.eye(3, dtype=np.float32)
    candidates[1, 1] = bad
    with pytest.raises(RunError, match="not finite"):
        retrieval_metrics(np.eye(3, dtype=np.float32), candidates, [{0}, {1}, {2}], ("mrr@10",))


def test_a_query_without_anything_relevant_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one relevant"):
        metrics_of_ranking(np.zeros((1, 1), np.int64), [set()], ("mrr@1",))


def test_the_matrix_of_all_scores_is_never_whole() -> None:
    queries = np.random.default_rng(0).standard_normal((600, 4)).astype(np.float32)
    candidates = np.random.default_rng(1).standard_normal((6000, 4)).astype(np.float32)
    tracemalloc.start()
    top_k(queries, candidates, 10, block=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 600 * 6000 * 4 / 8


def test_the_depth_is_the_largest_k() -> None:
    assert depth(("mrr@10", "recall@100", "ndcg@3")) == 100
