"""One network's files in a Hugging Face directory: weights under the names of its class, and config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.models.directory import inspect
from specrun.runtime.models.families import family_of
from specrun.runtime.models.stacking import unstack
from specrun.runtime.models.tables import pooler_rows, rows, vocabulary_rows
from specrun.runtime.predict.order import Order
from specrun.runtime.weights.load import load_beside
from specrun.runtime.weights.names import family, write_names
from specrun.runtime.weights.write import FILES, LAYOUTS, Dtype, Form, write_weights
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import (
    PretrainedConfig,
    TextEncoderConfig,
    TextImageConfig,
    is_language_model,
)

_DROPOUT = (
    "hidden_dropout_prob",
    "embedding_dropout",
    "mlp_dropout",
    "attention_probs_dropout_prob",
)
_BY_SPEC = ("pooling", "projection_dim", "multi_vector_dim", "vocabulary_head", *_DROPOUT)
"""Numbers of a configuration that the spec may set beside config.json."""


@dataclass(frozen=True)
class Source:
    """The directory that the network's weights were read from, and its config.json as it stands."""

    directory: Path
    config: dict[str, Any]


def source_of(model: ModelPlan, order: Order) -> Source:
    """The source's config.json, which must still be the plan's."""
    if model.weights is None:
        raise InputError(
            f"the plan of {order.folder} names no directory that its weights were read from",
            code="source",
            hint="compile with the model's weights in place",
        )
    directory = Path(model.weights.directory)
    found, config = inspect(directory, weights=False).config, model.config
    same = {x.name: getattr(config, x.name) for x in fields(config) if x.name in _BY_SPEC}
    if replace(found, **same) != config:
        raise InputError(
            f"config.json in {directory} is not the one that the plan was compiled with",
            code="input-changed",
            hint="put the old file back",
        )
    return Source(directory, json.loads((directory / "config.json").read_text("utf-8")))


def write_network(
    new: Path, order: Order, form: Form, model: ModelPlan, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """The encoder's tensors, and the pooler as the source has it. The head stands elsewhere.

    A language model's are those of its class: its head, and the encoder under the class's prefix, without a pooler.
    """
    config, layout = model.config, LAYOUTS[form]
    assert model.weights is not None
    assert not isinstance(config, TextEncoderConfig | TextImageConfig)
    leaves = {p: np.asarray(x) for p, x in unstack(parameters, model.groups).items()}
    if is_language_model(config):
        write_weights(new / FILES[form], language_tensors(leaves, config), form, order.dtype)
        return {
            "weights": FILES[form],
            "dtype": order.dtype,
            "tensors_of_the_source": [],
            "language_model": True,
            "left_out": [x for x in _left_out(model, False) if not x.startswith(_HEADS)],
        }
    kept = load_beside(model.weights, config, pooler_rows(config))
    pooler = write_names(kept, [r for r in pooler_rows(config) if r.path in kept], config, layout)
    tensors = write_names(leaves, [r for r in rows(config) if not r.new], config, layout)
    write_weights(new / FILES[form], {**tensors, **pooler}, form, order.dtype)
    return {
        "weights": FILES[form],
        "dtype": order.dtype,
        "tensors_of_the_source": sorted(pooler),
        "left_out": _left_out(model, bool(pooler)),
    }


_HEADS = ("cls.predictions.", "lm_head.")
"""How the names of heads for ids begin."""


def language_tensors(
    leaves: Mapping[str, np.ndarray], config: PretrainedConfig
) -> dict[str, np.ndarray]:
    """The tensors of the class with a head for ids, by their names in torch's files."""
    head = vocabulary_rows(config)
    own = {row.path for row in head}
    encoder = write_names(leaves, [r for r in rows(config) if r.path not in own], config)
    [prefix] = family(config).prefixes
    named = {prefix + name: tensor for name, tensor in encoder.items()}
    return named | write_names(leaves, head, config)


def config_json(raw: dict[str, Any], config: PretrainedConfig, dtype: Dtype) -> dict[str, Any]:
    """The source's config.json with what differs now: the class, the dtype of the file, the dropout."""
    model_type = str(raw["model_type"])
    read_as = family_of(model_type)
    assert read_as is not None  # inspect has read it
    kept = {k: v for k, v in raw.items() if k not in ("_name_or_path", "auto_map", "torch_dtype")}
    rates = {
        read_as.keys.get(x.name, x.name): getattr(config, x.name)
        for x in fields(config)
        if x.name in _DROPOUT
    }
    return {
        **kept,
        "architectures": [
            (read_as.masked_lm if is_language_model(config) else read_as.model_types)[model_type]
        ],
        "dtype": dtype,
        **rates,
    }


def _left_out(model: ModelPlan, pooler: bool) -> list[str]:
    """Known tensors of the source that the export lacks, by the source's names."""
    assert model.weights is not None
    directory = Path(model.weights.directory)
    try:
        found = inspect(directory)
    except InputError:
        found = None
    if found is None or found.weights is None:
        return [f"whatever else {directory} held: its weights are gone or damaged"]
    return [name for name in found.unused if not (pooler and "pooler." in name)]
