"""Weights files made by hand, so that each can be faulty in one way."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from specrun.runtime.models.tables import rows
from specrun.runtime.weights.names import Layout, write_names
from specrun.spec.plan.networks import BertConfig

CODES = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "bool": "BOOL"}


def tensors(config: BertConfig, layout: Layout = "torch") -> dict[str, np.ndarray]:
    """Random tensors under the names of files."""
    rng = np.random.default_rng(0)
    read = tuple(row for row in rows(config) if not row.new)
    leaves = {row.path: rng.normal(size=row.shape).astype(np.float32) for row in read}
    return write_names(leaves, read, config, layout)


def safetensors_bytes(
    content: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, array in content.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": CODES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    return with_header(json.dumps(header).encode(), data)


def with_header(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def msgpack_bytes(content: Mapping[str, np.ndarray]) -> bytes:
    tree: dict[str, Any] = {}
    for name, array in content.items():
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = extension(array)
    return msgpack.packb(tree)


def extension(array: np.ndarray) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb((array.shape, str(array.dtype), array.tobytes())))


def write_config(folder: Path, config: BertConfig, **changes: Any) -> None:
    keys = [k for k in vars(config) if k not in ("kind", "pooling", "projection_dim")]
    values = {"model_type": "bert", **{k: getattr(config, k) for k in keys}, **changes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))


def write_index(folder: Path, name: str, where: Mapping[str, str]) -> None:
    content = {"metadata": {"total_size": 0}, "weight_map": dict(where)}
    (folder / f"{name}.index.json").write_text(json.dumps(content))
