"""A tensor in a file: name, shape, dtype, and its bytes, seen but not yet copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specrun.spec.diagnostics import Diagnostic

READABLE = ("float32", "float16", "bfloat16")
"""Dtypes that parameters may have; each is cast to float32, exactly."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a weights file. ``view`` gives its raw numbers (bfloat16 as uint16) without a copy."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: Path
    view: Callable[[], np.ndarray]

    def float32(self) -> np.ndarray:
        """The numbers in float32, shape ``shape``. Raises ValueError for a dtype outside ``READABLE``."""
        raw = self.view()
        match self.dtype:
            case "float32":
                return raw
            case "float16":
                return raw.astype(np.float32)
            case "bfloat16":  # the upper half of a float32
                return (raw.astype(np.uint32) << 16).view(np.float32)
            case _:
                raise ValueError(f"{self.dtype} is not read as a parameter")


@dataclass(frozen=True)
class Contents:
    """What one weights file holds. With ``faults`` the tensors are not to be trusted."""

    tensors: tuple[Tensor, ...] = ()
    written_by: str | None = None  # `format` of the safetensors metadata: pt, flax, …
    faults: tuple[Diagnostic, ...] = ()


def fault(file: Path, message: str, hint: str, code: str = "weights") -> Diagnostic:
    """A finding about a weights file."""
    return Diagnostic(code=code, message=message, file=str(file), hint=hint)


def damaged(file: Path, message: str) -> Contents:
    """A file that cannot be what its name says."""
    hint = "the file is damaged or was cut short: fetch or write it again"
    return Contents(faults=(fault(file, message, hint, "weights-damaged"),))
