"""Eight devices against one, in a process of its own: a CPU is split into devices before jax starts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtime.devices import run_split

ROWS, PASSES = 32, 2
CASES = ((1, ROWS), (8, ROWS), (1, 8), (8, 8))
"""Devices, and rows of a chunk."""

MEASURE = """
import sys
import jax
import numpy as np
from specrun.runtime import trees
from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import build_program
from tests.runtime.plans import make_batch, make_config, make_infonce, make_model, make_plan


def plan_of(devices, micro):
    losses = (make_infonce(train_temperature=True),)
    config = make_config(hidden_size=32, intermediate_size=64, num_hidden_layers=1)
    return make_plan(
        losses=losses,
        model=make_model(config, losses=losses),
        optimizer={"max_grad_norm": 0.0},
        hardware={"devices": devices},
        train={
            "batch_size": 32,
            "accumulation_steps": 2,
            "micro_batch_size": micro,
            "score_tile_rows": micro,
        },
    )


def measure(plan, whole):
    program = build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    batch, control = make_batch(plan), control_at(plan, 0)
    found = {}
    if whole:
        one = jax.tree.map(lambda x: x[0], batch)
        found["embeddings"] = program.encode(state, one.query_ids, one.query_mask)
        found["odd"] = program.encode(state, one.query_ids[:5], one.query_mask[:5])
    # Placed as a step places them, so that the compiled function that is counted is the one that is run.
    step = build_program(plan).step
    placed = jax.device_put((batch, control), (step.rows, step.everywhere))
    found["flops"] = step.lower(state, *placed).compile().cost_analysis()["flops"]
    state, metrics = program.step(state, batch, control)
    moments = trees.flatten(state["optimizer"]["first"])
    found |= {f"gradient.{p}": x / 0.1 for p, x in moments.items()}
    found["loss"] = metrics["loss"]
    found["spread"] = len(state["step"].sharding.device_set)
    state, _ = program.step(state, batch, control_at(plan, 1))
    found["traces"] = program.traces()["t0"]
    return {k: np.asarray(x) for k, x in found.items()}


for case in sys.argv[2:]:
    devices, micro = map(int, case.split("-"))
    np.savez(f"{sys.argv[1]}/{case}.npz", **measure(plan_of(devices, micro), micro == 32))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    names = {case: f"{case[0]}-{case[1]}" for case in CASES}
    run_split(MEASURE, 8, str(folder), *names.values())
    return {case: dict(np.load(folder / f"{name}.npz")) for case, name in names.items()}


@pytest.mark.parametrize("micro", [ROWS, 8])
def test_eight_devices_give_the_loss_and_gradient_of_one(measured, micro):
    one, eight = measured[1, ROWS], measured[8, micro]
    np.testing.assert_allclose(eight["loss"], one["loss"], rtol=5e-7)
    gradients = {name for name in one if name.startswith("gradient.")}
    largest = max(np.abs(one[name]).max() for name in gradients)
    for name in gradients:
        np.testing.assert_allclose(eight[name], one[name], rtol=0, atol=5e-7 * largest)


def test_embeddings_agree_and_any_number_of_rows_is_taken(measured):
    one, eight = measured[1, ROWS], measured[8, ROWS]
    np.testing.assert_allclose(eight["embeddings"], one["embeddings"], atol=2e-6)
    np.testing.assert_allclose(eight["odd"], one["odd"], atol=2e-6)


@pytest.mark.parametrize("micro", [ROWS, 8])
def test_a_device_does_an_eighth_of_the_work(measured, micro):
    """Blocked chunks fail this: 1 of 4 chunks would keep 2 of 8 devices busy."""
    share = measured[8, micro]["flops"] / measured[1, micro]["flops"]
    assert share < 1.3 / 8, share


def test_the_state_is_everywhere_and_one_trace_is_enough(measured):
    for (devices, _), found in measured.items():
        assert int(found["spread"]) == devices
        assert int(found["traces"]) == 1
