"""Where a command writes, refused before the work where it could not be written after it."""

from __future__ import annotations

from pathlib import Path

from specrun.spec.diagnostics import InputError


def check_file(target: Path, suffix: str) -> None:
    """InputError unless ``target`` ends in ``suffix``, in a folder that is there."""
    if target.suffix != suffix:
        raise InputError(
            f"the output must be a {suffix} file, found {target}",
            code="output",
            hint=f"name it *{suffix}",
        )
    check_parent(target, f"write {target.name} into")


def check_parent(target: Path, purpose: str) -> None:
    """InputError unless the folder is there in which ``target`` is to be made; ``purpose`` says what for."""
    if not target.parent.is_dir():
        raise InputError(
            f"there is no folder {target.parent} to {purpose}",
            code="unwritable",
            hint="make the folder first",
        )
