"""What a run really took, next to what the plan foretold: peak memory and rate."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

from specrun.runtime.aot import Measured, measured_path
from specrun.runtime.loop.position import Standing
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.file import plan_digest
from specrun.spec.plan.plan import Plan


def cost(plan: Plan, state: Any, standing: Standing, plan_file: Path | None) -> dict[str, Any]:
    """The entry ``cost`` of result.json.

    ``memory``: ``peak_bytes`` of this process, ``of`` the ``device`` where its platform counts them, else of the
    whole ``process``; beside it the plan's ``estimate_bytes`` and ``xla_bytes``. ``rate``: over all seconds of
    training, the first compilation and all processes of the run included. ``xla_note`` says why there is no figure of
    XLA where ``--measure`` left a file beside ``plan_file`` that cannot be used.
    """
    of, peak = peak_memory(state)
    estimate = max(plan.cost.peak_bytes, plan.cost.evaluation_bytes)
    memory = {"of": of, "peak_bytes": peak, "estimate_bytes": estimate}
    measured, note = _beside(plan, plan_file)
    if measured is not None:
        memory["xla_bytes"] = measured.peak_bytes
    return {"memory": memory, "rate": rate(plan, standing)} | ({"xla_note": note} if note else {})


def peak_memory(state: Any) -> tuple[str, int]:
    """(device or process, bytes): the devices' own count, the largest; else the process's largest resident set."""
    stats = [device.memory_stats() for device in state["step"].devices()]
    peaks = [
        found["peak_bytes_in_use"] for found in stats if found and "peak_bytes_in_use" in found
    ]
    if peaks:
        return "device", max(peaks)
    unit = 1 if sys.platform == "darwin" else 1024
    return "process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def rate(plan: Plan, standing: Standing) -> dict[str, float]:
    """Optimizer steps, rows (those that fill up short batches too) and planned operations in a second of training."""
    seconds = standing.seconds.get("training", 0.0)
    if not seconds:
        return {}
    rows = plan.train.batch_size * plan.train.accumulation_steps
    steps = standing.step / seconds
    share = standing.step / plan.train.total_steps
    return {
        "steps_per_second": round(steps, 4),
        "rows_per_second": round(steps * rows, 2),
        "flops_per_second": round(plan.cost.total_flops * share / seconds),
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The same in a few lines."""
    told: list[str] = []
    if memory := found.get("memory"):
        text = f"memory     {_mib(memory['peak_bytes'])} at most in the {memory['of']}; "
        text += f"{_mib(memory['estimate_bytes'])} by arithmetic"
        told.append(
            text + (f", {_mib(memory['xla_bytes'])} by XLA" if "xla_bytes" in memory else "")
        )
    if speed := found.get("rate"):
        text = f"rate       {speed['steps_per_second']:.3g} steps/s, {speed['rows_per_second']:.4g} rows/s"
        told.append(f"{text}, {speed['flops_per_second']:.3g} FLOP/s")
    if note := found.get("xla_note"):
        told.append(f"           {note}")
    return told


def _beside(plan: Plan, plan_file: Path | None) -> tuple[Measured | None, str]:
    if plan_file is None:
        return None, ""
    path = measured_path(plan_file)
    try:
        measured = Measured.read(path)
    except InputError as error:
        return None, error.diagnostics[0].message
    if measured is not None and measured.plan_digest != plan_digest(plan):
        return None, f"{path} holds the measurements of another plan"
    return measured, ""


def _mib(count: float) -> str:
    return f"{count / 2**20:.1f} MiB"
