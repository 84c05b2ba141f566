"""A program whose rows are texts: what it minimises, and that chunks, passes and devices change nothing of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from specrun.runtime.losses.masked import cross_entropy, masked_diffusion
from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import build_program
from specrun.runtime.trees import flatten
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.segments import MaskingRange, masking_rate
from tests.runtime.plans import make_batch, make_language_model, make_masked, make_text_plan

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def after_a_step(plan: Plan, **changes: Any) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    program = build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    batch = make_batch(plan)._replace(**changes)
    new, metrics = program.step(state, batch, control_at(plan, 0))
    params = {k: np.asarray(v) for k, v in flatten(new["params"]).items()}
    return params, {k: float(v) for k, v in metrics.items()}


@pytest.mark.parametrize("weighting", ["none", "inverse_rate"])
@pytest.mark.parametrize("sampling", ["exact", "bernoulli"])
def test_chunks_of_rows_change_nothing(sampling: str, weighting: str) -> None:
    loss = make_masked(sampling=sampling, weighting=weighting, label_smoothing=0.1)
    plain = {
        "optimizer": {"eps": 1.0}
    }  # so that a gradient of 0 does not become a step of its rounding
    whole, metrics = after_a_step(make_text_plan(losses=(loss,), **plain))
    small = {"micro_batch_size": 2, "score_tile_rows": 3}
    chunked, again = after_a_step(make_text_plan(losses=(loss,), train=small, **plain))
    assert again["loss"] == pytest.approx(metrics["loss"], rel=1e-6)
    assert again["grad_norm"] == pytest.approx(metrics["grad_norm"], rel=1e-5)
    for path, leaf in whole.items():
        np.testing.assert_allclose(chunked[path], leaf, atol=1e-7, err_msg=path)


@pytest.mark.parametrize(("around", "tokens"), [((), 4), ((1,), 3), ((1, 2), 2)])
def test_the_bound_is_over_the_tokens_that_can_be_hidden(
    around: tuple[int, ...], tokens: int
) -> None:
    """What the tokenizer puts around a text, ids 1 and 2 here, is never asked for."""
    batch = SimpleNamespace(
        weight=np.array([1.0, 0.5], np.float32),
        target_ids=np.array([[1, 5, 6, 2, 0], [1, 7, 5, 2, 0]]),
        query_mask=np.array([[True] * 4 + [False]] * 2),
        hidden=np.array([[False, True, False, False, False]] * 2),
        rate=np.array([0.5, 0.5], np.float32),
    )
    bound = make_masked(weighting="inverse_rate")
    counted = masked_diffusion(bound, lambda parameters, states: states, 2, around)
    assert float(counted.weight(batch)) == 1.5 * tokens
    mean = masked_diffusion(make_masked(), lambda parameters, states: states, 2, around)
    assert float(mean.weight(batch)) == 1.5


def test_passes_are_of_one_mean() -> None:
    """Two passes of four rows are one of eight: the mean is over hidden tokens, not over passes."""
    model = make_language_model(**STILL)
    one = make_text_plan(model=model)
    two = make_text_plan(
        model=model, train={"batch_size": 4, "micro_batch_size": 4, "accumulation_steps": 2}
    )
    batch = make_batch(one)
    cut = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[2:]), batch)
    assert after_a_step(two, **cut._asdict())[1]["loss"] == pytest.approx(
        after_a_step(one)[1]["loss"], rel=1e-6
    )


def test_rows_of_weight_0_take_no_part() -> None:
    plan = make_text_plan(model=make_language_model(**STILL))
    batch = make_batch(plan)
    weight = np.ones((1, 8), np.float32)
    weight[0, 5:] = 0
    ids = batch.query_ids.copy()
    ids[0, 5:] = 3
    _, metrics = after_a_step(plan, weight=weight)
    _, other = after_a_step(plan, weight=weight, query_ids=ids)
    assert other["loss"] == metrics["loss"]
    assert other["loss"] != after_a_step(plan)[1]["loss"]


@pytest.mark.parametrize("head", ["own", "tied"])
def test_the_loss_falls_where_there_is_something_to_learn(head: Any) -> None:
    plan = make_text_plan(
        model=make_language_model(head, **STILL), optimizer={"learning_rate": 0.02}
    )
    program = build_program(plan)
    state = program.enter(0, program.init(0))
    batch = make_batch(plan)
    ids = np.broadcast_to(
        np.arange(2, 14, dtype=np.int32), batch.query_ids.shape
    )  # always the same text
    batch = batch._replace(query_ids=np.ascontiguousarray(ids))
    first = float(program.evaluate(state, batch, control_at(plan, 0))["loss"])
    for _ in range(30):
        state, _ = program.step(state, batch, control_at(plan, 0))
    assert float(program.evaluate(state, batch, control_at(plan, 0))["loss"]) < first / 4


def test_held_out_rows_are_always_hidden_alike() -> None:
    plan = make_text_plan()
    program = build_program(plan)
    state = program.enter(0, program.init(0))
    batch, control = make_batch(plan), control_at(plan, 0)
    first = float(program.evaluate(state, batch, control)["loss"])
    stepped, _ = program.step(state, batch, control)
    back = {**stepped, "params": program.enter(0, program.init(0))["params"]}
    assert float(program.evaluate(back, batch, control)["loss"]) == first


def test_the_rate_falls_from_epoch_to_epoch() -> None:
    span = MaskingRange(minimum=0.2, maximum=0.6)
    assert [masking_rate(span, e, 2) for e in range(2)] == pytest.approx([0.6, 0.4])
    assert [masking_rate(span, e, 4) for e in range(4)] == pytest.approx([0.6, 0.5, 0.4, 0.3])


def test_the_rate_is_no_new_trace() -> None:
    plan = make_text_plan()
    program = build_program(plan)
    state = program.enter(0, program.init(0))
    for step in range(4):
        state, _ = program.step(state, make_batch(plan, step), control_at(plan, step))
    assert sum(program.traces().values()) == 1


def test_smoothing_spreads_over_all_ids() -> None:
    logits = np.array([[2.0, 0.0, -1.0]], np.float32)
    log_p = logits - np.log(np.exp(logits).sum())
    expected = -(0.9 * log_p[0, 1] + 0.1 * log_p.mean())
    np.testing.assert_allclose(cross_entropy(logits, np.array([1]), 0.1), [expected], rtol=1e-6)
