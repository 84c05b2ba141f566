"""XLA's figures: what they hold, that nothing is allocated, and that loops are counted in full."""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from specrun.runtime import aot
from specrun.runtime.flops import count, missed
from specrun.runtime.program import state as states
from specrun.runtime.program.control import control_at
from specrun.runtime.program.mesh import data_mesh
from specrun.runtime.program.program import build_program
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.cost import TraceCost
from specrun.spec.plan.file import plan_digest
from specrun.spec.plan.plan import Plan
from tests.compiler.costs import CASES, plan_of
from tests.runtime.plans import make_config, make_model, make_plan

DRY = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def bag() -> Plan:
    """No layers and no dropout, two buckets: quick to compile."""
    model = make_model(make_config(num_hidden_layers=0, **DRY))
    return make_plan(model=model, train={"buckets": ((6, 8), (8, 16))})


@pytest.fixture(scope="module")
def measured() -> aot.Measured:
    plan = bag()
    costs = tuple(TraceCost(name=t.name, peak_bytes=10**6, flops=10**6) for t in plan.traces)
    return aot.measure(dataclasses.replace(plan, cost=dataclasses.replace(plan.cost, traces=costs)))


def test_every_trace_and_encoding_has_its_figures(measured: aot.Measured) -> None:
    assert [(f.role, f.name) for f in measured.functions] == [
        ("train", "t0"),
        ("train", "t1"),
        ("encode", "encode-6"),
        ("encode", "encode-8"),
    ]
    for f in measured.functions:
        parts = f.argument_bytes + f.output_bytes - f.alias_bytes + f.temporary_bytes
        assert f.peak_bytes == parts + f.code_bytes + f.waiting_bytes
        assert f.peak_bytes > f.argument_bytes > 0
        assert f.flops >= f.flops_loops_once > 0
        assert f.bytes_accessed > 0
    first, second, *encodings = measured.functions
    assert second.temporary_bytes > first.temporary_bytes
    assert first.shape == {"rows": 8, "passes": 1, "query": 6, "positive": 8}
    assert all(f.waiting_bytes > 0 for f in encodings)
    assert measured.peak_bytes == measured.worst.peak_bytes
    assert measured.machine["platform"] == "cpu"
    assert measured.machine["jax"] == jax.__version__


def test_the_plan_stands_beside_with_its_ratio(measured: aot.Measured) -> None:
    first = measured.functions[0]
    assert first.estimate == {"peak_bytes": 10**6, "flops": 10**6}
    assert first.ratio["peak_bytes"] == round(10**6 / first.peak_bytes, 4)
    assert first.ratio["flops"] == round(10**6 / first.flops, 4)
    assert any(
        "t0" in line and f"{first.ratio['peak_bytes']:.2f}" in line for line in aot.lines(measured)
    )


def test_the_file_comes_back_and_a_damaged_one_is_named(
    measured: aot.Measured, tmp_path: Path
) -> None:
    path = aot.measured_path(tmp_path / "deep" / "a.json")
    assert path.name == "a.measured.json"
    assert aot.Measured.read(path) is None
    measured.write(path)
    assert aot.Measured.read(path) == measured
    for damage in ("", "{", "[]", '{"functions": [{}]}', '{"functions": 3}', "{}"):
        path.write_text(damage)
        with pytest.raises(InputError, match="is damaged"):
            aot.Measured.read(path)
    cut = json.loads(json.dumps(dataclasses.asdict(measured)))
    del cut["functions"][0]["flops"]
    path.write_text(json.dumps(cut))
    with pytest.raises(InputError, match="is damaged"):
        aot.Measured.read(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        measured.write(tmp_path / "file" / "a.json")


def test_measuring_allocates_nothing() -> None:
    """A table of 4 GiB and its two moments are measured like any other."""
    config = make_config(vocab_size=2**24, hidden_size=64, num_hidden_layers=0, **DRY)
    gc.collect()  # arrays of earlier tests
    before = len(jax.live_arrays())
    [figures, *_] = aot.measure(make_plan(model=make_model(config), evaluation=None)).functions
    assert figures.argument_bytes > 3 * 2**32
    assert len(jax.live_arrays()) <= before


def test_the_digest_is_the_plans(measured: aot.Measured) -> None:
    plan = bag()
    assert measured.plan_digest.startswith("sha256:")
    assert measured.plan_digest != plan_digest(plan)  # its costs differ


# --- operations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "unroll"), [(1, 1), (6, 1), (6, 2), (7, 3), (6, 6), (4, 9)])
def test_a_loop_counts_as_xla_counts_it_written_out(length: int, unroll: int) -> None:
    """XLA's count of a rolled loop and what it missed are XLA's count of the same loop without rolling."""
    x = jax.ShapeDtypeStruct((16, 16), jnp.float32)
    kernels = jax.ShapeDtypeStruct((length, 16, 16), jnp.float32)

    def network(turns: int) -> jax.stages.Traced:
        def run(x: jax.Array, kernels: jax.Array) -> jax.Array:
            return jax.lax.scan(
                lambda c, k: (jnp.maximum(c @ k, 0), None), x, kernels, unroll=turns
            )[0]

        return jax.jit(run).trace(x, kernels)

    rolled, flat = network(unroll), network(length)
    once = rolled.lower().cost_analysis()["flops"]
    whole = flat.lower().cost_analysis()["flops"]
    assert once + missed(rolled.jaxpr) == pytest.approx(whole, rel=0.03)
    assert missed(flat.jaxpr) == 0
    assert count(rolled.jaxpr).full == count(flat.jaxpr).full >= length * 2 * 16**3


@pytest.mark.parametrize(
    ("rolled", "flat"), [("l6", "unroll6"), ("l6-remat", None), ("l2-acc4", "l2")]
)
def test_a_step_counts_every_layer_and_pass(rolled: str, flat: str | None) -> None:
    case = CASES[rolled]
    found = _flops(plan_of(case))
    if rolled == "l2-acc4":
        assert found == pytest.approx(4 * _flops(plan_of(CASES["l2"])), rel=0.02)
    else:
        other = CASES[flat] if flat else case._replace(settings=(*case.settings, "train.unroll=6"))
        assert found == pytest.approx(_flops(plan_of(other)), rel=0.02)


def _flops(plan: Plan) -> float:
    traced = build_program(plan).step.trace(
        states.abstract_state(plan, data_mesh(plan), 0),
        aot.abstract_batch(plan, plan.traces[0]),
        control_at(plan, 0),
    )
    return traced.lower().cost_analysis()["flops"] + missed(traced.jaxpr)


# --- the estimate, compiled here -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l0-b256-long-nod", "l0-b1024-nod"])
def test_the_estimate_is_near_what_xla_says_here(name: str) -> None:
    """The quick cases; ``tests/slow/test_cost.py`` compiles them all, ``tests/compiler/test_cost.py`` reads records."""
    [figures] = aot.measure(plan_of(CASES[name])).functions
    assert 0.9 <= figures.ratio["peak_bytes"] <= 1.25
    assert 0.8 <= figures.ratio["flops"] <= 1.25
