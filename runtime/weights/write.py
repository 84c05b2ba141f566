"""Writing weights files: safetensors in torch's layout, or ``flax_model.msgpack``; one tensor in memory at a time.

The names and orientation come from the tables that reading uses (``names.write_names``), read the other way. A file
read and written again in its own dtype holds the same bytes in every tensor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgpack
import numpy as np

from specrun.runtime.weights.names import Layout
from specrun.spec.diagnostics import InputError

Form = Literal["safetensors", "msgpack"]
Dtype = Literal["float32", "float16", "bfloat16"]

FILES: dict[Form, str] = {"safetensors": "model.safetensors", "msgpack": "flax_model.msgpack"}
"""The names under which transformers looks for weights."""

LAYOUTS: dict[Form, Layout] = {"safetensors": "torch", "msgpack": "flax"}

CHUNK_BYTES = 2**30
"""An array above this is written to msgpack in chunks, as flax does."""

_CODES: dict[Dtype, str] = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def write_weights(
    path: Path, tensors: Mapping[str, np.ndarray], form: Form, dtype: Dtype = "float32"
) -> None:
    """Write float32 ``tensors`` by their names in the file, cast to ``dtype``.

    InputError naming the tensors with numbers beyond the range of float16. OSError when the file
    cannot be written.
    """
    _check_range(tensors, dtype)
    with path.open("wb") as file:
        _WRITERS[form](file, tensors, dtype)
        file.flush()


def _safetensors(file: BinaryIO, tensors: Mapping[str, np.ndarray], dtype: Dtype) -> None:
    """Sorted by name, without gaps; the header's length is a multiple of eight."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end, width = 0, 4 if dtype == "float32" else 2
    for name in sorted(tensors):
        begin, end = end, end + width * tensors[name].size
        shape = list(tensors[name].shape)
        header[name] = {"dtype": _CODES[dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in sorted(tensors):
        file.write(cast_bytes(tensors[name], dtype))


def _msgpack(file: BinaryIO, tensors: Mapping[str, np.ndarray], dtype: Dtype) -> None:
    """A nested map, in flax's extension 1: (shape, dtype name, bytes)."""
    tree: dict[str, Any] = {}
    for name in sorted(tensors):
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = tensors[name]
    packer = msgpack.Packer()
    for part in _packed(tree, packer, dtype):
        file.write(part)


def _packed(value: Any, packer: msgpack.Packer, dtype: Dtype) -> Iterable[bytes]:
    if isinstance(value, np.ndarray):
        yield from _packed_array(value, packer, dtype)
        return
    yield packer.pack_map_header(len(value))
    for key, item in value.items():
        yield packer.pack(key)
        yield from _packed(item, packer, dtype)


def _packed_array(array: np.ndarray, packer: msgpack.Packer, dtype: Dtype) -> Iterable[bytes]:
    width = 4 if dtype == "float32" else 2
    if array.size * width <= CHUNK_BYTES:
        yield packer.pack(_extension(array, dtype))
        return
    flat, step = np.ravel(array), CHUNK_BYTES // width
    parts = [flat[i : i + step] for i in range(0, flat.size, step)]
    yield packer.pack_map_header(3)
    yield packer.pack("__msgpack_chunked_array__") + packer.pack(True)
    yield packer.pack("shape") + packer.pack({str(i): n for i, n in enumerate(array.shape)})
    yield packer.pack("chunks") + packer.pack_map_header(len(parts))
    for i, part in enumerate(parts):
        yield packer.pack(str(i)) + packer.pack(_extension(part, dtype))


def _extension(array: np.ndarray, dtype: Dtype) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb((array.shape, dtype, cast_bytes(array, dtype))))


_WRITERS: dict[Form, Callable[[BinaryIO, Mapping[str, np.ndarray], Dtype], None]] = {
    "safetensors": _safetensors,
    "msgpack": _msgpack,
}


def cast_bytes(array: np.ndarray, dtype: Dtype) -> bytes:
    """The numbers of a float32 array in ``dtype``, little-endian, rounded to nearest (ties to even)."""
    own = np.ascontiguousarray(array, "<f4")
    match dtype:
        case "float32":
            return own.tobytes()
        case "float16":
            return own.astype("<f2").tobytes()
        case "bfloat16":  # the upper half of a float32, rounded
            bits = own.view("<u4")
            rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
            return np.where(np.isnan(own), 0x7FC0, rounded).astype("<u2").tobytes()


def _check_range(tensors: Mapping[str, np.ndarray], dtype: Dtype) -> None:
    """A number that float16 would turn into infinity is refused."""
    if dtype != "float16":
        return
    most = float(np.finfo(np.float16).max)
    wrong = [name for name, x in tensors.items() if x.size and np.abs(x).max() > most]
    if wrong:
        raise InputError(
            f"float16 holds numbers up to {most:.0f}, and larger ones are in {', '.join(wrong[:5])}",
            code="dtype",
            hint="write float32 or bfloat16",
        )
