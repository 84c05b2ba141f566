"""What was foretold of a run's memory and work, to stand next to what it took."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.runtime.aot import Measured, measured_path
from specrun.runtime.telling import size
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.file import plan_digest
from specrun.spec.plan.plan import Plan


def foretold(plan: Plan, plan_file: Path | None) -> dict[str, Any]:
    """The entry ``foretold`` of result.json.

    The plan's arithmetic, ``estimate_bytes`` and ``flops_per_step``; ``xla_bytes`` where ``--measure``
    left a file beside ``plan_file``, or ``xla_note``, which says why that cannot be used.
    """
    found: dict[str, Any] = {
        "estimate_bytes": plan.cost.most_bytes,
        "flops_per_step": plan.cost.flops_per_step,
    }
    if plan_file is None:
        return found
    path = measured_path(plan_file)
    try:
        measured = Measured.read(path)
    except InputError as error:
        return {**found, "xla_note": error.diagnostics[0].message}
    if measured is None:
        return found
    if measured.plan_digest != plan_digest(plan):
        return {**found, "xla_note": f"{path} holds the measurements of another plan"}
    return {**found, "xla_bytes": measured.peak_bytes}


def lines(speed: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Rate and memory as they were, and as they were foretold."""
    told: list[str] = []
    if "steps_per_second" in speed:
        rate, rows = speed["steps_per_second"], speed["rows_per_second"]
        operations = rate * found["flops_per_step"]
        told.append(f"rate       {rate:.3g} steps/s, {rows:,.0f} rows/s, {operations:.3g} FLOP/s")
    if "peak_bytes" in speed:
        text = f"memory     {size(speed['peak_bytes'])} at most ({speed['memory']}); "
        text += f"{size(found['estimate_bytes'])} by arithmetic"
        told.append(text + (f", {size(found['xla_bytes'])} by XLA" if "xla_bytes" in found else ""))
    if note := found.get("xla_note"):
        told.append(f"           {note}")
    return told
