"""sentence-transformers' Dense without bias, as the matrix of our head. Imports no jax."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from specrun.runtime.weights.safetensors_file import read_safetensors
from specrun.runtime.weights.tensors import READABLE, Tensor
from specrun.spec.diagnostics import Diagnostic, InputError

ROLE = "head"
"""The role of its file in ``WeightsPlan.files``."""

FILE = "model.safetensors"
PATH = "projection.kernel"
_NAME = "linear.weight"


def match_head(path: Path, shape: tuple[int, int]) -> Tensor:
    """The one tensor of ``path``, (out, in) in the file, for a kernel of ``shape`` (in, out).

    InputError for a file that is missing, damaged, or holds anything else.
    """
    if not path.is_file():
        raise _fault(path, "the head's weights are needed, found none", _WRITE)
    found = read_safetensors(path)
    if found.faults:
        raise InputError(found.faults)
    names = [t.name for t in found.tensors]
    if names != [_NAME]:
        raise _fault(
            path, f"it must hold {_NAME} alone, found {', '.join(names) or 'none'}", _WRITE
        )
    [tensor] = found.tensors
    if tensor.shape != shape[::-1]:
        message = f"{_NAME} has shape {list(tensor.shape)}, expected {list(shape[::-1])}"
        raise _fault(path, message, "is config.json that of this file?")
    if tensor.dtype not in READABLE:
        message = f"{_NAME} is {tensor.dtype}, expected one of {', '.join(READABLE)}"
        raise _fault(path, message, "write the model in float32, float16 or bfloat16")
    return tensor


def load_head(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The kernel (in, out), f32."""
    return match_head(path, shape).float32().T


_WRITE = "save the model again with sentence-transformers, as safetensors"


def _fault(path: Path, message: str, hint: str) -> InputError:
    return InputError([Diagnostic(code="weights-head", message=message, file=str(path), hint=hint)])
