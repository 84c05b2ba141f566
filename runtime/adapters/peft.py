"""Adapters in PEFT's files: ``adapter_model.safetensors`` and ``adapter_config.json``, both directions. No jax.

    base_model.model.<module>.lora_A.weight  (r, in)  = Aᵀ of ours
    base_model.model.<module>.lora_B.weight  (out, r) = Bᵀ of ours

<module> is the module's name in Hugging Face's model (``encoder.layer.0.attention.self.query``); a model trained from
scratch has no other name than its own (``layers.0.attention.query``). Separate towers are two base models, so each has
a folder of its own, ``query`` and ``positive``, and so have the networks of a composed model. CLIP and SigLIP are one
base model, whose two networks share the folder (``text_model.encoder…``, ``vision_model.encoder…``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.models.stacking import stack, unstack
from specrun.runtime.models.towers import lora_of, network_config, tower
from specrun.runtime.trees import Tree
from specrun.runtime.weights.names import file_name
from specrun.runtime.weights.safetensors_file import read_safetensors
from specrun.runtime.weights.tensors import READABLE
from specrun.runtime.weights.write import Dtype, write_weights
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.model import AdapterMatch, LoraPlan, ModelPlan
from specrun.spec.plan.networks import TextImageConfig
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.sides import Tower, tower_names
from specrun.spec.plan.towers import TextTower

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_OFF: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False,),
    "use_qalora": (False,),
    "use_bdlora": (None, False),
    "fan_in_fan_out": (False,),
    "bias": ("none",),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, []),
    "target_parameters": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layer_replication": (None, []),
    "alora_invocation_tokens": (None, []),
    "arrow_config": (None, {}),
    "kasa_config": (None, {}),
    "velora_config": (None, {}),
    "monteclora_config": (None, {}),
    "loftq_config": (None, {}),
    "corda_config": (None, {}),
    "lora_ga_config": (None, {}),
    "megatron_config": (None, {}),
    "ensure_weight_tying": (None, False),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
"""Fields of adapter_config.json that change what is computed, and the values under which it is plain LoRA upon the
base as it stands (some ways of beginning, such as pissa, alter the base)."""

_AGREES = ("r", "lora_alpha", "use_rslora")

_SAID_BY_TENSORS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
"""Which modules are adapted shows in the names of the tensors, which must be those of the plan."""

_IDLE = (
    *("task_type", "auto_mapping", "peft_version", "revision", "inference_mode", "runtime_config"),
    *(
        "lora_dropout",
        "base_model_name_or_path",
        "megatron_core",
        "qalora_group_size",
        "eva_config",
    ),
)
"""Fields that do not touch what the adapter computes. Dropout is the spec's."""

_FIELDS = {*_OFF, *_AGREES, *_SAID_BY_TENSORS, *_IDLE}

_MERGE = "merge it into its base with PEFT (`merge_and_unload`) and name the result under `model`"
_AGREE = "give rank, alpha and rslora under `lora` as the adapter has them"


def to_peft(params: Tree, model: ModelPlan) -> dict[str, np.ndarray]:
    """PEFT's tensors by name, f32, from the adapter leaves of a stacked tree (other leaves are left out)."""
    leaves = _unstacked(params, model)
    return {
        name: np.ascontiguousarray(np.asarray(leaves[path]).T)
        for name, (path, _) in _names(model).items()
    }


def from_peft(tensors: Mapping[str, np.ndarray], model: ModelPlan) -> Tree:
    """Adapter leaves as a stacked tree, f32. Raises one InputError naming all missing, unexpected and misshapen."""
    leaves = adapter_leaves(tensors, model)
    if not _is_pair(model):
        return stack(leaves, model.groups, np.stack)
    return {
        name: stack(_below(leaves, name), tower(model, name).groups, np.stack)
        for name in adapted(model)
    }


def adapter_leaves(tensors: Mapping[str, np.ndarray], model: ModelPlan) -> dict[str, np.ndarray]:
    """Adapter leaves by logical path, f32. Raises as ``from_peft``."""
    names = _names(model)
    faults = [f"{name} is missing" for name in names if name not in tensors]
    faults += [f"{name} is unexpected" for name in tensors if name not in names]
    for name, (_, shape) in names.items():
        if name not in tensors:
            continue
        if tensors[name].shape != shape[::-1]:
            found = list(tensors[name].shape)
            faults.append(f"{name} has shape {found}, expected {list(shape[::-1])}")
        elif not np.isfinite(tensors[name]).all():
            faults.append(f"{name} holds numbers that are not finite")
    if faults:
        hint = "the adapter must have the rank and targets of the plan"
        raise InputError([Diagnostic(code="adapter", message=m, hint=hint) for m in faults])
    return {path: np.asarray(tensors[name], np.float32).T for name, (path, _) in names.items()}


def adapter_config(model: ModelPlan, base: str | None = None) -> dict[str, Any]:
    """``adapter_config.json`` as PEFT reads it; targets are exact module names. ``base`` names the base model."""
    lora = lora_of(model)
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
        "target_modules": [
            _module(match, network)
            for _, network in _networks(model)
            for match in lora_of(network).matches
        ],
    }


def write_adapter(
    folder: Path,
    params: Tree,
    model: ModelPlan,
    base: str | None = None,
    *,
    dtype: Dtype = "float32",
) -> None:
    """Write PEFT's two files into ``folder``, which is made; for two base models, into one below it for each.

    A tower without adapters has no folder.
    """
    if _is_apart(model):
        for name in adapted(model):
            write_adapter(folder / name, params[name], tower(model, name), base, dtype=dtype)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS, to_peft(params, model), "safetensors", dtype)
    text = json.dumps(adapter_config(model, base), indent=2, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", "utf-8")


def read_adapter(folder: Path, model: ModelPlan) -> Tree:
    """The adapter leaves of a PEFT folder for ``model``. Raises InputError for what is damaged or does not fit."""
    if _is_apart(model):
        return {name: read_adapter(folder / name, tower(model, name)) for name in adapted(model)}
    return from_peft(_tensors(folder, model), model)


def read_leaves(folder: Path, model: ModelPlan) -> dict[str, np.ndarray]:
    """As ``read_adapter``, by logical path, the tower's name in front where there are two."""
    if not _is_apart(model):
        return adapter_leaves(_tensors(folder, model), model)
    return {
        f"{side}.{path}": leaf
        for side in adapted(model)
        for path, leaf in read_leaves(folder / side, tower(model, side)).items()
    }


def adapter_files(folder: Path, model: ModelPlan) -> tuple[Path, ...]:
    """The files that an adapter for ``model`` is read from."""
    if not _is_apart(model):
        return (folder / CONFIG, folder / WEIGHTS)
    return tuple(folder / side / name for side in adapted(model) for name in (CONFIG, WEIGHTS))


def base_of(folder: Path, model: ModelPlan) -> str | None:
    """The base model that an adapter names, where it does."""
    config = adapter_files(folder, model)[0]
    name = _object(config).get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def _tensors(folder: Path, model: ModelPlan) -> dict[str, np.ndarray]:
    """The tensors of one network's adapter by PEFT's names, f32; adapter_config.json is held against the plan."""
    config, weights = folder / CONFIG, folder / WEIGHTS
    absent = [path.name for path in (config, weights) if not path.is_file()]
    if absent:
        raise _fault(folder, f"an adapter folder needs {' and '.join(absent)}", "write it again")
    _check_config(config, lora_of(model))
    contents = read_safetensors(weights)
    if contents.faults:
        raise InputError(contents.faults)
    wrong = [f"{t.name} is {t.dtype}" for t in contents.tensors if t.dtype not in READABLE]
    if wrong:
        hint = f"write it as one of {', '.join(READABLE)}"
        raise _fault(weights, "; ".join(wrong), hint)
    return {t.name: t.float32() for t in contents.tensors}


def adapted(model: ModelPlan) -> list[Tower]:
    """The towers that carry adapters."""
    return [name for name in tower_names(model.towers) if lora_of(tower(model, name)).matches]


def _check_config(path: Path, lora: LoraPlan) -> None:
    """Rank and scale must be those of the plan, and every field that changes the arithmetic off."""
    raw = _object(path)
    differing = [f"{key} is missing" for key in ("peft_type", "r", "lora_alpha") if key not in raw]
    expected = {"r": lora.rank, "lora_alpha": lora.alpha}
    differing += [
        f"{key} is {raw[key]!r}, expected {value!r}"
        for key, value in expected.items()
        if key in raw and (isinstance(raw[key], bool) or raw[key] != value)
    ]
    rslora, ours = raw.get("use_rslora", False), _is_rank_stabilised(lora)
    if rslora is not ours and lora.rank > 1:  # at rank 1 they are the same
        differing.append(f"use_rslora is {rslora!r}, expected {ours!r}")
    foreign = [
        f"{key} is {raw[key]!r}, and only {' or '.join(map(repr, values))} is supported"
        for key, values in _OFF.items()
        if key in raw and not _is_one_of(raw[key], values)
    ]
    foreign += [f"{key} is not known here" for key in sorted(raw.keys() - _FIELDS)]
    if differing or foreign:
        hint = "; ".join([_AGREE] * bool(differing) + [_MERGE] * bool(foreign))
        raise _fault(path, "; ".join([*differing, *foreign]), hint)


def _is_one_of(value: object, values: tuple[object, ...]) -> bool:
    """As ``in``, but 0 is not False and 1 is not True."""
    return any(value == v and type(value) is type(v) for v in values)


def _object(path: Path) -> dict[str, Any]:
    """The JSON object of a configuration. InputError for anything else."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _fault(path, f"the file is not readable JSON: {error}", "write it again") from None
    if not isinstance(raw, dict):
        raise _fault(path, "a JSON object is needed", "write it again")
    return raw


def _fault(path: Path, message: str, hint: str) -> InputError:
    return InputError([Diagnostic(code="adapter", message=message, file=str(path), hint=hint)])


def _names(model: ModelPlan) -> dict[str, tuple[str, tuple[int, int]]]:
    """PEFT's name → (logical path of our leaf, its shape)."""
    found: dict[str, tuple[str, tuple[int, int]]] = {}
    for begin, network in _networks(model):
        lora = lora_of(network)
        for match in lora.matches:
            module, path = f"{_PREFIX}{_module(match, network)}", f"{begin}{match.module}"
            n_in, n_out = match.shape
            found[f"{module}.lora_A.weight"] = (f"{path}.lora_a", (n_in, lora.rank))
            found[f"{module}.lora_B.weight"] = (f"{path}.lora_b", (lora.rank, n_out))
    return found


def _is_pair(model: ModelPlan) -> bool:
    """Whether both networks are of one model in Hugging Face's library."""
    config = model.config
    return isinstance(config, TextImageConfig) and isinstance(config.text, TextTower)


def _is_apart(model: ModelPlan) -> bool:
    """Whether there are two base models, and so two adapters."""
    return model.towers != "shared" and not _is_pair(model)


def _networks(model: ModelPlan) -> list[tuple[str, ModelPlan]]:
    """The networks of one base model, and how the paths of each begin."""
    if not _is_pair(model):
        return [("", model)]
    return [(f"{name}.", tower(model, name)) for name in tower_names(model.towers)]


def _unstacked(params: Tree, model: ModelPlan) -> dict[str, Any]:
    """Leaves by logical path; of a pair only those of the networks that carry adapters."""
    if not _is_pair(model):
        return unstack(params, model.groups)
    return {
        f"{name}.{path}": leaf
        for name in adapted(model)
        for path, leaf in unstack(params[name], tower(model, name).groups).items()
    }


def _below(leaves: Mapping[str, np.ndarray], name: Tower) -> dict[str, np.ndarray]:
    """The leaves of one network, its name taken off."""
    begin = f"{name}."
    return {p.removeprefix(begin): x for p, x in leaves.items() if p.startswith(begin)}


def _module(match: AdapterMatch, model: ModelPlan) -> str:
    """The adapted module's name in Hugging Face's model."""
    row = TableRow(path=f"{match.module}.kernel", shape=match.shape, role="kernel", new=False)
    return file_name(row, network_config(model), "torch").removesuffix(".weight")


def _is_rank_stabilised(lora: LoraPlan) -> bool:
    return lora.rank > 1 and math.isclose(lora.scale, lora.alpha / math.sqrt(lora.rank))
