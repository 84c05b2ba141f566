"""Which files of a directory hold the weights, and what they hold together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specrun.runtime.weights.msgpack_file import read_msgpack
from specrun.runtime.weights.safetensors_file import read_safetensors
from specrun.runtime.weights.tensors import Contents, Tensor, damaged, fault
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.data import Input

SINGLE = ("model.safetensors", "flax_model.msgpack")
"""Weights in one file, in the order in which they are looked for."""

INDEX_SUFFIX = ".index.json"
"""``model.safetensors.index.json`` names the shards of a model in several files."""

_EXECUTES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "model.ckpt")
_CONVERT = (
    "convert it once, where you trust the file: "
    "AutoModel.from_pretrained(DIR).save_pretrained(DIR, safe_serialization=True)"
)
_MAX_INDEX_BYTES = 64_000_000


@dataclass(frozen=True)
class Weights:
    """Every tensor of a directory. ``files`` are all that were read, index first; ``faults`` what is wrong."""

    files: tuple[Path, ...]
    tensors: tuple[Tensor, ...]
    written_by: str | None
    faults: tuple[Diagnostic, ...] = field(default=())


def find(directory: Path) -> Path | None:
    """The file to begin with: model.safetensors or its index, else flax_model.msgpack or its index; None without any.

    Raises InputError when there are only files whose reading would execute code.
    """
    for name in SINGLE:
        for candidate in (directory / name, directory / f"{name}{INDEX_SUFFIX}"):
            if candidate.is_file():
                return candidate
    unsafe = [name for name in _EXECUTES if (directory / name).exists()]
    if unsafe:
        raise InputError(
            [
                fault(
                    directory / unsafe[0],
                    f"weights must be safetensors or msgpack; {unsafe[0]} is not read, because loading it executes code",
                    _CONVERT,
                    "weights-unsafe",
                )
            ]
        )
    return None


def read(start: Path) -> Weights:
    """The tensors of the file ``start``, or of all shards that the index ``start`` names."""
    if start.name.endswith(INDEX_SUFFIX):
        return _read_shards(start)
    contents = _open(start)
    return Weights((start,), contents.tensors, contents.written_by, contents.faults)


def digest(path: Path, role: str) -> Input:
    """The file as an input of the plan: SHA-256 and size."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return Input(role=role, path=str(path), digest=found, bytes=path.stat().st_size)


def _open(path: Path) -> Contents:
    read_file = read_safetensors if ".safetensors" in path.name else read_msgpack
    try:
        return read_file(path)
    except OSError as error:
        return damaged(path, f"the file cannot be read: {error.strerror or error}")


def _read_shards(index: Path) -> Weights:
    where, faults = _weight_map(index)
    if faults:
        return Weights((index,), (), None, faults)
    names = sorted(set(where.values()))
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        hint = "fetch the missing shards, or write the model again"
        message = f"the index names files that are not there: {', '.join(missing)}"
        return Weights((index,), (), None, (fault(index, message, hint, "weights-missing"),))
    parts = [_open(index.parent / name) for name in names]
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    faults = tuple(f for part in parts for f in part.faults) or _compare(index, where, tensors)
    files = (index, *(index.parent / name for name in names))
    return Weights(
        files, tensors, next((p.written_by for p in parts if p.written_by), None), faults
    )


def _weight_map(index: Path) -> tuple[dict[str, str], tuple[Diagnostic, ...]]:
    """{tensor name joined with '.': file}, checked: names of plain files in the same folder."""
    if index.stat().st_size > _MAX_INDEX_BYTES:
        return {}, damaged(index, f"an index above {_MAX_INDEX_BYTES} bytes is not read").faults
    try:
        content: Any = json.loads(index.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return {}, damaged(index, f"the index is not readable JSON: {error}").faults
    where = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(where, dict) or not all(isinstance(v, str) for v in where.values()):
        return {}, damaged(index, "the index must hold weight_map: {tensor: file}").faults
    for name in where.values():
        if name != Path(name).name or name in ("", ".", ".."):
            message = f"weight_map must name files of the same folder, found {name[:120]!r}"
            return {}, (fault(index, message, "write the model again", "weights-unsafe"),)
    return {name.replace("/", "."): file for name, file in where.items()}, ()


def _compare(
    index: Path, where: dict[str, str], tensors: tuple[Tensor, ...]
) -> tuple[Diagnostic, ...]:
    """The index and the shards must tell the same."""
    held: dict[str, list[str]] = {}
    for tensor in tensors:
        held.setdefault(tensor.name, []).append(tensor.file.name)
    faults = []
    for name, files in sorted(held.items()):
        if name not in where:
            faults.append(f"{name} in {files[0]} is not in the index")
        elif len(files) > 1:
            faults.append(f"{name} is doubled, in {' and '.join(files)}")
        elif files != [where[name]]:
            faults.append(f"{name} is in {files[0]}, the index says {where[name]}")
    faults += [
        f"{name} is not in {file}" for name, file in sorted(where.items()) if name not in held
    ]
    return tuple(
        fault(index, message, "write the model again", "weights-index") for message in faults
    )
