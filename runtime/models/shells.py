"""Modules without numbers, and layers of one structure stacked and scanned.

``shell`` makes a module's graph and abstract leaves once, without allocating, and ``bind`` is the one way to give it
leaves: it compares paths, shapes and dtypes first, because ``nnx.merge`` binds by position and checks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from specrun.runtime.models.randomness import Keys
from specrun.runtime.trees import Tree, flatten


@dataclass(frozen=True)
class Shell:
    """A module without numbers: its graph, and ``abstract``, the nested dict of its leaves' shapes and dtypes."""

    graph: Any
    abstract: Tree


def shell(make: Callable[[], nnx.Module]) -> Shell:
    """Trace ``make`` abstractly: nothing is allocated."""
    graph, state = nnx.split(nnx.eval_shape(make))
    return Shell(graph, nnx.to_pure_dict(state))


def bind(module: Shell, tree: Mapping[str, Any]) -> Any:
    """The module of ``module`` with the leaves of ``tree``. Raises ValueError that names every misfit.

    This guards against an error of the program, not of its user: weights from outside were checked when read.
    """
    faults = misfits(flatten(module.abstract), flatten(tree))
    if faults:
        raise ValueError("internal error: leaves do not fit the module: " + "; ".join(faults))
    return nnx.merge(module.graph, dict(tree))


def misfits(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Sentences for each leaf missing, unexpected, misshapen or of another dtype, by dotted path."""
    faults = [f"{path} is missing" for path in expected if path not in found]
    faults += [f"{path} is unexpected" for path in found if path not in expected]
    for path, leaf in expected.items():
        other = found.get(path)
        if other is None:
            continue
        if tuple(leaf.shape) != tuple(other.shape):
            faults.append(f"{path} has shape {tuple(other.shape)}, expected {tuple(leaf.shape)}")
        elif leaf.dtype != other.dtype:
            faults.append(f"{path} is {other.dtype}, expected {leaf.dtype}")
    return faults


@dataclass(frozen=True)
class Stack:
    """``count`` layers equal in structure, scanned. Leaves have the layers as axis 0; a layer knows nothing of it.

    ``remat`` recomputes each layer in the backward pass; ``unroll`` layers are one iteration of the scan.
    """

    layer: Shell
    count: int
    remat: bool = False
    unroll: int = 1

    @property
    def abstract(self) -> Tree:
        """Leaves of the stack: those of a layer with the layers as axis 0."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((self.count, *leaf.shape), leaf.dtype),
            self.layer.abstract,
        )

    def __call__(
        self, params: Tree, x: jax.Array, *context: Any, keys: Keys = None, each: Any = None
    ) -> jax.Array:
        """x [B, S, D] through every layer; ``keys`` [count, B] or None; ``context`` goes to each layer unchanged.

        Of ``each`` [count, …] a layer is given its own behind the context; None is nothing.
        """

        def body(carry: jax.Array, per: tuple[Tree, Keys, Any]) -> tuple[jax.Array, None]:
            leaves, key, own = per
            more = () if own is None else (own,)
            return bind(self.layer, leaves)(carry, *context, *more, key=key), None

        unroll = max(1, min(self.unroll, self.count))
        if self.remat:
            # Within one iteration XLA would merge what is computed again with what was computed.
            body = jax.checkpoint(body, prevent_cse=unroll > 1)
        return jax.lax.scan(body, x, (params, keys, each), length=self.count, unroll=unroll)[0]
