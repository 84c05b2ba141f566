"""Values of a config.json of several parts, checked one by one; every fault of them in one error. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specrun.spec.diagnostics import Diagnostic, InputError

_OWN = "config.json must be the model's own, as transformers writes it"
_VARIANT = "this variant of the architecture is not implemented"
_CODE = ("AutoTokenizer", "AutoConfig", "AutoProcessor", "AutoImageProcessor")
"""Entries of ``auto_map`` that are no part of the network; their code is not run either."""


class Values:
    """A config.json, or the part of it under ``at``. Faults of all parts are gathered in one list."""

    def __init__(
        self, raw: Mapping[str, Any], at: str = "", faults: list[Diagnostic] | None = None
    ):
        self._raw = raw
        self._at = at
        self._faults: list[Diagnostic] = [] if faults is None else faults

    def part(self, key: str) -> Values:
        """The object under ``key``; absent and null are an empty one."""
        raw = self._raw.get(key)
        if raw is not None and not isinstance(raw, Mapping):
            self._fault(f"{self._at}{key} must be an object, found {short(raw)}", _OWN)
        found = raw if isinstance(raw, Mapping) else {}
        return Values(found, f"{self._at}{key}.", self._faults)

    @property
    def faults_found(self) -> int:
        return len(self._faults)

    def has(self, key: str) -> bool:
        """Whether ``key`` is there and not null."""
        return self._raw.get(key) is not None

    def whole(self, key: str, default: int, least: int = 1) -> int:
        """A whole number of at least ``least``; the default where it is absent."""
        value = self._raw.get(key, default)
        if type(value) is int and least <= value < 2**31:
            return value
        self._must(key, f"a whole number from {least} to {2**31 - 1}", value)
        return default

    def number(self, key: str, default: float) -> float:
        """A number above 0."""
        value = self._raw.get(key, default)
        if _is_number(value) and 0 < value < 1e6:
            return float(value)
        self._must(key, "a number above 0", value)
        return default

    def rate(self, key: str, default: float) -> float:
        """A share: from 0 to below 1."""
        value = self._raw.get(key, default)
        if _is_number(value) and 0 <= value < 1:
            return float(value)
        self._must(key, "a number from 0 to below 1", value)
        return default

    def side(self, key: str, default: int) -> int:
        """The side of a square, given as a number or as two equal ones."""
        value = self._raw.get(key, default)
        if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if type(value) is int and 1 <= value < 2**16:
            return value
        message = f"{self._at}{key} must be one number of pixels, found {short(value)}"
        self._fault(message, "only square images and patches are implemented")
        return default

    def choice(self, key: str, default: str, known: tuple[str, ...]) -> str:
        """One of ``known``."""
        value = self._raw.get(key, default)
        if value in known:
            return str(value)
        message = f"{self._at}{key} must be one of: {', '.join(known)}; found {short(value)}"
        self._fault(message, "no other is implemented")
        return default

    def only(self, key: str, value: object) -> None:
        """A key that changes the arithmetic, of which one value is implemented; absent is that value."""
        found = self._raw.get(key, value)
        if found != value or type(found) is not type(value):
            self._fault(f"{self._at}{key} must be {value!r}, found {short(found)}", _VARIANT)

    def no_code(self) -> None:
        """Nothing that comes with the model is run, and quantised weights are not read."""
        code = self._raw.get("auto_map")
        if isinstance(code, Mapping) and any(str(key) not in _CODE for key in code):
            message = "auto_map names code that comes with the model, which is never run"
            self._fault(message, "use a model of an architecture that is built in")
        self.only("quantization_config", None)

    def refuse(self, message: str, hint: str) -> None:
        """Note something else that is wrong."""
        self._fault(message, hint)

    def finish(self) -> None:
        """Raises one InputError with every fault noted so far, of all parts."""
        if self._faults:
            raise InputError(self._faults)

    def _must(self, key: str, what: str, found: object) -> None:
        self._fault(f"{self._at}{key} must be {what}, found {short(found)}", _OWN)

    def _fault(self, message: str, hint: str) -> None:
        self._faults.append(
            Diagnostic(code="pretrained", message=message, file="config.json", hint=hint)
        )


def short(value: object) -> str:
    """A value for a message, at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool
