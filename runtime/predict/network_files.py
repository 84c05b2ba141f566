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
from specrun.runtime.models.tables import pooler_rows, rows
from specrun.runtime.predict.order import Order
from specrun.runtime.weights.load import load_beside
from specrun.runtime.weights.names import write_names
from specrun.runtime.weights.write import FILES, LAYOUTS, Dtype, Form, write_weights
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import ModelPlan, PretrainedConfig, TextEncoderConfig, TextImageConfig

_DROPOUT = (
    "hidden_dropout_prob",
    "embedding_dropout",
    "mlp_dropout",
    "attention_probs_dropout_prob",
)
_BY_SPEC = ("pooling", "projection_dim", "multi_vector_dim", *_DROPOUT)
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
    """The encoder's tensors, and the pooler as the source has it. The head stands elsewhere."""
    config, layout = model.config, LAYOUTS[form]
    assert model.weights is not None
    assert not isinstance(config, TextEncoderConfig | TextImageConfig)
    leaves = {p: np.asarray(x) for p, x in unstack(parameters, model.groups).items()}
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


def config_json(raw: dict[str, Any], config: PretrainedConfig, dtype: Dtype) -> dict[str, Any]:
    """The source's config.json with what differs now: the class, the dtype of the file, the dropout."""
    model_type = str(raw["model_type"])
    family = family_of(model_type)
    assert family is not None  # inspect has read it
    kept = {k: v for k, v in raw.items() if k not in ("_name_or_path", "auto_map", "torch_dtype")}
    rates = {
        family.keys.get(x.name, x.name): getattr(config, x.name)
        for x in fields(config)
        if x.name in _DROPOUT
    }
    return {
        **kept,
        "architectures": [family.model_types[model_type]],
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
