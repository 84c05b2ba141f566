"""Layers that are equal become one group, their parameters one stacked leaf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from specrun.compiler.draft import Context, Draft
from specrun.spec.plan.parameters import Group, Parameter, TableRow
from specrun.spec.plan.sides import Tower, inside_layer, tower_of

DECAYED = ("kernel", "embedding", "lora_a", "lora_b")


def stack_layers(draft: Draft, context: Context) -> Draft:
    """Layers equal in adapters, freezing and decay become one group, and their parameters one stacked leaf."""
    groups = group_layers(draft)
    leaves, stacked = stack(draft, groups)
    return replace(draft, groups=groups, parameters=leaves, stacked=stacked)


def group_layers(draft: Draft) -> tuple[Group, ...]:
    """Maximal runs of a tower's layers with one signature: (parameters, adapters, what trains when, decay)."""
    layers: dict[tuple[Tower | None, int], list[TableRow]] = {}  # in the order of the table
    for row in draft.rows:
        if row.layer is not None:
            layers.setdefault((row.tower, row.layer), []).append(row)
    groups: list[Group] = []
    last: object = None
    for (tower, index), rows in layers.items():
        signature = (tower, *(_signature(row, draft) for row in rows))
        if groups and signature == last:
            groups[-1] = replace(groups[-1], count=groups[-1].count + 1)
        else:
            adapted = tuple(
                inside_layer(r.path).removesuffix(".lora_a") for r in rows if r.role == "lora_a"
            )
            groups.append(Group(first=index, count=1, adapted=adapted, tower=tower))
        last = signature
    return tuple(groups)


def stack(draft: Draft, groups: tuple[Group, ...]) -> tuple[tuple[Parameter, ...], dict[str, str]]:
    """The leaves of the tree, and for every logical path the leaf that holds it."""
    leaves: dict[str, Parameter] = {}
    stacked: dict[str, str] = {}
    trained = frozenset[str]().union(*(s.trained for s in draft.stages))
    for row in draft.rows:
        path, group = _place(row, groups)
        stacked[row.path] = path
        leaves.setdefault(
            path,
            Parameter(
                path=path,
                shape=row.shape if group is None else (group.count, *row.shape),
                role=row.role,
                stacked=None if group is None else group.first,
                new=row.new,
                decay=_decays(row, draft),
                trained=row.path in trained,
            ),
        )
    return tuple(leaves.values()), stacked


def _place(row: TableRow, groups: tuple[Group, ...]) -> tuple[str, Group | None]:
    """The leaf that holds a row, and its group; groups are counted in each tower."""
    if row.layer is None:
        return row.path, None
    own = [group for group in groups if group.tower == row.tower]
    number = next(i for i, g in enumerate(own) if g.first <= row.layer < g.first + g.count)
    prefix = "" if row.tower is None else f"{row.tower}."
    return f"{prefix}groups.{number}.{inside_layer(row.path)}", own[number]


def _signature(row: TableRow, draft: Draft) -> tuple[object, ...]:
    trained = tuple(row.path in s.trained for s in draft.stages)
    return inside_layer(row.path), row.shape, row.role, row.new, trained, _decays(row, draft)


def _decays(row: TableRow, draft: Draft) -> bool:
    optimizer = draft.spec.optimizer
    kept = any(fnmatchcase(row.path, p) for p in optimizer.no_decay)
    return row.role in DECAYED and not kept and optimizer.weight_decay > 0


def counts(parameters: Iterable[Parameter]) -> Mapping[str, tuple[int, int]]:
    """(all, trained) parameters by top module; groups and losses by their number or name."""
    table: dict[str, tuple[int, int]] = {}
    for p in parameters:
        tower, path = tower_of(p.path)
        parts = path.split(".")
        name = ".".join(parts[:2]) if parts[0] in ("groups", "losses", "embeddings") else parts[0]
        name = name if tower is None else f"{tower}.{name}"
        total, trained = table.get(name, (0, 0))
        table[name] = (total + p.size, trained + (p.size if p.trained else 0))
    return table
