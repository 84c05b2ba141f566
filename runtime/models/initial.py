"""Where parameters start: read from weights or another run, or drawn from the seed. Imports no jax, so nothing is compiled.

Every new leaf has a stream of its own, keyed by the seed and its logical path. So a layer starts the same however
layers are grouped, and whatever else is in the model; and separate towers start differently.
"""

from __future__ import annotations

import hashlib

import numpy as np

from specrun.runtime.adapters.start import read_adapter_start
from specrun.runtime.models.stacking import logical_paths, parameter_leaves
from specrun.runtime.models.start import read_start
from specrun.runtime.models.tables import rows
from specrun.runtime.models.towers import network_config, tower
from specrun.runtime.trees import Tree, unflatten
from specrun.runtime.weights.load import load_weights
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.parameters import Parameter
from specrun.spec.plan.sides import Tower, tower_names


def initial_arrays(model: ModelPlan, seed: int) -> Tree:
    """Encoder leaves as nested dict of f32 numpy arrays; see ``initial_parameters``.

    Separate towers are read from the same files; what is new in them differs, as their paths do.
    """
    adapters = _adapters(model)
    names = tower_names(model.towers)
    if not names:
        return _network(model, seed, "", {**_read(model), **adapters})
    return {name: _of_tower(model, name, seed, adapters) for name in names}


def _adapters(model: ModelPlan) -> dict[str, np.ndarray]:
    """The adapters that training goes on with, those of all towers; none where they are new."""
    start = model.lora.init_from if model.lora else None
    return {} if start is None else read_adapter_start(start, model)


def _of_tower(model: ModelPlan, name: Tower, seed: int, adapters: dict[str, np.ndarray]) -> Tree:
    """The leaves of one tower: its own in another run, or those of the files that it is read from."""
    own, begin = tower(model, name), f"{name}."
    read = _read(own)
    if model.init_from is not None:
        read = {p.removeprefix(begin): x for p, x in read.items() if p.startswith(begin)}
    read |= {p.removeprefix(begin): x for p, x in adapters.items() if p.startswith(begin)}
    return _network(own, seed, begin, read)


def _network(model: ModelPlan, seed: int, prefix: str, read: dict[str, np.ndarray]) -> Tree:
    """Leaves of one network; ``prefix`` stands before the paths of new ones. Uses up ``read``."""
    spread = network_config(model).initializer_range
    leaves: dict[str, np.ndarray] = {}
    for parameter in parameter_leaves(model.parameters):
        leaf = np.empty(parameter.shape, np.float32)
        layers = leaf if parameter.stacked is not None else leaf[None]
        for i, path in enumerate(logical_paths(parameter)):
            layers[i] = (
                _drawn(parameter, prefix + path, seed, spread) if parameter.new else read.pop(path)
            )
        leaves[parameter.path] = leaf
    return unflatten(leaves)


def _read(model: ModelPlan) -> dict[str, np.ndarray]:
    """What the network itself is read from, adapters left out."""
    leaves = parameter_leaves(model.parameters)
    parameters = [p for p in leaves if p.role not in ("lora_a", "lora_b")]
    if all(parameter.new for parameter in parameters):
        return {}
    if model.init_from is not None:
        return read_start(model.init_from)
    if model.weights is None:
        raise InputError(
            "the model's parameters are read from weights, but the plan names no weights files",
            code="weights-missing",
            hint="put model.safetensors or flax_model.msgpack beside config.json and compile again",
        )
    config = network_config(model)
    return load_weights(model.weights, config, rows(config))


def _drawn(parameter: Parameter, path: str, seed: int, spread: float) -> np.ndarray | float:
    """Normal matrices and tables, zero biases, unit scales; LoRA: A uniform within ±1/√in, B zero."""
    shape = parameter.shape if parameter.stacked is None else parameter.shape[1:]
    match parameter.role:
        case "kernel" | "embedding":
            return _stream(seed, path).standard_normal(shape, np.float32) * np.float32(spread)
        case "lora_a":
            bound = np.float32(shape[0] ** -0.5)
            return (_stream(seed, path).random(shape, np.float32) * 2 - 1) * bound
        case "scale":
            return 1.0
        case "bias" | "lora_b":
            return 0.0
        case "temperature" | "offset":
            raise ValueError(f"internal error: {path} belongs to a loss, not to the encoder")


def _stream(seed: int, path: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{path}".encode()).digest()
    key = np.frombuffer(digest[:16], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
