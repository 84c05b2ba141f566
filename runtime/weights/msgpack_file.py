"""``flax_model.msgpack``: nested maps of arrays, as ``flax.serialization`` writes them.

An array is extension 1, the packed triple (shape, dtype name, bytes); a scalar is extension 3 of the same form. An
array above 1 GiB is a map of chunks. Nothing else is decoded: extension 2 (complex) and any other are refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from specrun.runtime.weights.tensors import Contents, Tensor, damaged

_CODES = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int8": "i1",
    "uint32": "<u4",
    "uint8": "u1",
    "bool": "?",
}
_CHUNKED = "__msgpack_chunked_array__"


class _Raw:
    """An array still in the file's bytes."""

    def __init__(self, shape: tuple[int, ...], dtype: str, data: Any):
        self.shape, self.dtype, self.data = shape, dtype, data

    def array(self) -> np.ndarray:
        return np.frombuffer(self.data, _CODES[self.dtype]).reshape(self.shape)


def read_msgpack(path: Path) -> Contents:
    """The arrays of ``path``, names joined with ``.``. The map is checked whole; every fault is named."""
    if path.stat().st_size == 0:
        return damaged(path, "the file is empty")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            tree = msgpack.unpackb(
                data, ext_hook=_extension, object_pairs_hook=_unique, raw=False, strict_map_key=True
            )
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        return damaged(path, f"not a msgpack map of arrays: {reason[:200]}")
    if not isinstance(tree, dict):
        return damaged(path, f"the file must hold a map, found {type(tree).__name__}")
    tensors: list[Tensor] = []
    problems = list(_walk(tree, "", path, tensors))
    return damaged(path, "; ".join(problems)) if problems else Contents(tuple(tensors), "flax")


def _extension(code: int, data: bytes) -> _Raw:
    if code not in (1, 3):
        raise ValueError(f"extension {code} is not an array")
    parts = msgpack.unpackb(data, raw=True)
    if not isinstance(parts, list) or len(parts) != 3:
        raise ValueError("an array is (shape, dtype, bytes)")
    shape, name, content = parts
    dtype = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    if dtype not in _CODES:
        raise ValueError(f"unknown dtype {dtype[:40]!r}")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"a shape is a list of whole numbers, found {str(shape)[:80]}")
    if not isinstance(content, bytes):
        raise ValueError("an array's content must be bytes")
    needed = prod(shape) * np.dtype(_CODES[dtype]).itemsize
    if len(content) != needed:
        raise ValueError(f"{dtype} {shape} needs {needed} bytes, found {len(content)}")
    return _Raw(tuple(shape), dtype, content)


def _walk(tree: dict[str, Any], prefix: str, path: Path, tensors: list[Tensor]) -> Iterable[str]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and _CHUNKED in value:
            try:
                value = _joined(value)
            except ValueError as error:
                yield f"{name}: {error}"
                continue
        if isinstance(value, _Raw):
            tensors.append(Tensor(name, value.shape, value.dtype, path, value.array))
        elif isinstance(value, dict):
            yield from _walk(value, f"{name}.", path, tensors)
        else:
            yield f"{name}: expected an array or a map, found {type(value).__name__}"


def _joined(value: dict[str, Any]) -> _Raw:
    """The array of a map of chunks: {shape: {"0": n, …}, chunks: {"0": array, …}}. Raises ValueError."""
    shape, chunks = value.get("shape"), value.get("chunks")
    if not isinstance(shape, dict) or not isinstance(chunks, dict):
        raise ValueError("chunks need their shape")
    try:
        size = tuple(shape[str(i)] for i in range(len(shape)))
        parts = [chunks[str(i)] for i in range(len(chunks))]
    except KeyError:
        raise ValueError("chunks must be numbered from 0") from None
    whole = all(type(n) is int and n >= 0 for n in size)
    if not whole or not parts or not all(isinstance(part, _Raw) for part in parts):
        raise ValueError("chunks must be arrays")
    if len({part.dtype for part in parts}) != 1 or prod(size) != sum(
        prod(part.shape) for part in parts
    ):
        raise ValueError("the chunks do not make up the shape")
    return _Raw(size, parts[0].dtype, b"".join(part.data for part in parts))


def _unique(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError(f"a key must be text, found {type(key).__name__}")
        if key in found:
            raise ValueError(f"{key!r} occurs twice")
        found[key] = value
    return found
