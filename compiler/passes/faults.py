"""What is wrong with files and folders, told at the keys that name them."""

from __future__ import annotations

from pathlib import Path

from specrun.compiler.draft import Context
from specrun.spec.diagnostics import InputError


def require(there: bool, path: str, name: str, place: Path, wanted: str, context: Context) -> None:
    """An error at ``path`` unless the ``wanted`` thing that is called ``name`` is there."""
    if not there:
        context.report.error(
            path,
            "not-found",
            f"{name!r} is no {wanted}: looked at {place}",
            hint="paths are relative to the spec's folder; names can be mapped in specrun.local.yaml",
        )


def report_all(error: InputError, path: str, context: Context) -> None:
    """What was raised, as errors of the spec: at their own paths, or at ``path``."""
    for d in error.diagnostics:
        where = f" ({d.file}:{d.line})" if d.file and d.line else (f" ({d.file})" if d.file else "")
        context.report.error(d.path or path, d.code, d.message + where, hint=d.hint)
