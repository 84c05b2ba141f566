"""Diagnostics: what is wrong, where, and how to mend it; and the errors that carry them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from specrun.spec.record import record

Severity = Literal["error", "warning"]


@record
class Diagnostic:
    """One finding.

    ``code`` is stable (``unknown-key``); ``file, line, column`` give the place (line and column count
    from 1 and are 0 where there is no text, such as an environment variable); ``path`` is the dotted
    path in the spec; ``hint`` says how to mend it; ``notes`` hold related facts (who else set the value).
    """

    code: str
    message: str
    severity: Severity = "error"
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    hint: str = ""
    notes: tuple[str, ...] = ()
    frame: str = ""


class SpecrunError(Exception):
    """Base of every error that specrun raises on purpose. ``exit_code`` is the command's exit status."""

    exit_code = 1


class InputError(SpecrunError):
    """The input (spec, plan, data, weights) is wrong. Carries every diagnostic found."""

    exit_code = 2

    def __init__(
        self, diagnostics: Iterable[Diagnostic] | str, *, code: str = "input", hint: str = ""
    ):
        if isinstance(diagnostics, str):
            diagnostics = (Diagnostic(code=code, message=diagnostics, hint=hint),)
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(_line(d) for d in self.diagnostics))


class RunError(SpecrunError):
    """The run itself failed (NaN, full disk, corrupted checkpoints). Message names the mend."""

    exit_code = 1


def _line(d: Diagnostic) -> str:
    place = (
        f"{d.file}:{d.line}:{d.column}: "
        if d.file and d.line
        else (f"{d.file}: " if d.file else "")
    )
    return f"{place}{d.severity}[{d.code}]: {d.message}" + (f" ({d.hint})" if d.hint else "")
