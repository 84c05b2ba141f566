"""Adapters in PEFT's files: ``adapter_model.safetensors`` and ``adapter_config.json``, both directions. No jax.

    base_model.model.<module>.lora_A.weight  (r, in)  = Aᵀ of ours
    base_model.model.<module>.lora_B.weight  (out, r) = Bᵀ of ours

<module> is the module's name in Hugging Face's model (``encoder.layer.0.attention.self.query``); a model trained from
scratch has no other name than its own (``layers.0.attention.query``). Separate towers are two base models, so each has
a folder of its own, ``query`` and ``positive``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.models.stacking import stack, unstack
from specrun.runtime.models.towers import tower
from specrun.runtime.trees import Tree
from specrun.runtime.weights.names import file_name
from specrun.runtime.weights.safetensors_file import read_safetensors
from specrun.runtime.weights.tensors import READABLE
from specrun.runtime.weights.write import Dtype, write_weights
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.model import (
    SIDES,
    AdapterMatch,
    LoraPlan,
    ModelPlan,
    Side,
    TableRow,
)

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_NOT_OURS = {
    "use_dora": False,
    "fan_in_fan_out": False,
    "bias": "none",
    "lora_bias": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
}


def to_peft(params: Tree, model: ModelPlan) -> dict[str, np.ndarray]:
    """PEFT's tensors by name, f32, from the adapter leaves of a stacked tree (other leaves are left out)."""
    leaves = unstack(params, model.groups)
    return {
        name: np.ascontiguousarray(np.asarray(leaves[path]).T)
        for name, (path, _) in _names(model).items()
    }


def from_peft(tensors: Mapping[str, np.ndarray], model: ModelPlan) -> Tree:
    """Adapter leaves as a stacked tree, f32. Raises one InputError naming all missing, unexpected and misshapen."""
    names = _names(model)
    faults = [f"{name} is missing" for name in names if name not in tensors]
    faults += [f"{name} is unexpected" for name in tensors if name not in names]
    for name, (_, shape) in names.items():
        if name in tensors and tensors[name].shape != shape[::-1]:
            found = list(tensors[name].shape)
            faults.append(f"{name} has shape {found}, expected {list(shape[::-1])}")
    if faults:
        hint = "the adapter must have the rank and targets of the plan"
        raise InputError([Diagnostic(code="adapter", message=m, hint=hint) for m in faults])
    leaves = {path: np.asarray(tensors[name], np.float32).T for name, (path, _) in names.items()}
    return stack(leaves, model.groups, np.stack)


def adapter_config(model: ModelPlan, base: str | None = None) -> dict[str, Any]:
    """``adapter_config.json`` as PEFT reads it; targets are exact module names. ``base`` names the base model."""
    lora = _lora(model)
    return {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": _is_rank_stabilised(lora),
        "use_dora": False,
        "fan_in_fan_out": False,
        "bias": "none",
        "target_modules": [_module(match, model) for match in lora.matches],
    }


def write_adapter(
    folder: Path,
    params: Tree,
    model: ModelPlan,
    base: str | None = None,
    *,
    dtype: Dtype = "float32",
) -> None:
    """Write PEFT's two files into ``folder``, which is made; for separate towers, into one below it for each.

    A tower without adapters has no folder.
    """
    if model.towers == "separate":
        for side in _adapted(model):
            write_adapter(folder / side, params[side], tower(model, side), base, dtype=dtype)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS, to_peft(params, model), "safetensors", dtype)
    text = json.dumps(adapter_config(model, base), indent=2, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", "utf-8")


def read_adapter(folder: Path, model: ModelPlan) -> Tree:
    """The adapter leaves of a PEFT folder for ``model``. Raises InputError for what is damaged or does not fit."""
    if model.towers == "separate":
        return {side: read_adapter(folder / side, tower(model, side)) for side in _adapted(model)}
    config, weights = folder / CONFIG, folder / WEIGHTS
    absent = [path.name for path in (config, weights) if not path.is_file()]
    if absent:
        raise _fault(folder, f"an adapter folder needs {' and '.join(absent)}", "write it again")
    _check_config(config, _lora(model))
    contents = read_safetensors(weights)
    if contents.faults:
        raise InputError(contents.faults)
    wrong = [f"{t.name} is {t.dtype}" for t in contents.tensors if t.dtype not in READABLE]
    if wrong:
        hint = f"write it as one of {', '.join(READABLE)}"
        raise _fault(weights, "; ".join(wrong), hint)
    return from_peft({t.name: t.float32() for t in contents.tensors}, model)


def _adapted(model: ModelPlan) -> list[Side]:
    """The towers that carry adapters."""
    return [side for side in SIDES if _lora(tower(model, side)).matches]


def _check_config(path: Path, lora: LoraPlan) -> None:
    """Rank, scale and every switch that changes the arithmetic must be those of the plan."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _fault(path, f"the file is not readable JSON: {error}", "write it again") from None
    if not isinstance(raw, dict):
        raise _fault(path, "a JSON object is needed", "write it again")
    expected: dict[str, object] = {
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": _is_rank_stabilised(lora),
        **_NOT_OURS,
    }
    wrong = [
        f"{key} is {raw[key]!r}, expected {value!r}"
        for key, value in expected.items()
        if key in raw and raw[key] != value and (raw[key] or value)
    ]
    wrong += [f"{key} is missing" for key in ("peft_type", "r", "lora_alpha") if key not in raw]
    if wrong:
        raise _fault(path, "; ".join(wrong), "use an adapter of the plan's rank, alpha and kind")


def _fault(path: Path, message: str, hint: str) -> InputError:
    return InputError([Diagnostic(code="adapter", message=message, file=str(path), hint=hint)])


def _names(model: ModelPlan) -> dict[str, tuple[str, tuple[int, int]]]:
    """PEFT's name → (logical path of our leaf, its shape)."""
    lora = _lora(model)
    found: dict[str, tuple[str, tuple[int, int]]] = {}
    for match in lora.matches:
        module = f"{_PREFIX}{_module(match, model)}"
        n_in, n_out = match.shape
        found[f"{module}.lora_A.weight"] = (f"{match.module}.lora_a", (n_in, lora.rank))
        found[f"{module}.lora_B.weight"] = (f"{match.module}.lora_b", (lora.rank, n_out))
    return found


def _module(match: AdapterMatch, model: ModelPlan) -> str:
    """The adapted module's name in Hugging Face's model."""
    row = TableRow(path=f"{match.module}.kernel", shape=match.shape, role="kernel", new=False)
    return file_name(row, model.config, "torch").removesuffix(".weight")


def _is_rank_stabilised(lora: LoraPlan) -> bool:
    return lora.rank > 1 and math.isclose(lora.scale, lora.alpha / math.sqrt(lora.rank))


def _lora(model: ModelPlan) -> LoraPlan:
    if model.lora is None:
        raise ValueError("internal error: the plan has no adapters")
    return model.lora
