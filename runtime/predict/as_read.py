"""The plan and the parameters of a network as it is read from a directory, whatever trained it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from specrun.runtime.models.shapes import dense
from specrun.runtime.models.stacking import group_of, groups_of, stack
from specrun.runtime.models.tables import HEAD, rows
from specrun.runtime.trees import Tree
from specrun.runtime.weights.load import load_weights
from specrun.spec.plan.images import ImageProcessor
from specrun.spec.plan.model import ModelPlan, WeightsPlan
from specrun.spec.plan.networks import NetworkConfig, TextImageConfig
from specrun.spec.plan.parameters import Parameter, TableRow
from specrun.spec.plan.sides import Tower, inside_layer


def two_networks(
    config: TextImageConfig,
    text: WeightsPlan,
    image: WeightsPlan,
    processor: ImageProcessor,
    heads: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> tuple[ModelPlan, Tree]:
    """A model of texts and images: its plan, and its parameters (nested f32 arrays).

    ``heads`` are what the files of the networks lack, by path with the name of the network in front.
    """
    networks: dict[Tower, tuple[NetworkConfig, WeightsPlan]] = {
        "text": (config.text, text),
        "image": (config.image, image),
    }
    parts = {
        name: as_read(own, head_rows(own, config.head_dim)) for name, (own, _) in networks.items()
    }
    tree: Tree = {}
    for name, (own, weights) in networks.items():
        leaves = load_weights(weights, own, rows(own))
        begin = f"{name}."
        leaves |= {p.removeprefix(begin): x for p, x in heads.items() if p.startswith(begin)}
        tree[name] = stack(leaves, parts[name].groups, np.stack)
    model = replace(
        parts["text"],
        config=config,
        towers="text_image",
        groups=tuple(replace(g, tower=name) for name, part in parts.items() for g in part.groups),
        parameters=tuple(
            replace(p, path=f"{name}.{p.path}")
            for name, part in parts.items()
            for p in part.parameters
        ),
        total_parameters=sum(part.total_parameters for part in parts.values()),
        embedding_dim=config.head_dim or parts["text"].embedding_dim,
        weights=text,
        image_processor=processor,
        image_weights=image,
    )
    return model, tree


def head_rows(config: NetworkConfig, head_dim: int | None) -> tuple[TableRow, ...]:
    """The head of a composed model on a network: Linear, GELU, Linear; none where ``head_dim`` is None."""
    if head_dim is None:
        return ()
    width = as_read(config).embedding_dim
    return (
        *dense(f"{HEAD}.first", width, head_dim),
        *dense(f"{HEAD}.second", head_dim, head_dim),
    )


def as_read(config: NetworkConfig, more: tuple[TableRow, ...] = ()) -> ModelPlan:
    """The plan of a network as it is read: layers that are alike in one group. ``more`` are rows on top of it."""
    table = (*rows(config), *more)
    groups = groups_of(table)
    found: dict[str, Parameter] = {}
    for row in table:
        path, shape, stacked = row.path, row.shape, None
        if row.layer is not None:
            number, _ = group_of(groups, row.layer)
            path = f"groups.{number}.{inside_layer(row.path)}"
            shape, stacked = (groups[number].count, *row.shape), groups[number].first
        found[path] = Parameter(path=path, shape=shape, role=row.role, stacked=stacked, new=False)
    total = sum(p.size for p in found.values())
    return ModelPlan(
        config=config,  # type: ignore[arg-type]
        groups=groups,
        parameters=tuple(found.values()),
        modules=(),
        total_parameters=total,
        trainable_parameters=0,
        embedding_dim=getattr(config, "embedding_dim", None)
        or getattr(config, "projection_dim", None)
        or config.hidden_size,
    )
