"""Traces counted are traces promised."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import build_program
from specrun.runtime.program.traces import promised
from specrun.spec.diagnostics import RunError
from tests.runtime.plans import (
    make_batch,
    make_config,
    make_infonce,
    make_model,
    make_plan,
    make_segment,
)


def curriculum():
    """Three stages, two buckets: another trained set, and later another set of losses."""
    losses = (make_infonce(name="a"), make_infonce(name="b", symmetric=False))
    model = make_model(make_config(num_hidden_layers=0, hidden_size=8), losses=losses)
    every = tuple(p.path for p in model.parameters)
    norms = tuple(p for p in every if "norm" in p)
    one = {"a": 1.0, "b": 0.0}
    segments = (
        make_segment(model, trained=norms, loss_weights=one),
        make_segment(
            model,
            first_step=4,
            stop_step=8,
            fresh=tuple(set(every) - set(norms)),
            loss_weights={"a": 0.3},
        ),
        make_segment(
            model,
            first_step=8,
            stop_step=12,
            fresh=(),
            loss_weights=one,
            learning_rate_scale=0.1,
            reset_optimizer=True,
        ),
        make_segment(
            model, first_step=12, stop_step=16, fresh=(), loss_weights={"a": 1.0, "b": 2.0}
        ),
    )
    return make_plan(
        losses=losses, model=model, segments=segments, train={"buckets": ((4, 4), (6, 8))}
    )


def test_a_run_makes_the_promised_traces_once_each():
    plan = curriculum()
    program = build_program(plan)
    state = program.init(plan.seed)
    for index, segment in enumerate(plan.segments):
        state = program.enter(index, state)
        for step in range(segment.first_step, segment.stop_step):
            batch = make_batch(plan, seed=step, bucket=step % 2)
            state, _ = program.step(state, batch, control_at(plan, step))
            program.evaluate(state, batch, control_at(plan, step))
            program.encode(state, batch.query_ids[0], batch.query_mask[0])
    assert program.traces() == {trace.name: 1 for trace in plan.traces}
    assert len(plan.traces) == 6
    assert program.traces.encoding == 2
    assert program.traces.evaluation == 4


def test_values_and_resets_make_no_trace():
    plan = curriculum()
    second, third = plan.segments[1:3]
    assert second.traces == third.traces
    assert set(promised(plan).values()) == {trace.name for trace in plan.traces}


def test_a_batch_on_the_device_and_one_on_the_host_share_a_trace():
    plan = make_plan(model=make_model(make_config(num_hidden_layers=0)))
    program = build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    batch = make_batch(plan)
    state, _ = program.step(state, batch, control_at(plan, 0))
    state, _ = program.step(state, jax.device_put(batch), control_at(plan, 1))
    assert program.traces() == {"t0": 1}


def test_what_the_plan_does_not_promise_is_refused():
    plan = make_plan(model=make_model(make_config(num_hidden_layers=0)))
    program = build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    longer = dataclasses.replace(plan, train=dataclasses.replace(plan.train, buckets=((7, 9),)))
    with pytest.raises(RunError, match="queries of 7 tokens, positives of 9"):
        program.step(state, make_batch(longer), control_at(plan, 0))
    strange = {**control_at(plan, 0), "loss_weights": {"other": np.float32(1.0)}}
    with pytest.raises(RunError, match=r"losses \['other'\]"):
        program.step(state, make_batch(plan), strange)
    assert program.traces() == {}
