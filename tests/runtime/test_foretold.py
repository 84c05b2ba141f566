"""What a finished run says of what was foretold of it."""

from __future__ import annotations

from pathlib import Path

from specrun.runtime.aot import Figures, Measured, measured_path
from specrun.runtime.loop.foretold import foretold, lines
from specrun.spec.plan.file import plan_digest
from tests.runtime.plans import make_plan

PLAN = make_plan()
SPEED = {"steps_per_second": 2.0, "rows_per_second": 16.0, "memory": "device", "peak_bytes": 88}


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


def test_the_figures_of_this_plan_are_told_and_those_of_another_are_not(tmp_path: Path) -> None:
    file = beside(tmp_path, plan_digest(PLAN))
    found = foretold(PLAN, file)
    assert found == {
        "estimate_bytes": max(PLAN.cost.peak_bytes, PLAN.cost.evaluation_bytes),
        "flops_per_step": PLAN.cost.flops_per_step,
        "xla_bytes": 77,
    }
    assert "88 B at most (device)" in lines(SPEED, found)[1]
    assert "77 B by XLA" in lines(SPEED, found)[1]
    beside(tmp_path, "sha256:other")
    found = foretold(PLAN, file)
    assert "xla_bytes" not in found
    assert "another plan" in lines(SPEED, found)[-1]


def test_a_damaged_file_is_named_and_stops_nothing(tmp_path: Path) -> None:
    measured_path(tmp_path / "plan.json").write_text("{")
    assert "is damaged" in foretold(PLAN, tmp_path / "plan.json")["xla_note"]
    for missing in (tmp_path / "no.json", None):
        assert foretold(PLAN, missing).keys() == {"estimate_bytes", "flops_per_step"}


def test_the_rate_in_operations_is_the_steps_times_the_plans_own() -> None:
    found = {"estimate_bytes": 1, "flops_per_step": 500}
    assert lines(SPEED, found)[0] == "rate       2 steps/s, 16 rows/s, 1e+03 FLOP/s"
    assert lines({}, found) == []
