"""Parameter trees: nested dicts with string keys, dotted paths, and layers stacked by group. Imports no jax.

A *logical* path names one layer (``layers.3.mlp.up.kernel``); a *stacked* path names a group, whose leaves
have the layers as axis 0 (``groups.0.mlp.up.kernel``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from specrun.runtime.trees import Tree, flatten, unflatten
from specrun.spec.plan.parameters import Group, Parameter, TableRow
from specrun.spec.plan.sides import inside_layer


def groups_of(table: Sequence[TableRow]) -> tuple[Group, ...]:
    """Runs of layers that are alike in their parameters, without adapters."""
    layers: dict[int, list[tuple[str, tuple[int, ...]]]] = {}
    for row in table:
        if row.layer is not None:
            layers.setdefault(row.layer, []).append((inside_layer(row.path), row.shape))
    groups: list[Group] = []
    for i, made in layers.items():
        if groups and made == layers[i - 1]:
            groups[-1] = replace(groups[-1], count=groups[-1].count + 1)
        else:
            groups.append(Group(first=i, count=1))
    return tuple(groups)


def group_of(groups: Sequence[Group], layer: int) -> tuple[int, int]:
    """(index of the group, position in it) of a layer. Raises ValueError when no group holds it."""
    for index, group in enumerate(groups):
        if group.first <= layer < group.first + group.count:
            return index, layer - group.first
    raise ValueError(f"no group holds layer {layer}")


def logical_paths(parameter: Parameter) -> tuple[str, ...]:
    """``groups.1.X`` → ``layers.I.X`` for each of its layers; the path itself outside the layers."""
    if parameter.stacked is None:
        return (parameter.path,)
    _, _, rest = parameter.path.split(".", 2)
    return tuple(f"layers.{parameter.stacked + i}.{rest}" for i in range(parameter.shape[0]))


def unstack(params: Mapping[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
    """A stacked tree → leaves by logical path, layer by layer."""
    leaves: dict[str, Any] = {}
    for path, value in flatten(params).items():
        head, _, rest = path.partition(".")
        if head != "groups":
            leaves[path] = value
            continue
        index, _, name = rest.partition(".")
        group = groups[int(index)]
        for i in range(group.count):
            leaves[f"layers.{group.first + i}.{name}"] = value[i]
    return leaves


def stack(
    leaves: Mapping[str, Any], groups: Sequence[Group], join: Callable[[list[Any]], Any]
) -> Tree:
    """Leaves by logical path → a stacked tree; ``join`` makes one array of a group's list (``np.stack``)."""
    flat: dict[str, Any] = {}
    runs: dict[str, dict[int, Any]] = {}
    for path, value in leaves.items():
        head, _, rest = path.partition(".")
        if head != "layers":
            flat[path] = value
            continue
        layer, _, name = rest.partition(".")
        index, position = group_of(groups, int(layer))
        runs.setdefault(f"groups.{index}.{name}", {})[position] = value
    for path, values in runs.items():
        flat[path] = join([values[i] for i in range(len(values))])
    return unflatten(flat)


def parameter_leaves(parameters: Sequence[Parameter]) -> Iterator[Parameter]:
    """The encoder's own parameters: all but those of the losses."""
    return (p for p in parameters if not p.path.startswith("losses."))
