"""The files under which sentence-transformers embeds texts by one network and images by another, each with its head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.models.tables import HEAD
from specrun.runtime.predict.sentence_files import (
    SETTINGS,
    pooling_modes,
    write_dense,
    write_json,
)
from specrun.runtime.weights.write import Dtype
from specrun.spec.plan.networks import PretrainedConfig
from specrun.spec.plan.towers import VitConfig

_MODULES = "sentence_transformers.base.modules"
_TYPES = {
    "Router": f"{_MODULES}.router.Router",
    "Transformer": f"{_MODULES}.transformer.Transformer",
    "Dense": f"{_MODULES}.dense.Dense",
    "Normalize": f"{_MODULES}.normalize.Normalize",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
}
"""Where version 6 keeps its modules."""

GELU = "torch.nn.modules.activation.GELU"

Heads = Mapping[str, np.ndarray]


def write_router_files(
    folder: Path,
    text: PretrainedConfig,
    image: VitConfig,
    heads: Heads,
    longest: int,
    dtype: Dtype,
    prompts: Mapping[str, str],
) -> None:
    """Router → Normalize. ``folder`` holds the networks in ``text`` and ``image``; ``heads`` are theirs by path (in, out).

    ``image`` is pooled by its class token: sentence-transformers' mean would count that token too.
    """
    assert text.pooling != "none"
    limits = {"max_seq_length": longest, "do_lower_case": False}
    write_json(folder / "text" / "sentence_bert_config.json", limits)
    output = {"method": "forward", "method_output_name": "last_hidden_state"}
    seen = {"modality_config": {"image": output}, "module_output_name": "token_embeddings"}
    write_json(folder / "image" / "sentence_bert_config.json", seen)
    routes = {
        "text": _route(folder, "text", text.hidden_size, text.pooling, heads, dtype),
        "image": _route(folder, "image", image.hidden_size, "cls", heads, dtype),
    }
    router = {
        "types": {name: _TYPES[kind] for route in routes.values() for name, kind in route.items()},
        "structure": {route: list(modules) for route, modules in routes.items()},
        "parameters": {
            "default_route": "text",
            "allow_empty_key": True,
            "route_mappings": {str((None, name)): name for name in routes},
        },
    }
    write_json(folder / "router_config.json", router)
    modules = [("Router", ""), ("Normalize", "1_Normalize")]
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": _TYPES[kind]}
            for i, (kind, path) in enumerate(modules)
        ],
    )
    kept = {"prompts": dict(prompts), "default_prompt_name": None, "similarity_fn_name": "cosine"}
    write_json(folder / SETTINGS, kept)


def _route(
    folder: Path, name: str, width: int, pooling: str, heads: Heads, dtype: Dtype
) -> dict[str, str]:
    """The modules of one network, folder → class, in order; those behind the network are written."""
    route = {name: "Transformer", f"{name}_1_Pooling": "Pooling"}
    modes = {"word_embedding_dimension": width, **pooling_modes(pooling)}
    write_json(folder / f"{name}_1_Pooling" / "config.json", modes)
    for part, activation in (
        ("projection", None),
        (f"{HEAD}.first", GELU),
        (f"{HEAD}.second", None),
    ):
        kernel = heads.get(f"{name}.{part}.kernel")
        if kernel is None:
            continue
        own = f"{name}_{len(route)}_Dense"
        settings: dict[str, Any] = {} if activation is None else {"activation_function": activation}
        bias = heads.get(f"{name}.{part}.bias")
        write_dense(folder / own, kernel, dtype, bias=bias, settings=settings)
        route[own] = "Dense"
    return route
