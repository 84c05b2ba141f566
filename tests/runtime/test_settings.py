"""What a plan says about devices and compiling reaches what is compiled."""

from __future__ import annotations

import re

import jax
import numpy as np
import pytest

from specrun.runtime.chunks import joined, strided
from specrun.runtime.program import settings
from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import build_program
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.training import HardwarePlan
from tests.runtime.plans import make_batch, make_config, make_model, make_plan

LIGHT = make_model(make_config(num_hidden_layers=0))
HAS_GPU = bool(settings._devices("gpu"))


def hardware(**changes) -> HardwarePlan:
    base = {"platform": "auto", "devices": 1, "deterministic": True}
    return HardwarePlan(**base | {"max_memory_gb": None, "memory_margin": 0.1} | changes)


def test_settings_of_a_plan_on_the_cpu():
    assert settings.executable_settings(make_plan(model=LIGHT)) == {
        "platform": "cpu",
        "devices": 1,
        "matmul_precision": "highest",
        "compiler_options": {},
    }


def test_deterministic_is_an_option_of_the_gpu_compiler():
    options = settings.compiler_options
    assert options(hardware(), "gpu") == {"xla_gpu_deterministic_ops": True}
    assert options(hardware(deterministic=False), "gpu") == {}
    assert options(hardware(), "cpu") == {}


@pytest.mark.parametrize("word", ["default", "high", "highest"])
def test_the_precision_of_products_is_in_the_traced_step(word):
    plan = make_plan(model=LIGHT, precision={"matmul": word})
    program = build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    batch, control = make_batch(plan), control_at(plan, 0)
    traced = {
        "step": jax.make_jaxpr(program.step)(state, batch, control),
        "encode": jax.make_jaxpr(program.encode)(state, batch.query_ids[0], batch.query_mask[0]),
        "evaluate": jax.make_jaxpr(program.evaluate)(state, batch, control),
    }
    for jaxpr in traced.values():
        words = set(re.findall(r"Precision\.([A-Z]+)", str(jaxpr)))
        assert words == {word.upper()}


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_a_missing_gpu_is_said_and_auto_goes_without():
    with pytest.raises(InputError, match="asks for a GPU") as caught:
        build_program(make_plan(model=LIGHT, hardware={"platform": "gpu"}))
    assert "cuda12" in caught.value.diagnostics[0].hint
    assert settings.choose_platform(hardware()) == "cpu"


def test_missing_devices_are_counted():
    with pytest.raises(InputError, match="asks for 8 devices, and jax sees 1") as caught:
        build_program(make_plan(model=LIGHT, hardware={"devices": 8}))
    assert "xla_force_host_platform_device_count" in caught.value.diagnostics[0].hint


def test_every_division_at_fault_is_named():
    with pytest.raises(InputError) as caught:
        build_program(
            make_plan(model=LIGHT, train={"micro_batch_size": 3}, hardware={"devices": 5})
        )
    assert len(caught.value.diagnostics) == 3


def test_strided_rows_come_back_in_order():
    x = np.arange(12).reshape(12, 1)
    chunks = strided(x, 3)
    np.testing.assert_array_equal(joined(chunks), x)
