"""Which plan makes which loss. Another loss is one more function, and one more entry here."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime import trees
from specrun.runtime.losses import infonce
from specrun.runtime.losses.algebra import Term
from specrun.runtime.losses.matryoshka import matryoshka
from specrun.runtime.trees import Tree
from specrun.spec.plan.plan import Plan

_TERMS = {"infonce": infonce.infonce}


def terms(plan: Plan) -> dict[str, Term]:
    """Every loss of the plan by name, under the Matryoshka combinator where the plan has one."""
    tile = plan.train.score_tile_rows
    made = {loss.name: _TERMS[loss.kind](loss, tile) for loss in plan.losses}
    if plan.matryoshka is None:
        return made
    return {name: matryoshka(term, plan.matryoshka) for name, term in made.items()}


def initial_parameters(plan: Plan) -> dict[str, np.ndarray]:
    """Parameters that belong to losses, by path, at their start."""
    return {path: x for loss in plan.losses for path, x in infonce.initial(loss).items()}


def project(plan: Plan, parameters: Tree) -> Tree:
    """Parameters after an update, with those of losses brought back into their range."""
    bounded = {infonce.path(loss) for loss in plan.losses}
    flat = trees.flatten(parameters)
    return trees.unflatten({p: infonce.project(x) if p in bounded else x for p, x in flat.items()})


def temperatures(
    plan: Plan, names: Container[str], parameters: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """``temperature.NAME`` of the named losses whose temperature is a parameter."""
    chosen = [loss for loss in plan.losses if loss.name in names and loss.train_temperature]
    return {
        f"temperature.{loss.name}": jnp.reciprocal(infonce.scale(loss, parameters))
        for loss in chosen
    }
