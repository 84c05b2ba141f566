"""Separate towers: each is a plan of its own, whose paths lack the side's name. Imports no jax."""

from __future__ import annotations

from dataclasses import replace

from specrun.spec.plan.model import LoraPlan, ModelPlan, Side


def tower(model: ModelPlan, side: Side) -> ModelPlan:
    """The network that embeds ``side``: the model itself where it is shared. Parameters of losses belong to none."""
    if model.towers == "shared":
        return model
    name = f"{side}."
    parameters = tuple(
        replace(p, path=p.path.removeprefix(name))
        for p in model.parameters
        if p.path.startswith(name)
    )
    return replace(
        model,
        towers="shared",
        groups=tuple(replace(g, tower=None) for g in model.groups if g.tower == side),
        parameters=parameters,
        modules=(),
        total_parameters=sum(p.size for p in parameters),
        trainable_parameters=sum(p.size for p in parameters if p.trained),
        lora=None if model.lora is None else _lora(model.lora, name),
    )


def _lora(lora: LoraPlan, name: str) -> LoraPlan:
    """The adapters of one tower, which may have none."""
    own = (m for m in lora.matches if m.module.startswith(name))
    return replace(lora, matches=tuple(replace(m, module=m.module.removeprefix(name)) for m in own))
