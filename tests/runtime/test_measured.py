"""What a finished run says of its memory and rate, next to what was foretold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from specrun.runtime.aot import Figures, Measured, measured_path
from specrun.runtime.loop import measured
from specrun.runtime.loop.position import Standing
from specrun.spec.plan.file import plan_digest
from tests.runtime.plans import make_plan

PLAN = make_plan(train={"accumulation_steps": 2})
STANDING = Standing(step=4, seconds={"training": 2.0, "evaluation": 50.0})


def state(*stats: dict[str, int] | None) -> Any:
    """A state on devices that say this of their memory."""
    devices = [SimpleNamespace(memory_stats=lambda found=found: found) for found in stats]
    return {"step": SimpleNamespace(devices=lambda: devices)}


def beside(folder: Path, digest: str) -> Path:
    figures = Figures(
        name="t0",
        role="train",
        shape={},
        waiting_bytes=0,
        argument_bytes=1,
        output_bytes=1,
        temporary_bytes=1,
        alias_bytes=1,
        code_bytes=0,
        peak_bytes=77,
        xla_peak_bytes=1,
        flops=1,
        flops_loops_once=1,
        bytes_accessed=1,
        compile_seconds=0.1,
    )
    found = Measured(format=1, plan_digest=digest, machine={}, peak_bytes=77, functions=(figures,))
    found.write(measured_path(folder / "plan.json"))
    return folder / "plan.json"


def test_the_devices_own_count_is_taken_where_there_is_one() -> None:
    found = measured.peak_memory(state({"peak_bytes_in_use": 5}, {"peak_bytes_in_use": 9}))
    assert found == ("device", 9)
    of, peak = measured.peak_memory(state(None, {"bytes_in_use": 3}))
    assert of == "process"
    assert 10**7 < peak < 10**12


def test_the_rate_counts_training_seconds_alone() -> None:
    plan = dataclasses.replace(PLAN, cost=dataclasses.replace(PLAN.cost, total_flops=1000))
    assert measured.rate(plan, STANDING) == {
        "steps_per_second": 2.0,
        "rows_per_second": 32.0,
        "flops_per_second": 500,
    }
    assert measured.rate(plan, Standing()) == {}


def test_the_figures_of_this_plan_are_told_and_those_of_another_are_not(tmp_path: Path) -> None:
    file = beside(tmp_path, plan_digest(PLAN))
    found = measured.cost(PLAN, state({"peak_bytes_in_use": 88}), STANDING, file)
    estimate = max(PLAN.cost.peak_bytes, PLAN.cost.evaluation_bytes)
    assert found["memory"] == {
        "of": "device",
        "peak_bytes": 88,
        "estimate_bytes": estimate,
        "xla_bytes": 77,
    }
    assert "xla_note" not in found
    beside(tmp_path, "sha256:other")
    found = measured.cost(PLAN, state(None), STANDING, file)
    assert "xla_bytes" not in found["memory"]
    assert "another plan" in found["xla_note"]
    assert any("another plan" in line for line in measured.lines(found))


def test_a_damaged_file_is_named_and_stops_nothing(tmp_path: Path) -> None:
    measured_path(tmp_path / "plan.json").write_text("{")
    found = measured.cost(PLAN, state(None), STANDING, tmp_path / "plan.json")
    assert "is damaged" in found["xla_note"]
    assert "xla_note" not in measured.cost(PLAN, state(None), STANDING, tmp_path / "no.json")
    assert "xla_note" not in measured.cost(PLAN, state(None), STANDING, None)
