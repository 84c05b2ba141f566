"""AdamW on trees by path, with the learning rate as an argument.

State is ``{"first", "second", "count"}``, each a tree like the parameters. The count is kept for
every leaf, not once: the bias correction ``1 − βᵗ`` must start at ``t = 1`` for a leaf that starts
to train, or is reset, in the middle of a run, while the others go on with theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from specrun.runtime import trees
from specrun.runtime.trees import Tree
from specrun.spec.plan.training import AdamWPlan

_CLIP_EPS = 1e-6
"""torch's ``clip_grad_norm_`` divides by the norm plus this; so do we, to the same numbers."""


def start(parameters: Mapping[str, Any]) -> Tree:
    """State before the first update: moments of 0 and counts of 0. Traceable."""
    return {
        "first": jax.tree.map(jnp.zeros_like, parameters),
        "second": jax.tree.map(jnp.zeros_like, parameters),
        "count": jax.tree.map(lambda _: jnp.zeros((), jnp.int32), parameters),
    }


def global_norm(tree: Mapping[str, Any]) -> jax.Array:
    """L2 norm of all leaves together. NaN and infinity come through. []"""
    squares = [jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


def clip(gradients: Tree, norm: jax.Array, limit: float) -> Tree:
    """Gradients times ``min(1, limit / (norm + 1e-6))``, as torch's ``clip_grad_norm_``; 0 is off.

    A norm that is not finite makes every gradient NaN or 0 · infinity: nothing is hidden.
    """
    if limit == 0:
        return gradients
    factor = jnp.minimum(1.0, limit / (norm + _CLIP_EPS))
    return jax.tree.map(lambda g: g * factor, gradients)


def update(
    plan: AdamWPlan,
    decayed: Iterable[str],
    parameters: Tree,
    gradients: Tree,
    state: Tree,
    rate: jax.Array,
) -> tuple[Tree, Tree]:
    """(parameters, state) after one step of AdamW (Loshchilov and Hutter 2019, algorithm 2).

    ``p ← p − rate · (m̂ / (√v̂ + eps) + weight_decay · p)``, the decay only at the paths ``decayed``.
    As in torch, and unlike the paper, the rate multiplies the decay; the order of the operations is
    torch's too, so that the rounding agrees. ``gradients`` are clipped already. All trees have the
    same paths; ``rate`` is a scalar.
    """
    decay = dict.fromkeys(decayed, plan.weight_decay)
    old, slopes = trees.flatten(parameters), trees.flatten(gradients)
    before = {part: trees.flatten(state[part]) for part in ("first", "second", "count")}
    after: dict[str, dict[str, jax.Array]] = {"first": {}, "second": {}, "count": {}}
    new: dict[str, jax.Array] = {}
    for path, p in old.items():
        first, second, count = (before[part][path] for part in ("first", "second", "count"))
        m = first + (1.0 - plan.beta1) * (slopes[path] - first)
        v = plan.beta2 * second + (1.0 - plan.beta2) * jnp.square(slopes[path])
        t = count + 1
        spread = jnp.sqrt(v) / jnp.sqrt(_correction(plan.beta2, t)) + plan.eps
        kept = p * (1.0 - rate * decay[path]) if path in decay else p
        new[path] = kept - (rate / _correction(plan.beta1, t)) * (m / spread)
        after["first"][path], after["second"][path], after["count"][path] = m, v, t
    return trees.unflatten(new), {part: trees.unflatten(x) for part, x in after.items()}


def _correction(beta: float, count: jax.Array) -> jax.Array:
    """``1 − βᵗ`` by expm1: the plain form has a relative error of 6e-5 at β = 0.999, t = 1."""
    log_beta = math.log(beta) if beta > 0 else -math.inf
    return -jnp.expm1(count.astype(jnp.float32) * log_beta)
