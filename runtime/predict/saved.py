"""What a run's folder says of the parameters that are exported. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.parameters import read_manifest
from specrun.runtime.loop.result import RunResult
from specrun.runtime.predict.order import Order
from specrun.runtime.predict.trained import Trained, parameters_folder
from specrun.spec.plan.plan import Plan

CARD = "README.md"
"""The model card of an exported directory."""


def read_saved(order: Order, plan: Plan | None) -> Mapping[str, Any]:
    """What the model card needs beside the plan: step, metrics, the parameters' name and digest, the device.

    Empty for a directory, which no run has trained. The device and the final metrics are those of a
    finished run. RunError when its result.json is damaged.
    """
    if plan is None:
        return {}
    folder = RunFolder(order.folder)
    source = parameters_folder(folder, order.which)
    manifest = read_manifest(source) or {}
    result = RunResult.read(folder)
    final = result.metrics if result is not None and source == folder.final else {}
    return {
        "step": manifest.get("step"),
        "metrics": manifest.get("metrics", final),
        "parameters": source.name,
        "parameters_sha256": manifest.get("parameters_sha256"),
        "device": None if result is None else result.device,
    }


def longest_of(trained: Trained, order: Order) -> int:
    """The tokens kept of a text: the tower's, or the longer side's."""
    lengths = trained.lengths
    return lengths[order.side] if order.side else max(lengths.values())
