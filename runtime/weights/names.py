"""Names in files ↔ our logical paths: one table per family, read in both directions.

The torch layout calls every leaf ``weight`` or ``bias`` and keeps matrices (out, in); the flax layout calls them
``kernel``, ``embedding``, ``scale``, ``bias`` and keeps matrices (in, out), as we do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from specrun.runtime.models.bert import table as bert
from specrun.runtime.models.clip import table as clip
from specrun.runtime.models.modernbert import table as modernbert
from specrun.runtime.models.mpnet import table as mpnet
from specrun.runtime.models.qwen3 import table as qwen3
from specrun.runtime.models.roberta import table as roberta
from specrun.runtime.models.siglip import table as siglip
from specrun.runtime.models.vit import table as vit
from specrun.runtime.weights.tensors import Tensor
from specrun.spec.plan.networks import EncoderConfig, TextEncoderConfig
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.towers import TowerConfig

Layout = Literal["torch", "flax"]

_LEAF: dict[Layout, dict[str, str]] = {
    "torch": {"kernel": "weight", "embedding": "weight", "scale": "weight", "bias": "bias"},
    "flax": {"kernel": "kernel", "embedding": "embedding", "scale": "scale", "bias": "bias"},
}
_OLD_LEAF = {"gamma": "weight", "beta": "bias"}  # LayerNorm as TensorFlow's BERT named it


@dataclass(frozen=True)
class Names:
    """How a family's files name things: module of every leaf, prefixes of head models, tensors known and not used.

    ``bare`` are leaves that lie in no module: their whole names, the same in every layout.
    """

    modules: Mapping[str, str]
    prefixes: tuple[str, ...]
    unused: tuple[str, ...]
    bare: Mapping[str, str] = field(default_factory=dict)


_FAMILIES: dict[str, Names] = {
    "bert": Names(
        dict(bert.NAMES + bert.POOLER + bert.VOCABULARY),
        bert.PREFIXES,
        bert.UNUSED,
        dict(bert.VOCABULARY_BARE),
    ),
    "roberta": Names(
        dict(roberta.NAMES + roberta.POOLER + roberta.VOCABULARY),
        roberta.PREFIXES,
        roberta.UNUSED,
        dict(roberta.VOCABULARY_BARE),
    ),
    "mpnet": Names(dict(mpnet.NAMES + mpnet.POOLER), mpnet.PREFIXES, mpnet.UNUSED),
    "clip_text": Names(dict(clip.TEXT_NAMES), (), clip.TEXT_UNUSED, dict(clip.LOGIT_BARE)),
    "clip_vision": Names(dict(clip.VISION_NAMES), (), clip.VISION_UNUSED, dict(clip.VISION_BARE)),
    "siglip_text": Names(dict(siglip.TEXT_NAMES), (), siglip.TEXT_UNUSED, dict(siglip.LOGIT_BARE)),
    "siglip_vision": Names(
        dict(siglip.VISION_NAMES), (), siglip.VISION_UNUSED, dict(siglip.VISION_BARE)
    ),
    "siglip2_vision": Names(
        dict(siglip.VISION_NAMES), (), siglip.VISION_UNUSED, dict(siglip.VISION_BARE)
    ),
    "vit": Names(dict(vit.NAMES), vit.PREFIXES, vit.UNUSED, dict(vit.BARE)),
    "qwen3": Names(dict(qwen3.NAMES), qwen3.PREFIXES, qwen3.UNUSED),
    "modernbert": Names(dict(modernbert.NAMES), modernbert.PREFIXES, modernbert.UNUSED),
    "text_encoder": Names({}, (), ()),  # our own paths are its names
}


def family(config: EncoderConfig | TowerConfig) -> Names:
    """The names of the family of ``config``."""
    return _FAMILIES[config.kind]


def file_name(row: TableRow, config: EncoderConfig | TowerConfig, layout: Layout) -> str:
    """The name that files of ``layout`` give to ``row``: ``encoder.layer.3.attention.self.query.weight``."""
    names, leaf = family(config), _LEAF[layout].get(row.role, "")
    if row.path in names.bare:
        return names.bare[row.path]
    layer = row.layer
    path = row.path if layer is None else row.path.replace(f"layers.{layer}.", "layers.{i}.", 1)
    if isinstance(config, TextEncoderConfig) or (row.new and path not in names.modules):
        return f"{row.path.rpartition('.')[0]}.{leaf}"
    return f"{names.modules[path].format(i=layer)}.{leaf}"


def orient(array: np.ndarray, row: TableRow, layout: Layout) -> np.ndarray:
    """File orientation → ours. A convolution's kernel becomes the matrix of a patch: (height, width, in) as rows."""
    if row.held is not None:
        turned = array.transpose(_TO_FLAX) if _is_turned(row, layout) else array
        return turned.reshape(row.shape)
    return array.T if layout == "torch" and row.role == "kernel" else array


def _orient_back(array: np.ndarray, row: TableRow, layout: Layout) -> np.ndarray:
    """Our orientation → the file's."""
    if row.held is None:
        return orient(array, row, layout)  # the same turn both ways
    flax = array.reshape(file_shape(row, "flax"))
    return flax.transpose(_TO_TORCH) if _is_turned(row, layout) else flax


def file_shape(row: TableRow, layout: Layout) -> tuple[int, ...]:
    """The shape that files of ``layout`` give to ``row``."""
    if row.held is not None:
        turned = layout == "flax" and len(row.held) == len(_TO_FLAX)
        return tuple(row.held[axis] for axis in _TO_FLAX) if turned else row.held
    return row.shape[::-1] if layout == "torch" and row.role == "kernel" else row.shape


_TO_FLAX = (2, 3, 1, 0)
"""Axes of a convolution's kernel: torch's (out, in, height, width) → flax's (height, width, in, out)."""
_TO_TORCH = (3, 2, 0, 1)


def _is_turned(row: TableRow, layout: Layout) -> bool:
    return layout == "torch" and row.held is not None and len(row.held) == len(_TO_FLAX)


def canonical(name: str, config: EncoderConfig | TowerConfig) -> str:
    """A name without its head model's prefix, and with today's word for a LayerNorm's leaves."""
    for prefix in family(config).prefixes:
        name = name.removeprefix(prefix)
    module, _, leaf = name.rpartition(".")
    if leaf in _OLD_LEAF and module.endswith("LayerNorm"):
        return f"{module}.{_OLD_LEAF[leaf]}"
    return name


def is_unused(name: str, config: EncoderConfig | TowerConfig) -> bool:
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
    config: EncoderConfig | TowerConfig,
    layout: Layout = "torch",
) -> dict[str, np.ndarray]:
    """Leaves by logical path → tensors by file name and in file orientation: the inverse of loading.

    Raises KeyError when a leaf of ``rows`` is absent.
    """
    return {
        # not np.ascontiguousarray, which gives a number an axis
        file_name(row, config, layout): np.asarray(
            _orient_back(np.asarray(leaves[row.path]), row, layout), order="C"
        )
        for row in rows
    }
