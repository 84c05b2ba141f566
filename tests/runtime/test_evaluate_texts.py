"""Evaluation of a masked language model: exact counts, the same hidden tokens always, and what it says of them."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from specrun.runtime.data.tokens import Ragged, Tokens, TokenSplit
from specrun.runtime.loop.evaluate_texts import TextEvaluator
from specrun.runtime.loop.evaluators import worst_json
from specrun.runtime.program.program import build_program
from specrun.spec.plan.evaluation import EvaluationPlan, improves
from specrun.spec.plan.plan import Plan
from tests.runtime.plans import make_text_plan

RATES = (0.25, 1.0)
LENGTHS = (9, 3, 12, 1, 6)


def make_tokens() -> Tokens:
    draw = np.random.default_rng(3)
    ids = draw.integers(2, 64, sum(LENGTHS)).astype(np.int32)
    split = Ragged(ids, np.cumsum([0, *LENGTHS]).astype(np.int64))
    return Tokens(TokenSplit(split, split), TokenSplit(split, split), 0)


def evaluator(plan: Plan, batch_size: int = 4, rates: tuple[float, ...] = RATES) -> TextEvaluator:
    policy = EvaluationPlan(
        after=(4,),
        batch_size=batch_size,
        metrics=("loss", "perplexity", "accuracy"),
        dims=(),
        select_best="loss",
        masking_rates=rates,
        early_stopping=None,
    )
    return TextEvaluator(plan, policy, make_tokens(), build_program(plan))


@pytest.fixture(scope="module")
def state():
    program = build_program(make_text_plan())
    return program.init(7)


def test_so_many_tokens_are_hidden_as_the_rates_say(state) -> None:
    told = evaluator(make_text_plan()).measure(state)
    hidden = [sum(max(1, math.floor(n * r)) for r in RATES) for n in LENGTHS]
    np.testing.assert_array_equal(told.count, hidden)


def test_batches_and_tiles_change_nothing_but_rounding(state) -> None:
    whole = evaluator(make_text_plan(), 5).measure(state)
    for batch, tile in ((2, 8), (4, 1)):
        plan = make_text_plan(train={"score_tile_rows": tile})
        again = evaluator(plan, batch).measure(state)
        np.testing.assert_allclose(again.loss, whole.loss, rtol=1e-5)
        np.testing.assert_array_equal(again.count, whole.count)
        assert again.values["accuracy"] == whole.values["accuracy"]


def test_metrics_are_means_over_rates_of_those_at_each(state) -> None:
    values = evaluator(make_text_plan()).measure(state).values
    assert values["loss"] == pytest.approx((values["loss@0.25"] + values["loss@1"]) / 2)
    assert values["perplexity"] == pytest.approx(math.exp(values["loss"]))
    assert values["loss"] == pytest.approx(math.log(64), rel=0.1)  # nothing is learned yet
    one = evaluator(make_text_plan(), rates=(0.25,)).measure(state).values
    assert one == {
        "loss": pytest.approx(values["loss@0.25"]),
        "perplexity": pytest.approx(values["perplexity@0.25"]),
        "accuracy": values["accuracy@0.25"],
    }


def test_the_dearest_texts_come_first(state) -> None:
    told = evaluator(make_text_plan()).measure(state)
    split = SimpleNamespace(queries=list("abcde"), places=[f"f:{i}" for i in range(5)])
    worst = json.loads(worst_json(told, split, 4))["worst"]  # type: ignore[arg-type]
    losses = [x["loss"] for x in worst]
    assert losses == sorted(losses, reverse=True)
    assert {x["text"] for x in worst} == set("abcde")
    mean = told.loss / told.count
    assert worst[0]["text"] == "abcde"[int(np.argmax(mean))]


def test_a_loss_improves_when_it_falls() -> None:
    assert improves("loss", 1.0, 2.0)
    assert improves("perplexity@0.5", 1.0, 2.0)
    assert not improves("loss", 2.0, 1.0)
    assert not improves("loss", 1.95, 2.0, min_delta=0.1)
    assert improves("accuracy", 2.0, 1.0)
    assert improves("mrr@10", 0.5, 0.4)
    assert not improves("mrr@10", 0.45, 0.4, min_delta=0.1)
