"""Adapters that PEFT or an export wrote, as the start of a run's own. Imports no jax."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from specrun.runtime.adapters.peft import adapter_files, base_of, read_leaves
from specrun.runtime.weights.files import digest
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.model import AdapterStart, ModelPlan

ROLE = "adapter"


def inspect_adapter(folder: Path, model: ModelPlan) -> AdapterStart:
    """The adapter in ``folder``, which must fit ``model``: rank, scale, modules, shapes.

    With separate towers it has a folder for each adapted one, called by its side. InputError names all
    that is missing, damaged, different or not supported.
    """
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {folder}",
            code="missing-folder",
            hint="name a folder with adapter_config.json and adapter_model.safetensors",
        )
    read_leaves(folder, model)
    return AdapterStart(
        folder=str(folder),
        base=base_of(folder, model),
        files=tuple(digest(path, ROLE) for path in adapter_files(folder, model)),
    )


def read_adapter_start(start: AdapterStart, model: ModelPlan) -> dict[str, np.ndarray]:
    """Adapter leaves f32 by logical path. InputError when a file is not the one the plan was compiled with."""
    verify_adapter(start)
    return read_leaves(Path(start.folder), model)


def verify_adapter(start: AdapterStart) -> None:
    """InputError naming every file of the adapter that is gone or changed since the plan was compiled."""
    wrong = [file for file in start.files if _now(Path(file.path)) != file.digest]
    if wrong:
        raise InputError(
            [
                Diagnostic(
                    code="input-changed",
                    message="the adapter's file changed since the plan was compiled",
                    file=file.path,
                    path="lora.init_from",
                    hint="put the old file back, or compile again",
                )
                for file in wrong
            ]
        )


def _now(path: Path) -> str | None:
    return digest(path, ROLE).digest if path.is_file() else None
