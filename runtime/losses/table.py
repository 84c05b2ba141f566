"""Which plan makes which loss. Another loss is one more function, and one more entry here."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime import trees
from specrun.runtime.losses import (
    colbert,
    cosent,
    dense_late,
    distillation,
    infonce,
    siglip,
    triplet,
)
from specrun.runtime.losses.algebra import Term, given
from specrun.runtime.losses.masked import masked_diffusion
from specrun.runtime.losses.matryoshka import matryoshka
from specrun.runtime.models.vocabulary import Logits
from specrun.runtime.trees import Tree
from specrun.spec.plan.losses import InfoNCE, Late, LossPlan, MaskedDiffusion, SigLIP
from specrun.spec.plan.plan import Plan

_TERMS: Mapping[str, Callable[[Any, int], Term]] = {
    "infonce": infonce.infonce,
    "triplet": triplet.triplet,
    "siglip": siglip.siglip,
    "cosent": cosent.cosent,
    "colbert": colbert.colbert,
    "dense_late_kl": dense_late.dense_late_kl,
    "distillation": distillation.distillation,
}

_INITIAL: Mapping[str, Callable[[Any], dict[str, np.ndarray]]] = {
    "infonce": infonce.initial,
    "siglip": siglip.initial,
}
"""Kinds that have parameters of their own."""


def terms(plan: Plan, logits: Logits | None = None) -> dict[str, Term]:
    """Every loss of the plan by name, under the Matryoshka combinator where the plan has one.

    ``logits`` is the head of a language model, where the plan has one.
    """
    made = {loss.name: _term(plan, loss, logits) for loss in plan.losses}
    if plan.matryoshka is None:
        return made
    return {name: matryoshka(term, plan.matryoshka) for name, term in made.items()}


def _term(plan: Plan, loss: LossPlan, logits: Logits | None) -> Term:
    tile = _tile(plan, loss)
    if isinstance(loss, MaskedDiffusion):
        return masked_diffusion(loss, given(logits), tile, plan.tokenizer.around)
    return _TERMS[loss.kind](loss, tile)


def without_explicit(plan: Plan) -> Plan:
    """The plan whose losses take other rows' positives alone, for stages in which nothing is mined."""
    losses = tuple(
        replace(loss, negatives="in_batch") if getattr(loss, "negatives", None) == "all" else loss
        for loss in plan.losses
    )
    return replace(plan, losses=losses)


def _tile(plan: Plan, loss: LossPlan) -> int:
    """How much of its scores a loss computes at a time: rows, or documents where tokens are compared."""
    if isinstance(loss, Late):
        return given(plan.train.document_tile_rows)
    return plan.train.score_tile_rows


def initial_parameters(plan: Plan) -> dict[str, np.ndarray]:
    """Parameters that belong to losses, by path, at their start."""
    owners = [loss for loss in plan.losses if loss.kind in _INITIAL]
    return {path: x for loss in owners for path, x in _INITIAL[loss.kind](loss).items()}


def project(plan: Plan, parameters: Tree) -> Tree:
    """Parameters after an update, with those of losses brought back into their range."""
    bounded = {infonce.path(loss) for loss in plan.losses if isinstance(loss, InfoNCE)}
    flat = trees.flatten(parameters)
    return trees.unflatten({p: infonce.project(x) if p in bounded else x for p, x in flat.items()})


def scalars(
    plan: Plan, names: Container[str], parameters: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """``temperature.NAME`` and ``bias.NAME`` of the named losses, those that are parameters."""
    found: dict[str, jax.Array] = {}
    for loss in plan.losses:
        if loss.name not in names:
            continue
        if isinstance(loss, InfoNCE) and loss.train_temperature:
            found[f"temperature.{loss.name}"] = jnp.reciprocal(infonce.scale(loss, parameters))
        if isinstance(loss, SigLIP) and loss.train_temperature:
            found[f"temperature.{loss.name}"] = jnp.reciprocal(siglip.scale(loss, parameters))
        if isinstance(loss, SigLIP) and loss.train_bias:
            found[f"bias.{loss.name}"] = siglip.bias(loss, parameters)
    return found
