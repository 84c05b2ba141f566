"""Safetensors, read by the format's own rules: 8 bytes of length, a JSON header, then the tensors without gaps.

The header is checked whole, against the size of the file, before anything is allocated.
Format: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.weights.tensors import Contents, Tensor, damaged

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""

_DTYPES = {
    "F64": ("float64", "<f8"),
    "F32": ("float32", "<f4"),
    "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"),
    "I64": ("int64", "<i8"),
    "I32": ("int32", "<i4"),
    "I16": ("int16", "<i2"),
    "I8": ("int8", "i1"),
    "U64": ("uint64", "<u8"),
    "U32": ("uint32", "<u4"),
    "U16": ("uint16", "<u2"),
    "U8": ("uint8", "u1"),
    "BOOL": ("bool", "?"),
}


def read_safetensors(path: Path) -> Contents:
    """The tensors of ``path``, mapped, not read. Every fault of the header is named."""
    size = path.stat().st_size
    if size < 8:
        return damaged(path, f"a safetensors file begins with 8 bytes of length, found {size}")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_HEADER_BYTES, size - 8):
            return damaged(path, f"the header claims {length} bytes in a file of {size}")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        return damaged(path, f"the header is not JSON of distinct names: {error}")
    if not isinstance(header, dict):
        return damaged(path, f"the header must be a JSON object, found {type(header).__name__}")
    return _contents(path, header, 8 + length, size)


def _contents(path: Path, header: dict[str, Any], start: int, size: int) -> Contents:
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        return damaged(path, "the header's __metadata__ must be an object")
    problems = [
        f"{name}: {problem}"
        for name, entry in header.items()
        if (problem := _entry_fault(entry, size - start))
    ]
    problems = problems or _gaps(header, size - start)
    if problems:
        return damaged(path, "; ".join(problems))
    tensors = tuple(_tensor(path, name, entry, start) for name, entry in header.items())
    written_by = metadata.get("format")
    return Contents(tensors, written_by if isinstance(written_by, str) else None)


def _entry_fault(entry: Any, room: int) -> str | None:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return "an entry has exactly dtype, shape and data_offsets"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        return f"unknown dtype {dtype!r}"
    if not _whole(shape) or len(shape) > 32:
        return f"a shape is a list of whole numbers, found {str(shape)[:80]}"
    if not _whole(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= room:
        return f"data_offsets {str(offsets)[:80]} lie outside the file's {room} bytes of data"
    needed = prod(shape) * np.dtype(_DTYPES[dtype][1]).itemsize
    if offsets[1] - offsets[0] != needed:
        return f"{dtype} {shape} needs {needed} bytes, data_offsets give {offsets[1] - offsets[0]}"
    return None


def _whole(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _gaps(header: dict[str, Any], room: int) -> list[str]:
    """Tensors must follow each other without overlap or gap, to the end of the file."""
    end, problems = 0, []
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        if first != end:
            problems.append(f"{name}: data begins at {first}, expected {end}")
        end = last
    if end != room:
        problems.append(f"the tensors end at byte {end} of {room} bytes of data")
    return problems


def _tensor(path: Path, name: str, entry: dict[str, Any], start: int) -> Tensor:
    dtype, code = _DTYPES[entry["dtype"]]
    shape, offset = tuple(entry["shape"]), start + entry["data_offsets"][0]

    def view() -> np.ndarray:
        if 0 in shape:
            return np.empty(shape, code)
        return np.memmap(path, dtype=code, mode="r", offset=offset, shape=shape)

    return Tensor(name, shape, dtype, path, view)


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} occurs twice")
        found[key] = value
    return found
