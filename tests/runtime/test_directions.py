"""Both directions of retrieval, and the correlation of similarities with scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from specrun.runtime.data.relevance import relevance
from specrun.runtime.loop.evaluate import Evaluator
from specrun.runtime.metrics import spearman
from specrun.spec.diagnostics import RunError
from tests.compiler.test_semantics import BASE, found
from tests.runtime.plans import make_plan

SCORED = BASE["data"].replace("a.jsonl", "a.jsonl, columns: {score: s}")
BACK = "positive_to_query"


def make_evaluator(metrics: tuple[str, ...], directions: tuple[str, ...], scores=None):
    """Texts of one token each, whose vector is the token's."""
    draw = np.random.default_rng(2)
    table = draw.normal(size=(64, 16)).astype(np.float32)
    queries, positives = ["a", "b", "a", "c", "d"], ["p", "q", "r", "p", "q"]
    split = SimpleNamespace(queries=queries, positives=positives, negatives=None)
    ids = [[np.array([ord(t) % 64], np.int32) for t in texts] for texts in (queries, positives)]
    held = SimpleNamespace(queries=ids[0], positives=ids[1], negatives=None)
    plan = make_plan(evaluation={"metrics": metrics, "directions": directions, "dims": (16,)})
    program = SimpleNamespace(encode=lambda state, ids, mask, side: table[ids[:, 0]])
    tokens = SimpleNamespace(validation=held, pad_id=0)
    assert plan.evaluation
    made = Evaluator(plan, plan.evaluation, relevance(split), tokens, program, scores)  # type: ignore[arg-type]
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)

    def cosine(a: str, b: str) -> float:
        return float(unit[ord(a) % 64] @ unit[ord(b) % 64])

    return made, cosine


def test_positives_look_for_their_queries():
    evaluate, cosine = make_evaluator(("recall@1", "mrr@10"), ("query_to_positive", BACK))
    values = evaluate(None)
    asked = {"p": {"a", "c"}, "q": {"b", "d"}, "r": {"a"}}
    firsts, ranks = [], []
    for positive, wanted in asked.items():
        order = sorted("abcd", key=lambda q: -cosine(q, positive))
        firsts.append(len({order[0]} & wanted) / len(wanted))
        ranks.append(1 / (1 + min(order.index(q) for q in wanted)))
    assert values[f"{BACK}/recall@1"] == pytest.approx(np.mean(firsts))
    assert values[f"{BACK}/mrr@10"] == pytest.approx(np.mean(ranks))
    assert set(values) == {"recall@1", "mrr@10", f"{BACK}/recall@1", f"{BACK}/mrr@10"}
    alone, _ = make_evaluator(("recall@1",), (BACK,))
    assert alone(None) == {f"{BACK}/recall@1": values[f"{BACK}/recall@1"]}


def test_similarities_are_correlated_with_the_scores_of_the_rows():
    scores = np.array([3.0, 1.0, 1.0, np.nan, 2.0])
    evaluate, cosine = make_evaluator(("spearman",), ("query_to_positive",), scores)
    pairs = [("a", "p"), ("b", "q"), ("a", "r"), ("d", "q")]
    right = spearman(np.array([cosine(*pair) for pair in pairs]), scores[[0, 1, 2, 4]])
    assert evaluate(None) == {"spearman": pytest.approx(right)}
    assert abs(right) > 0.1


def test_equal_numbers_share_the_mean_of_their_ranks():
    """Ranked by hand: 1.5 1.5 3 4 and 1 3 3 3."""
    x, y = np.array([2.0, 2.0, 5.0, 9.0]), np.array([0.0, 1.0, 1.0, 1.0])
    a, b = np.array([1.5, 1.5, 3, 4]) - 2.5, np.array([1.0, 3, 3, 3]) - 2.5
    assert spearman(x, y) == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)))
    assert spearman(x, x**3) == pytest.approx(1.0)
    assert spearman(x, -x) == pytest.approx(-1.0)
    assert spearman(np.ones(4), y) == 0.0


def test_ties_are_scipys():
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    for count in (2, 5, 200):
        x = np.round(draw.normal(size=count), 1)
        y = np.concatenate([[0.0, 1.0], draw.integers(0, 5, count - 2)])
        x[0] += 10
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_what_cannot_be_correlated_is_an_error():
    with pytest.raises(RunError, match="two different scores"):
        spearman(np.arange(3.0), np.ones(3))
    with pytest.raises(RunError, match="not finite"):
        spearman(np.array([1.0, np.nan]), np.arange(2.0))


@pytest.mark.parametrize(
    ("sections", "code", "path"),
    [
        (
            {"evaluation": f"{{select_best: {BACK}/mrr@10}}"},
            "unknown-metric",
            "evaluation.select_best",
        ),
        ({"evaluation": f"{{directions: [{BACK}]}}"}, "unknown-metric", "evaluation.select_best"),
        ({"evaluation": "{directions: []}"}, "too-few-items", "evaluation.directions"),
        ({"evaluation": "{directions: [up]}"}, "not-allowed", "evaluation.directions[0]"),
        (
            {"evaluation": "{metrics: [spearman], select_best: spearman}"},
            "no-scores",
            "evaluation.metrics",
        ),
        (
            {
                "data": SCORED,
                "evaluation": f"{{metrics: [spearman], select_best: spearman, directions: [{BACK}]}}",
            },
            "no-effect",
            "evaluation.directions",
        ),
        ({"data": SCORED}, "no-effect", "data.columns.score"),
    ],
)
def test_what_cannot_be_measured_is_refused(sections: dict[str, str], code: str, path: str):
    assert ("error", code, path) in found(**sections)


@pytest.mark.parametrize(
    "sections",
    [
        {"evaluation": f"{{directions: [{BACK}], select_best: {BACK}/mrr@10}}"},
        {"data": SCORED, "evaluation": "{metrics: [spearman], select_best: spearman}"},
        {
            "data": SCORED,
            "losses": "[{kind: cosent}]",
            "evaluation": "{metrics: [spearman], select_best: spearman}",
        },
    ],
)
def test_what_can_be_measured_is_not(sections: dict[str, str]):
    assert found(**sections) == []
