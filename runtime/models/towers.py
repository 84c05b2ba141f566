"""The networks of a model of two: each is a plan of its own, whose paths lack its name. Imports no jax."""

from __future__ import annotations

from dataclasses import replace

from specrun.spec.plan.model import LoraPlan, ModelPlan
from specrun.spec.plan.networks import EncoderConfig, NetworkConfig, TextImageConfig
from specrun.spec.plan.sides import Tower


def tower(model: ModelPlan, name: Tower) -> ModelPlan:
    """The network called ``name``. Parameters of losses belong to none."""
    begin = f"{name}."
    parameters = tuple(
        replace(p, path=p.path.removeprefix(begin))
        for p in model.parameters
        if p.path.startswith(begin)
    )
    return replace(
        model,
        config=_config(model, name),  # type: ignore[arg-type]
        towers="shared",
        groups=tuple(replace(g, tower=None) for g in model.groups if g.tower == name),
        parameters=parameters,
        modules=(),
        total_parameters=sum(p.size for p in parameters),
        trainable_parameters=sum(p.size for p in parameters if p.trained),
        lora=None if model.lora is None else _lora(model.lora, begin),
        weights=model.image_weights if name == "image" else model.weights,
    )


def network_config(model: ModelPlan) -> NetworkConfig:
    """The configuration of a single network, such as ``tower`` gives."""
    config: EncoderConfig | NetworkConfig = model.config
    if isinstance(config, TextImageConfig):
        raise ValueError("internal error: one network is asked for, and the model has two")
    return config


def _config(model: ModelPlan, name: Tower) -> NetworkConfig:
    config = model.config
    if isinstance(config, TextImageConfig):
        return config.image if name == "image" else config.text
    return config


def _lora(lora: LoraPlan, begin: str) -> LoraPlan:
    """The adapters of one tower, which may have none."""
    own = (m for m in lora.matches if m.module.startswith(begin))
    return replace(
        lora, matches=tuple(replace(m, module=m.module.removeprefix(begin)) for m in own)
    )


def lora_of(model: ModelPlan) -> LoraPlan:
    """The plan of the adapters. ValueError, an internal error, where there are none."""
    if model.lora is None:
        raise ValueError("internal error: the plan has no adapters")
    return model.lora
