"""LoRA on stacked trees (Hu et al. 2021): which leaves are adapters, merging them into kernels and out again.

The layer itself computes with its adapter (``modules.Dense``); these functions are about whole trees. ``lora_a``
(…, in, r) and ``lora_b`` (…, r, out) stand beside the ``kernel`` (…, in, out) they adapt, with the stack's axis in
front, so one line serves a layer and a stack. LoRA and rsLoRA (Kalajdzievski 2023) differ in ``LoraPlan.scale`` only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from specrun.runtime.models.towers import lora_of
from specrun.runtime.trees import Tree, flatten, unflatten
from specrun.spec.plan.model import ModelPlan

LEAVES = ("lora_a", "lora_b")
"""Last names of an adapter's leaves."""


def split(params: Tree) -> tuple[Tree, Tree]:
    """(the tree without adapters, the adapters alone)."""
    leaves = flatten(params)
    ours = {path: leaf for path, leaf in leaves.items() if is_adapter(path)}
    rest = {path: leaf for path, leaf in leaves.items() if path not in ours}
    return unflatten(rest), unflatten(ours)


def is_adapter(path: str) -> bool:
    """Whether a dotted path is an adapter's leaf."""
    return path.rpartition(".")[2] in LEAVES


def plain(model: ModelPlan) -> ModelPlan:
    """The plan of the merged model: the same groups and leaves, without adapters."""
    parameters = tuple(p for p in model.parameters if not is_adapter(p.path))
    return replace(
        model,
        groups=tuple(replace(group, adapted=()) for group in model.groups),
        parameters=parameters,
        total_parameters=sum(p.size for p in parameters),
        trainable_parameters=sum(p.size for p in parameters if p.trained),
        modules=(),
        lora=None,
    )


def merge(params: Tree, model: ModelPlan) -> Tree:
    """Leaves of ``plain(model)``: every adapted kernel is kernel + scale · A B. Raises ValueError without adapters."""
    base, adapters = split(params)
    return _with_updates(base, adapters, lora_of(model).scale)


def unmerge(merged: Tree, adapters: Tree, model: ModelPlan) -> Tree:
    """The inverse of ``merge`` to rounding: ``merged`` without the updates of ``adapters``, and these beside it."""
    base = flatten(_with_updates(merged, adapters, -lora_of(model).scale))
    return unflatten({**base, **flatten(adapters)})


def _with_updates(base: Tree, adapters: Tree, scale: float) -> Tree:
    leaves, ours = flatten(base), flatten(adapters)
    for path, a in ours.items():
        module, _, leaf = path.rpartition(".")
        if leaf == "lora_a":
            update = scale * _product(a, ours[f"{module}.lora_b"])
            leaves[f"{module}.kernel"] = leaves[f"{module}.kernel"] + update
    return unflatten(leaves)


def _product(a: Any, b: Any) -> jax.Array:
    return jnp.einsum("...ir,...ro->...io", a, b, precision=jax.lax.Precision.HIGHEST)
