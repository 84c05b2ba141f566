"""A configuration as a list of keys: sections opened, lines kept, each key with the path that it has in the spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from specrun.compiler.check import homes_of
from specrun.compiler.foreign.foreign import Foreign
from specrun.compiler.foreign.table import FOREIGN, MISPLACED
from specrun.compiler.migrate.rules import SWITCHES
from specrun.spec.annotations import fields_of
from specrun.spec.diagnostics import InputError
from specrun.spec.experiment import Experiment
from specrun.spec.files import read_file
from specrun.spec.shapes import Kinds, ListOf, Section, Shape, WordOr, shape_of, without_null
from specrun.spec.tree import Entry, Items, Node, Scalar, Table, Texts

PLAIN = {
    "batch_size": "train.batch_size",
    "temperature": "losses[].temperature",
    "train_temperature": "losses[].train_temperature",
    "margin": "losses[].margin",
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "warmup_ratio": "schedule.warmup_ratio",
    "warmup_steps": "schedule.warmup_steps",
    "min_learning_rate": "schedule.min_learning_rate",
    "dropout": "model.hidden_dropout_prob",
    "projection_dim": "model.projection_dim",
    "pooling": "model.pooling",
    "epochs": "train.epochs",
    "vocab_size": "tokenizer.vocab_size",
    "max_length": "data.max_length",
    "project": "tracking[].project",
    "entity": "tracking[].entity",
    "weight": "losses[].weight",
    "top_k": "data.negatives.top_k",
    "path": "data.path",
    "name": "name",
}
"""Words of the spec that stand in several sections: the one that a flat configuration means."""

ENABLED = ("enabled", "enable", "use")
"""A section's own switch."""

KINDS = ("optimizer", "schedule")
"""Sections whose ``name`` or ``type`` is their kind."""

IDLE_SECTIONS = ("retrieval", "paths", "config_override", "hydra")


@dataclass(frozen=True)
class Key:
    """A key of the file. ``known`` is None for one that no table has; ``lines`` are those of the keys below its value."""

    name: str
    value: Any
    line: int
    known: Foreign | None
    lines: Mapping[str, int] = field(default_factory=dict[str, int])


Places = Mapping[tuple[str, str], Foreign]
"""(section, key) → where it stands, of keys that one tool means otherwise than the others."""


def read_table(file: Path) -> Table:
    """A YAML or JSON file of keys to values. InputError for anything else."""
    texts = Texts()
    read = read_file(file, file.name, texts)
    if read.diagnostics:
        raise InputError(read.diagnostics)
    if not isinstance(read.tree, Table):
        raise InputError(
            f"{file.name} must be a mapping of keys to values",
            code="wrong-type",
            hint="name a configuration in YAML or JSON",
        )
    return read.tree


def keys_of(table: Table, places: Places | None = None) -> list[Key]:
    """Every key, those of opened sections by their own names."""
    return list(_keys(table, "", places or {}))


def names_of(table: Table) -> Iterator[str]:
    """The names of keys and of sections, as the tables spell them."""
    for name, entry in table.entries.items():
        yield name.replace("-", "_")
        if isinstance(entry.node, Table):
            yield from names_of(entry.node)


def _keys(table: Table, section: str, places: Places) -> Iterator[Key]:
    for name, entry in table.entries.items():
        known = destination(name, section, places)
        below = known.new if known is not None else ""
        if isinstance(entry.node, Table) and _opens(name, below):
            yield from _section(name, entry, known, below, places)
        else:
            lines = dict(_lines(entry.node, ""))
            yield Key(name, to_value(entry.node), entry.key.line, known, lines)


def _section(
    name: str, entry: Entry, known: Foreign | None, path: str, places: Places
) -> Iterator[Key]:
    """The keys of a section; one that is a switch here is on, or as its ``enabled`` says."""
    assert isinstance(entry.node, Table)
    switches = [e for key, e in entry.node.entries.items() if key in ENABLED]
    if path in SWITCHES:
        on = all(to_value(e.node) is not False for e in switches)
        yield Key(name, on, entry.key.line, known)
    kept = {key: e for key, e in entry.node.entries.items() if key not in ENABLED}
    below = f"{path}[]" if path in ("losses", "tracking") else path
    yield from _keys(Table(kept, entry.node.place), below, places)


def _opens(name: str, path: str) -> bool:
    """Whether a mapping under this key holds settings rather than being a value."""
    return name not in IDLE_SECTIONS and bool(path)


def destination(name: str, section: str, places: Places | None = None) -> Foreign | None:
    """Where a key of ``section`` (a path of the spec, "" for none) stands in the spec."""
    name = name.replace("-", "_")
    if places and (section, name) in places:
        return places[section, name]
    if section in KINDS and name in ("name", "type"):
        return Foreign(f"{section}.kind")
    misplaced = MISPLACED.get((section, name))
    if misplaced is not None:
        return misplaced
    if section and exists(f"{section}.{name}"):
        return Foreign(f"{section}.{name}")
    if name in FOREIGN:
        return FOREIGN[name]
    if name in PLAIN and not (section and name in ("name", "path")):
        return Foreign(PLAIN[name])
    place = _home(name)
    return None if place is None else Foreign(f"{place}.{name}".lstrip("."))


def _home(name: str) -> str | None:
    """The one section that a word stands in, of several the one nearest to the root; None where two are as near."""
    places = {
        home.split("`")[1] if "`" in home else "" for home in homes_of(Experiment).get(name, [])
    }
    if not places:
        return None
    depth = {place: len(place.split(".")) if place else 0 for place in places}
    nearest = [place for place in places if depth[place] == min(depth.values())]
    return nearest[0] if len(nearest) == 1 else None


@cache
def exists(path: str) -> bool:
    """Whether the spec has ``path``, in any kind of its sections."""
    return _exists(Section(Experiment), path.replace("[]", "").replace("[0]", "").split("."))


def is_section(path: str) -> bool:
    """Whether ``path`` holds keys rather than a value."""
    return any(exists(f"{path}.{name}") for name in homes_of(Experiment)) or exists(f"{path}.kind")


def _exists(shape: Shape, steps: list[str]) -> bool:
    shape = without_null(shape)
    if isinstance(shape, ListOf):
        return _exists(shape.item, steps)
    if not steps:
        return True
    classes = list(shape.variants.values()) if isinstance(shape, Kinds) else []
    shape = shape.section if isinstance(shape, WordOr) else shape
    classes += [shape.cls] if isinstance(shape, Section) else []
    found = [info for cls in classes for info in fields_of(cls) if info.name == steps[0]]
    return any(_exists(shape_of(info.type), steps[1:]) for info in found)


def to_value(node: Node) -> Any:
    """A node as a plain value."""
    match node:
        case Scalar():
            return node.value
        case Items():
            return [to_value(item) for item in node.items]
        case Table():
            return {key: to_value(entry.node) for key, entry in node.entries.items()}


def _lines(node: Node, path: str) -> Iterator[tuple[str, int]]:
    """The line of every item and key below ``node``, by path from it: ``[1].epochs``."""
    match node:
        case Scalar():
            return
        case Items():
            for i, item in enumerate(node.items):
                yield f"{path}[{i}]", item.place.line
                yield from _lines(item, f"{path}[{i}]")
        case Table():
            for key, entry in node.entries.items():
                yield f"{path}.{key}", entry.key.line
                yield from _lines(entry.node, f"{path}.{key}")
