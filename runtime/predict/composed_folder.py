"""Reading the directory of a composed model that an export wrote: two networks, their heads, and what joins them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.models.directory import PretrainedDirectory, inspect
from specrun.runtime.models.image_directory import inspect_image
from specrun.runtime.models.tables import HEAD, rows
from specrun.runtime.predict.as_read import head_rows, two_networks
from specrun.runtime.trees import Tree
from specrun.runtime.weights.safetensors_file import read_safetensors
from specrun.runtime.weights.tensors import READABLE
from specrun.spec.codec import CodecError, from_plain, to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import Prompts
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import NetworkConfig, TextImageConfig
from specrun.spec.plan.sides import SIDES, Side

JOINED = "specrun_composed.json"
"""What joins the networks: the configuration, the prompts, and the lengths."""

TEXT, IMAGE, HEADS = "text", "image", "heads.safetensors"
"""The directories of the networks, and the file of what neither class has."""

_BY_SPEC = (
    *("pooling", "projection_dim", "multi_vector_dim", "hidden_dropout_prob"),
    *("embedding_dropout", "mlp_dropout", "attention_probs_dropout_prob"),
)
"""Numbers that a network's own config.json does not tell."""

FORMAT = 1
"""Version of ``specrun_composed.json``."""

_AGAIN = "export the run again"


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The content of ``specrun_composed.json``: both networks with the width of their heads, and the texts' rules."""

    config: TextImageConfig
    prompts: Prompts
    lengths: Mapping[Side, int]

    def plain(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "format": FORMAT,
            "config": to_plain(self.config),
            "prompts": to_plain(self.prompts),
            "lengths": {str(side): self.lengths[side] for side in SIDES},
        }


@dataclass(frozen=True, kw_only=True)
class ComposedFolder:
    """The model as ``trained.Trained`` has it, its tokenizer's directory, and the text rules."""

    model: ModelPlan
    parameters: Tree
    text: PretrainedDirectory
    prompts: Prompts
    lengths: Mapping[Side, int]


def is_head(path: str) -> bool:
    """Whether a leaf of one network lies on top of what Hugging Face's class has."""
    return path.startswith((f"{HEAD}.", "projection."))


def read_composed(folder: Path) -> ComposedFolder:
    """The model in ``folder``. InputError names what is missing, damaged, or does not belong together."""
    joined = _joined(folder / JOINED)
    config = joined.config
    text, image = inspect(folder / TEXT), inspect_image(folder / IMAGE)
    _check_config(folder / TEXT, text.config, config.text)
    _check_config(folder / IMAGE, image.config, config.image)
    for name, found in ((TEXT, text), (IMAGE, image)):
        if found.weights is None:
            raise _damaged(folder / name, "it holds a configuration, but no weights")
    assert text.weights is not None
    assert image.weights is not None
    model, parameters = two_networks(
        config, text.weights, image.weights, image.processor, _heads(folder / HEADS, config)
    )
    return ComposedFolder(
        model=model,
        parameters=parameters,
        text=replace(text, config=config.text),
        prompts=joined.prompts,
        lengths=joined.lengths,
    )


def _joined(path: Path) -> Joined:
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)[:200]) from error
    keys = {"format", "config", "prompts", "lengths"}
    if not isinstance(raw, dict) or raw.keys() != keys:
        raise _damaged(path, f"it must be an object of {', '.join(sorted(keys))}")
    if raw["format"] != FORMAT:
        raise _damaged(path, f"format must be {FORMAT}, found {str(raw['format'])[:40]}")
    try:
        config = from_plain(TextImageConfig, raw["config"], "config")
        prompts = from_plain(Prompts, raw["prompts"], "prompts")
    except CodecError as error:
        raise _damaged(path, str(error)[:200]) from error
    lengths = raw["lengths"]
    if not isinstance(lengths, dict) or not all(_is_length(lengths.get(side)) for side in SIDES):
        raise _damaged(path, "lengths must hold a whole number above 0 for query and for positive")
    return Joined(config=config, prompts=prompts, lengths={side: lengths[side] for side in SIDES})


def _is_length(value: Any) -> bool:
    return type(value) is int and value >= 1


def _check_config(folder: Path, found: object, config: NetworkConfig) -> None:
    """A network's own config.json must tell of the network that was joined."""
    if type(found) is type(config):
        told = {x.name: getattr(config, x.name) for x in fields(config) if x.name in _BY_SPEC}
        if replace(found, **told) == config:
            return
    raise _damaged(folder / "config.json", f"it is not of the network that {JOINED} tells of")


def _heads(path: Path, config: TextImageConfig) -> dict[str, np.ndarray]:
    """The heads' leaves f32 by path; exactly those that ``config`` has."""
    expected = {
        f"{name}.{row.path}": row.shape
        for name, network in ((TEXT, config.text), (IMAGE, config.image))
        for row in (*rows(network), *head_rows(network, config.head_dim))
        if is_head(row.path)
    }
    if not expected:
        return {}
    if not path.is_file():
        raise _damaged(path, "it is missing")
    contents = read_safetensors(path)
    if contents.faults:
        raise InputError(contents.faults)
    found = {t.name: t.shape for t in contents.tensors}
    wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    wrong += [f"{t.name} ({t.dtype})" for t in contents.tensors if t.dtype not in READABLE]
    if wrong:
        raise _damaged(path, f"missing, unexpected or misshapen: {', '.join(wrong[:5])}")
    return {t.name: t.float32() for t in contents.tensors}


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged: {what}", code="damaged-export", hint=_AGAIN)
