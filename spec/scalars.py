"""Plain scalars by the core schema of YAML 1.2: which text is null, a boolean, a number, or itself.

What other readers would take for something else, or could not hold exactly, is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

MAX_INTEGER = 2**53

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {w: w.lower() == "true" for w in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INT = re.compile(r"[-+]?[0-9]+\Z")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+\Z")
_PREFIXED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_LONGEST_INTEGER = 40
_SMALLER = "write a smaller number, or quote it for text"


@dataclass(frozen=True)
class Refusal:
    """Why a scalar is not taken, and what to write."""

    code: str
    message: str
    hint: str


Value = str | int | float | bool | None


def type_scalar(text: str) -> Value | Refusal:
    """The value that a plain scalar means."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _NOT_FINITE.match(text):
        return Refusal("not-finite", f"`{text}` is not a finite number", "write a finite number")
    if _LEADING_ZERO.match(text):
        return _leading_zero(text)
    if _INT.match(text) or _PREFIXED.match(text):
        return _integer(text)
    return _number(text) if _FLOAT.match(text) else text


def _leading_zero(text: str) -> Refusal:
    sign = "-" if text[0] == "-" else ""
    digits = clip(text.lstrip("+-").lstrip("0") or "0")
    shown = clip(text)
    if not set(digits) & set("89"):
        message = f"`{shown}` is octal in YAML 1.1 and decimal in YAML 1.2"
        octal = f", or 0o{digits} for octal" if not sign else ""
    else:
        message, octal = f"`{shown}` begins with a zero", ""
    return Refusal("ambiguous-number", message, f"write {sign}{digits}{octal}; quote it for text")


def _integer(text: str) -> int | Refusal:
    if len(text) <= _LONGEST_INTEGER:
        value = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if abs(value) <= MAX_INTEGER:
            return value
    message = f"`{clip(text)}` is beyond 2^53, past which numbers are not exact everywhere"
    return Refusal("too-big", message, _SMALLER)


def _number(text: str) -> float | Refusal:
    value = float(text)
    if math.isfinite(value):
        return value
    return Refusal("too-big", f"`{clip(text)}` is too large for a number", _SMALLER)


def clip(text: str, width: int = 60) -> str:
    """The text, shortened for a message."""
    return text if len(text) <= width else text[: width - 1] + "…"
