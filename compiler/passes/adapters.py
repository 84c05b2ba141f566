"""Passes for ``lora``: the adapters in numbers, and those that they start from."""

from __future__ import annotations

import math
from dataclasses import replace

from specrun.compiler.draft import Context, Draft
from specrun.compiler.locate import locate
from specrun.compiler.passes.outside import tell
from specrun.compiler.passes.widths import embedding_dim, towers_of
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import LoraPlan, ModelPlan

NAMED = 5
"""Faults of an adapter that are told."""


def lora_plan(draft: Draft) -> LoraPlan | None:
    """The section ``lora`` with what it matched; None where there is none."""
    lora = draft.spec.lora
    if lora is None:
        return None
    return LoraPlan(
        rank=lora.rank,
        alpha=float(lora.alpha),
        dropout=lora.dropout,
        scale=scale_of(lora.rank, lora.alpha, lora.rslora),
        matches=draft.matches,
        init_from=draft.adapter,
    )


def start_adapters(draft: Draft, context: Context) -> Draft:
    """The adapter named by ``lora.init_from``, read and held against the network. Its leaves are not new."""
    lora = draft.spec.lora
    if lora is None or lora.init_from is None or draft.config is None:
        return draft
    folder = locate(lora.init_from, context.folder, context.local)
    try:
        found = context.facts.adapter(folder, _network(draft))
    except InputError as error:
        tell(error, "lora.init_from", context, most=NAMED)
        return draft
    rows = tuple(replace(r, new=False) if _is_adapter(r.role) else r for r in draft.rows)
    return replace(draft, adapter=found, rows=rows)


def _is_adapter(role: str) -> bool:
    return role in ("lora_a", "lora_b")


def _network(draft: Draft) -> ModelPlan:
    """As much of the network's plan as says which modules carry adapters, under which names."""
    config = draft.need("config")
    return ModelPlan(
        config=config,
        groups=(),
        parameters=(),
        modules=(),
        total_parameters=0,
        trainable_parameters=0,
        embedding_dim=embedding_dim(config),
        towers=towers_of(draft.spec.model, config),
        lora=lora_plan(draft),
    )


def scale_of(rank: int, alpha: float, rslora: bool) -> float:
    """α / r (Hu et al. 2021), or α / √r (Kalajdzievski 2023)."""
    return alpha / math.sqrt(rank) if rslora else alpha / rank
