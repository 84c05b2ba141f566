"""Parameters that another run trained, as the start of this one: weights only. Imports no jax.

Adapters are merged into their kernels, and the parameters of losses stay behind. Layers are taken by
their own names, so it does not matter how either run groups and stacks them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.parameters import (
    MANIFEST,
    PARAMETERS,
    check_leaves,
    first_saved,
    read_manifest,
    read_parameters,
)
from specrun.runtime.models.stacking import logical_paths, parameter_leaves
from specrun.runtime.trees import flatten
from specrun.runtime.weights.files import digest
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.file import identity, read_plan
from specrun.spec.plan.model import ModelPlan, StartPlan
from specrun.spec.plan.parameters import Parameter
from specrun.spec.plan.sides import tower_of

ADAPTERS = ("lora_a", "lora_b")


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """A run to start from. ``shapes`` are those of its parameters by logical path, adapters left out."""

    plan: StartPlan
    model: ModelPlan
    shapes: dict[str, tuple[int, ...]]
    tokenizer: Path
    tokenizer_digest: str


def inspect_run(folder: Path) -> Inspected:
    """Read the run in ``folder``, or the one whose best/ or final/ it is, and verify its parameters.

    InputError when it is no run's folder, has saved nothing yet, or holds something damaged.
    """
    run, which = _run_of(folder)
    plan = read_plan(run.plan)
    source = first_saved(run.root, ("best", "final") if which is None else (which,))
    tree = read_parameters(source)
    check_leaves(plan.model, tree, source)
    manifest = read_manifest(source) or {}
    step = manifest.get("step")
    if type(step) is not int:
        raise InputError(
            f"{source / MANIFEST} is damaged: it names no step",
            code="damaged-parameters",
            hint="put the file back, or run the plan again in a new folder",
        )
    if not run.tokenizer.is_file():
        raise InputError(
            f"{run.root} holds no tokenizer.json",
            code="tokenizer-missing",
            hint="put the file back: it belongs to the run's folder",
        )
    found = StartPlan(
        run=str(run.root.resolve()),
        name=plan.name,
        which="best" if source == run.best else "final",
        step=step,
        file=digest(source / PARAMETERS, "init_from"),
        parameters_sha256=str(manifest["parameters_sha256"]),
        identity=identity(plan),
    )
    return Inspected(
        plan=found,
        model=plan.model,
        shapes={path: shape for p in _kept(plan.model) for path, shape in _rows(p)},
        tokenizer=run.tokenizer.resolve(),
        tokenizer_digest=plan.tokenizer.digest,
    )


def read_start(start: StartPlan) -> dict[str, np.ndarray]:
    """The encoder's leaves float32 by logical path, adapters merged. InputError when they are others now."""
    run = RunFolder(Path(start.run))
    source = run.root / start.which
    plan = read_plan(run.plan)
    tree = read_parameters(source)
    whole = (read_manifest(source) or {}).get("parameters_sha256")
    if identity(plan) != start.identity or whole != start.parameters_sha256:
        raise changed(start)
    check_leaves(plan.model, tree, source)
    leaves = flatten(tree)
    found: dict[str, np.ndarray] = {}
    for parameter in _kept(plan.model):
        value = _merged(parameter, leaves, plan.model)
        layers = value if parameter.stacked is not None else value[None]
        for (path, _), layer in zip(_rows(parameter), layers, strict=True):
            found[path] = layer
    return found


def changed(start: StartPlan) -> InputError:
    """The error for parameters that are not those the plan was compiled with."""
    return InputError(
        [
            Diagnostic(
                code="input-changed",
                message=f"the {start.which} parameters of {start.run} changed after the plan was compiled",
                path="init_from",
                hint="compile the spec again, or restore that run's folder",
            )
        ]
    )


def _run_of(folder: Path) -> tuple[RunFolder, Literal["best", "final"] | None]:
    """The run's folder, and which parameters were named."""
    if RunFolder(folder).plan.is_file():
        return RunFolder(folder), None
    above = RunFolder(folder.parent)
    if above.plan.is_file():
        if folder.name == "best":
            return above, "best"
        if folder.name == "final":
            return above, "final"
    raise InputError(
        f"{folder} is no run's folder: there is no plan.json in it",
        code="no-run",
        hint="name the output folder of a run, or its best or final folder",
    )


def _kept(model: ModelPlan) -> Iterator[Parameter]:
    """The encoder's parameters without adapters."""
    return (
        p for p in parameter_leaves(model.parameters) if p.path.rpartition(".")[2] not in ADAPTERS
    )


def _rows(parameter: Parameter) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Logical path and shape of each layer that a leaf holds, the tower's name in front where there is one."""
    side, inner = tower_of(parameter.path)
    prefix = "" if side is None else f"{side}."
    shape = parameter.shape if parameter.stacked is None else parameter.shape[1:]
    bare = Parameter(
        path=inner, shape=parameter.shape, role=parameter.role, stacked=parameter.stacked
    )
    return ((prefix + path, shape) for path in logical_paths(bare))


def _merged(parameter: Parameter, leaves: dict[str, np.ndarray], model: ModelPlan) -> np.ndarray:
    """The leaf; a kernel with an adapter beside it is kernel + scale · A B."""
    value = leaves[parameter.path]
    module, _, last = parameter.path.rpartition(".")
    if model.lora is None or last != "kernel" or f"{module}.lora_a" not in leaves:
        return value
    a, b = (leaves[f"{module}.{name}"] for name in ADAPTERS)
    return value + np.float32(model.lora.scale) * np.matmul(a, b)
