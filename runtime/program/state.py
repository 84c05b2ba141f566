"""The state of a run as nested plain dicts: how it begins, and how it passes between segments.

``{"params": trained, "frozen": the rest, "optimizer": {"first", "second", "count"}, "step"}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from specrun.runtime import trees
from specrun.runtime.losses import table as losses
from specrun.runtime.program import mesh as meshes
from specrun.runtime.program import optimizer
from specrun.runtime.trees import Tree
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.plan import Plan

State = dict[str, Any]

CARRIED = ("params", "optimizer", "step")
"""The parts that a step replaces; ``frozen`` is an argument beside them, never a constant."""

MOMENTS = ("first", "second", "count")


def init(plan: Plan, mesh: Mesh, encoder: Tree) -> State:
    """Step 0 with everything frozen: the state that ``enter`` makes the first segment's from.

    ``encoder`` holds the encoder's arrays; the parameters of losses are added. ValueError (an
    internal error) when together they are not the plan's parameters.
    """
    own = trees.unflatten(losses.initial_parameters(plan))
    parameters = trees.merge(encoder, own)
    _check_parameters(plan, parameters)
    return {
        "params": {},
        "frozen": meshes.place_state(parameters, mesh),
        "optimizer": {part: {} for part in MOMENTS},
        "step": meshes.place_state(np.int32(0), mesh),
    }


def enter(plan: Plan, mesh: Mesh, index: int, old: State) -> State:
    """The state at the start of segment ``index``: what trains moves, fresh where the plan says.

    Leaves that go on training keep their moments and their count. Leaves that stop lose them, since
    they are fresh should they train again. The step becomes the segment's first, which differs from the
    old one's where the segment before ended early. RunError when the state does not fit the plan.
    """
    segment = plan.segments[index]
    params, frozen = _split(parameters_of(old), segment.trained)
    kept = _kept(plan, index, old)
    fresh = _fresh({p: x for p, x in trees.flatten(params).items() if p not in kept}, mesh)
    moments = {
        part: trees.unflatten(
            {p: x for p, x in trees.flatten(old["optimizer"][part]).items() if p in kept}
            | fresh[part]
        )
        for part in MOMENTS
    }
    first = meshes.place_state(np.int32(segment.first_step), mesh)
    return {"params": params, "frozen": frozen, "optimizer": moments, "step": first}


def parameters_of(tree: Mapping[str, Any]) -> Tree:
    """All parameters of a state as one nested dict; parameters themselves come back as they are."""
    if "params" in tree and "frozen" in tree:
        return trees.merge(tree["params"], tree["frozen"])
    return dict(tree)


def abstract_state(plan: Plan, mesh: Mesh, index: int) -> State:
    """Shapes, dtypes and placement of the state in segment ``index``: the target of a restore."""
    trained = set(plan.segments[index].trained)
    where = meshes.replicated(mesh)

    def leaf(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=where)

    leaves = {p.path: leaf(p.shape, jnp.float32) for p in plan.model.parameters}
    params, frozen = trees.split(trees.unflatten(leaves), trained)
    return {
        "params": params,
        "frozen": frozen,
        "optimizer": {
            "first": params,
            "second": params,
            "count": jax.tree.map(lambda _: leaf((), jnp.int32), params),
        },
        "step": leaf((), jnp.int32),
    }


def _split(parameters: Tree, trained: tuple[str, ...]) -> tuple[Tree, Tree]:
    try:
        return trees.split(parameters, trained)
    except KeyError as error:
        raise RunError(f"the state lacks parameters that the segment trains: {error}") from None


def _kept(plan: Plan, index: int, old: State) -> set[str]:
    """Paths whose optimizer state goes on."""
    segment = plan.segments[index]
    fresh = set(segment.trained if segment.reset_optimizer else segment.fresh)
    kept = set(segment.trained) - fresh
    if missing := sorted(kept - trees.flatten(old["params"]).keys()):
        raise RunError(
            f"segment {index} keeps the optimizer state of parameters that did not train before: "
            + ", ".join(missing)
        )
    return kept


def _fresh(parameters: dict[str, Any], mesh: Mesh) -> dict[str, dict[str, Any]]:
    """Zero moments and counts by path, made on the devices. Each is an array of its own."""
    make = jax.jit(lambda: optimizer.start(shapes), out_shardings=meshes.replicated(mesh))
    shapes = {p: jax.ShapeDtypeStruct(x.shape, x.dtype) for p, x in parameters.items()}
    return make() if parameters else {part: {} for part in MOMENTS}


def _check_parameters(plan: Plan, parameters: Tree) -> None:
    found = {p: (tuple(x.shape), str(x.dtype)) for p, x in trees.flatten(parameters).items()}
    expected = {p.path: (p.shape, "float32") for p in plan.model.parameters}
    differing = sorted(p for p in found.keys() | expected.keys() if found.get(p) != expected.get(p))
    if differing:
        raise ValueError(
            "internal error: the parameters made differ from the plan's: "
            + "; ".join(f"{p}: {found.get(p)}, planned {expected.get(p)}" for p in differing)
        )
