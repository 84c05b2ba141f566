"""Diagnostics as text for a terminal, as JSON, and as workflow commands of GitHub Actions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from specrun.spec.diagnostics import Diagnostic

Format = Literal["text", "json", "github"]


def render(diagnostics: Iterable[Diagnostic], format: Format = "text") -> str:
    """All diagnostics in one of the formats, without a final newline."""
    return _FORMATS[format](tuple(diagnostics))


def _text(diagnostics: Sequence[Diagnostic]) -> str:
    return "\n\n".join(_block(d) for d in diagnostics)


def _block(d: Diagnostic) -> str:
    place = f"{_place(d)}: " if d.file else ""
    lines = [f"{place}{d.severity}[{d.code}]: {d.message}"]
    lines += [f"  {line}" for line in d.frame.splitlines()]
    if d.hint:
        lines.append(f"  help: {d.hint}")
    lines += [f"  note: {note}" for note in d.notes]
    return "\n".join(lines)


def _place(d: Diagnostic) -> str:
    return f"{d.file}:{d.line}:{d.column}" if d.line else d.file


def _json(diagnostics: Sequence[Diagnostic]) -> str:
    return json.dumps([_record(d) for d in diagnostics], indent=2, ensure_ascii=False)


def _record(d: Diagnostic) -> dict[str, object]:
    return {
        "code": d.code,
        "message": d.message,
        "severity": d.severity,
        "file": d.file,
        "line": d.line,
        "column": d.column,
        "path": d.path,
        "hint": d.hint,
        "notes": list(d.notes),
    }


def _github(diagnostics: Sequence[Diagnostic]) -> str:
    return "\n".join(_command(d) for d in diagnostics)


def _command(d: Diagnostic) -> str:
    places = {"file": d.file, "line": d.line, "col": d.column} if d.line else {"file": d.file}
    fields = {k: v for k, v in places.items() if v} | {"title": f"specrun {d.code}"}
    written = ",".join(f"{k}={_escape_field(str(v))}" for k, v in fields.items())
    parts = [d.message, *([f"help: {d.hint}"] if d.hint else []), *d.notes]
    return f"::{d.severity} {written}::{_escape(chr(10).join(parts))}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_field(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


_FORMATS: Mapping[Format, Callable[[Sequence[Diagnostic]], str]] = {
    "text": _text,
    "json": _json,
    "github": _github,
}
