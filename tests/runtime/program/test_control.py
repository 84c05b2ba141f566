"""Control values of every step, from the plan alone."""

from __future__ import annotations

import numpy as np
import pytest

from specrun.runtime.program.control import control_at, learning_rate_table, segment_at
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.schedule import ConstantWithWarmup, Linear
from tests.runtime.plans import make_infonce, make_model, make_plan, make_segment


def two_stages():
    losses = (make_infonce(name="a"), make_infonce(name="b", symmetric=False))
    model = make_model(losses=losses)
    first = make_segment(
        model,
        stop_step=4,
        loss_weights={"a": 1.0, "b": 0.0},
        schedule=Linear(warmup_steps=2, total_steps=10),
    )
    second = make_segment(
        model,
        first_step=4,
        stop_step=10,
        loss_weights={"a": 0.5, "b": 2.0},
        learning_rate_scale=0.5,
        schedule=ConstantWithWarmup(warmup_steps=2),
        schedule_start=4,
        reset_optimizer=True,
    )
    return make_plan(losses=losses, model=model, segments=(first, second))


def test_the_rate_follows_each_segments_schedule_and_scale():
    peak = 1e-3
    first = [0.0, 0.5, 1.0, 7 / 8]
    second = [0.0, 0.25, 0.5, 0.5, 0.5, 0.5]
    table = learning_rate_table(two_stages())
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, peak * np.array(first + second), rtol=1e-6)


def test_the_table_holds_what_the_steps_get():
    plan = two_stages()
    table = learning_rate_table(plan)
    for step in range(plan.train.total_steps):
        assert control_at(plan, step)["learning_rate"] == table[step]


def test_values_are_numpy_scalars_and_weight_zero_leaves_a_loss_out():
    control = control_at(two_stages(), 0)
    assert control["loss_weights"] == {"a": np.float32(1.0)}
    assert isinstance(control["learning_rate"], np.float32)
    assert isinstance(control["segment"], np.uint32)
    assert control_at(two_stages(), 4)["loss_weights"] == {"a": 0.5, "b": 2.0}


def test_segments_are_half_open():
    plan = two_stages()
    assert [segment_at(plan, s) for s in (0, 3, 4, 9)] == [0, 0, 1, 1]
    for step in (-1, 10):
        with pytest.raises(RunError, match="outside"):
            segment_at(plan, step)
