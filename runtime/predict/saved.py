"""What a run's folder says of the parameters that are exported. Imports no jax."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.parameters import read_manifest
from specrun.runtime.loop.result import RunResult
from specrun.runtime.models.towers import tower
from specrun.runtime.predict.order import Order
from specrun.runtime.predict.trained import Trained, parameters_folder
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.sides import Side

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
        "candidates": _candidates(source),
    }


def _candidates(source: Path) -> int | None:
    """How many candidates the metrics of the best parameters were measured among; None where nothing tells it."""
    try:
        found = json.loads((source / "worst.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    count = found.get("candidates") if isinstance(found, dict) else None
    return count if type(count) is int and count > 0 else None


def longest_of(trained: Trained, order: Order) -> int:
    """The tokens kept of a text, as ``longest_text``."""
    return longest_text(trained.lengths, trained.model, order.side)


def longest_text(lengths: Mapping[Side, int], model: ModelPlan, side: Side | None) -> int:
    """The tokens kept of a text of ``side``, or of the longer one. A side of images has one: the other's count then.

    Of a run of images alone they are all that the model has room for.
    """
    longest = lengths[side] if side else max(lengths.values())
    if longest > 1 or model.image_processor is None:
        return longest
    longest = max(lengths.values())
    return longest if longest > 1 else model.config.longest or longest


def origin_of(trained: Trained, order: Order) -> dict[str, Any]:
    """Where an export comes from; of a run its name, and which of its parameters."""
    run = {} if trained.plan is None else {"run": trained.plan.name, "parameters": order.which}
    return {"source": str(order.folder.resolve()), **run, "tower": order.side}


def merged_of(trained: Trained, side: Side | None) -> str | None:
    """The adapters that were added to the kernels; None where there were none."""
    lora = trained.plan.model.lora if trained.plan else None
    if trained.plan is None or lora is None:
        return None
    own = lora if side is None else tower(trained.plan.model, side).lora
    if own is None or not own.matches:
        return None
    layers = len(own.matches)
    return f"adapters of rank {own.rank} on {layers} linear layers, times {own.scale:g}"
