"""Names in files ↔ our logical paths: one table per family, read in both directions.

The torch layout calls every leaf ``weight`` or ``bias`` and keeps matrices (out, in); the flax layout calls them
``kernel``, ``embedding``, ``scale``, ``bias`` and keeps matrices (in, out), as we do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from specrun.runtime.models.bert import table as bert
from specrun.runtime.models.modernbert import table as modernbert
from specrun.runtime.models.mpnet import table as mpnet
from specrun.runtime.models.qwen3 import table as qwen3
from specrun.runtime.models.roberta import table as roberta
from specrun.runtime.weights.tensors import Tensor
from specrun.spec.plan.model import EncoderConfig, TableRow, TextEncoderConfig

Layout = Literal["torch", "flax"]

_LEAF: dict[Layout, dict[str, str]] = {
    "torch": {"kernel": "weight", "embedding": "weight", "scale": "weight", "bias": "bias"},
    "flax": {"kernel": "kernel", "embedding": "embedding", "scale": "scale", "bias": "bias"},
}
_OLD_LEAF = {"gamma": "weight", "beta": "bias"}  # LayerNorm as TensorFlow's BERT named it


@dataclass(frozen=True)
class Names:
    """How a family's files name things: module of every leaf, prefixes of head models, tensors known and not used."""

    modules: Mapping[str, str]
    prefixes: tuple[str, ...]
    unused: tuple[str, ...]


_FAMILIES: dict[str, Names] = {
    "bert": Names(dict(bert.NAMES + bert.POOLER), bert.PREFIXES, bert.UNUSED),
    "roberta": Names(dict(roberta.NAMES + roberta.POOLER), roberta.PREFIXES, roberta.UNUSED),
    "mpnet": Names(dict(mpnet.NAMES + mpnet.POOLER), mpnet.PREFIXES, mpnet.UNUSED),
    "qwen3": Names(dict(qwen3.NAMES), qwen3.PREFIXES, qwen3.UNUSED),
    "modernbert": Names(dict(modernbert.NAMES), modernbert.PREFIXES, modernbert.UNUSED),
    "text_encoder": Names({}, (), ()),  # our own paths are its names
}


def family(config: EncoderConfig) -> Names:
    """The names of the family of ``config``."""
    return _FAMILIES[config.kind]


def file_name(row: TableRow, config: EncoderConfig, layout: Layout) -> str:
    """The name that files of ``layout`` give to ``row``: ``encoder.layer.3.attention.self.query.weight``."""
    module, _, _ = row.path.rpartition(".")
    if isinstance(config, TextEncoderConfig) or row.new:
        return f"{module}.{_LEAF[layout][row.role]}"
    layer = row.layer
    path = row.path if layer is None else row.path.replace(f"layers.{layer}.", "layers.{i}.", 1)
    return f"{family(config).modules[path].format(i=layer)}.{_LEAF[layout][row.role]}"


def orient(array: np.ndarray, row: TableRow, layout: Layout) -> np.ndarray:
    """File orientation ↔ ours (the same turn both ways)."""
    return array.T if layout == "torch" and row.role == "kernel" else array


def file_shape(row: TableRow, layout: Layout) -> tuple[int, ...]:
    """The shape that files of ``layout`` give to ``row``."""
    return row.shape[::-1] if layout == "torch" and row.role == "kernel" else row.shape


def canonical(name: str, config: EncoderConfig) -> str:
    """A name without its head model's prefix, and with today's word for a LayerNorm's leaves."""
    for prefix in family(config).prefixes:
        name = name.removeprefix(prefix)
    module, _, leaf = name.rpartition(".")
    if leaf in _OLD_LEAF and module.endswith("LayerNorm"):
        return f"{module}.{_OLD_LEAF[leaf]}"
    return name


def is_unused(name: str, config: EncoderConfig) -> bool:
    """Whether a canonical name is known and takes no part in an embedding."""
    return name.startswith(family(config).unused) if family(config).unused else False


def layout_of(tensors: Iterable[Tensor], written_by: str | None) -> Layout:
    """flax or torch: by the file's own word, else by the names of its leaves."""
    if written_by == "flax":
        return "flax"
    if written_by == "pt":
        return "torch"
    leaves = {tensor.name.rpartition(".")[2] for tensor in tensors}
    return "flax" if leaves & {"kernel", "embedding", "scale"} else "torch"


def write_names(
    leaves: Mapping[str, np.ndarray],
    rows: Iterable[TableRow],
    config: EncoderConfig,
    layout: Layout = "torch",
) -> dict[str, np.ndarray]:
    """Leaves by logical path → tensors by file name and in file orientation: the inverse of loading.

    Raises KeyError when a leaf of ``rows`` is absent.
    """
    return {
        file_name(row, config, layout): np.ascontiguousarray(
            orient(np.asarray(leaves[row.path]), row, layout)
        )
        for row in rows
    }
