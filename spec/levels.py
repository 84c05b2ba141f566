"""Levels of values: how the trees of several sources become one, and what each path was before.

Mappings merge, lists replace, a changed ``kind`` drops what stood beside the old one, null switches off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from specrun.spec.diagnostics import Diagnostic
from specrun.spec.record import record
from specrun.spec.scalars import clip
from specrun.spec.source import MAX_DEPTH, MAX_KEY, placed, read_text
from specrun.spec.tree import (
    Entry,
    Items,
    Node,
    Path,
    Place,
    Scalar,
    Table,
    Texts,
    parse_path,
    plain,
)

Level = Literal["default", "environment", "picked", "preset", "spec", "override"]
"""Who sets a value, the weakest first. ``picked`` is a preset that the model's name stands for."""

LEVELS: tuple[Level, ...] = ("default", "environment", "picked", "preset", "spec", "override")
PREFIX = "SPECRUN__"


@record
class Origin:
    """One setting of a path: the level, the source (`spec.yaml`), the place in it, and the value given."""

    level: Level
    source: str
    line: int
    column: int
    value: Any

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return f"{self.value} ({place})"


History = dict[Path, tuple[Origin, ...]]
"""Every setting of every path, the strongest last."""


@dataclass(frozen=True)
class Patch:
    """A tree that sets one path: ``steps`` of its keys address what lies below."""

    tree: Table
    path: Path
    label: str


@dataclass
class Merging:
    """Merges trees one over or under the other, and keeps the history."""

    texts: Texts
    history: History = field(default_factory=dict[Path, tuple[Origin, ...]])
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def over(
        self, low: Node | None, high: Node, level: Level, path: Path = (), steps: int = 0
    ) -> Node:
        """``high`` laid over ``low``. The first ``steps`` keys of a patch may address items of a list."""
        if isinstance(low, Items) and isinstance(high, Table) and steps:
            return self._over_item(low, high, level, path, steps)
        if not isinstance(low, Table) or not isinstance(high, Table):
            self._forget(low, path)
            self._record(high, plain(high), level, path, steps)
            return high
        entries = dict(low.entries)
        if _kind_changes(low, high):
            entries = {"kind": low.entries["kind"]}
            dropped = {k: e for k, e in low.entries.items() if k != "kind"}
            self._forget(Table(dropped, low.place), path)
        if not steps:
            self._note(high.place, plain(high), level, path)
        for key, entry in high.entries.items():
            old = entries.get(key)
            below = old.node if old else None
            node = self.over(below, entry.node, level, (*path, key), max(steps - 1, 0))
            entries[key] = Entry(entry.key, node)
        return Table(entries, low.place if steps else high.place)

    def _over_item(self, low: Items, high: Table, level: Level, path: Path, steps: int) -> Node:
        items = list(low.items)
        for key, entry in high.entries.items():
            index = self._address(low, key, entry.key, path)
            if index is not None:
                below = (*path, index)
                items[index] = self.over(items[index], entry.node, level, below, steps - 1)
        return Items(tuple(items), low.place)

    def under(self, node: Node | None, low: Node, level: Level, path: Path = ()) -> Node:
        """``low`` laid under ``node``: it counts only where nothing is set. Its keys may address items."""
        if node is None:
            self._record(low, plain(low), level, path, 0)
            return low
        if isinstance(low, Table) and isinstance(node, Items):
            items = list(node.items)
            for key, entry in low.entries.items():
                index = self._address(node, key, entry.key, path)
                if index is not None:
                    items[index] = self.under(items[index], entry.node, level, (*path, index))
            return Items(tuple(items), node.place)
        self._note(low.place, plain(low), level, path, first=True)
        if not isinstance(low, Table) or not isinstance(node, Table) or _kind_changes(low, node):
            return node
        entries = dict(node.entries)
        for key, entry in low.entries.items():
            old = entries.get(key)
            below = self.under(old.node if old else None, entry.node, level, (*path, key))
            entries[key] = Entry(old.key if old else entry.key, below)
        return Table(entries, node.place)

    def report(self, place: Place, code: str, message: str, hint: str = "") -> None:
        self.diagnostics.append(placed(self.texts, place, code, message, hint))

    def _address(self, items: Items, key: str, place: Place, path: Path) -> int | None:
        """The index that a key means: its number, or the `name` or `kind` of an item."""
        bare = key.strip("[]")
        if bare.isdecimal():
            if len(bare) < 10 and int(bare) < len(items.items):
                return int(bare)
            self.report(place, "no-such-item", f"`{_last(path)}` has {len(items.items)} items")
            return None
        for field_name in ("name", "kind"):
            labels = [_text(item, field_name) for item in items.items]
            found = [i for i, label in enumerate(labels) if label and _same(label, key)]
            if len(found) == 1:
                return found[0]
            if found:
                hint = "use the index, or give the items names"
                message = f"{len(found)} items of `{_last(path)}` have the {field_name} `{key}`"
                self.report(place, "ambiguous-item", message, hint)
                return None
        labels = [_text(i, "name") or _text(i, "kind") or "?" for i in items.items]
        hint = "there is " + ", ".join(f"`{label}`" for label in labels) if labels else ""
        self.report(place, "no-such-item", f"`{_last(path)}` has no item `{key}`", hint)
        return None

    def _record(self, node: Node, value: Any, level: Level, path: Path, steps: int) -> None:
        """Note ``node``, whose plain value is ``value``, and everything below it."""
        if not steps:
            self._note(node.place, value, level, path)
        if isinstance(node, Table):
            for key, entry in node.entries.items():
                self._record(entry.node, value[key], level, (*path, key), max(steps - 1, 0))
        elif isinstance(node, Items):
            for index, item in enumerate(node.items):
                self._record(item, value[index], level, (*path, index), 0)

    def _note(
        self, place: Place, value: Any, level: Level, path: Path, *, first: bool = False
    ) -> None:
        origin = Origin(
            level=level,
            source=place.file,
            line=place.line,
            column=place.column if place.line else 0,
            value=value,
        )
        known = self.history.get(path, ())
        self.history[path] = (origin, *known) if first else (*known, origin)

    def _forget(self, low: Node | None, path: Path) -> None:
        """Drop the history below a path whose value is replaced; the path's own history stays."""
        parts: list[tuple[str | int, Node]] = []
        if isinstance(low, Table):
            parts = [(key, entry.node) for key, entry in low.entries.items()]
        elif isinstance(low, Items):
            parts = list(enumerate(low.items))
        for step, node in parts:
            self._forget(node, (*path, step))
            self.history.pop((*path, step), None)


def environment_patches(
    environ: Sequence[tuple[str, str]], texts: Texts
) -> tuple[list[Patch], list[Diagnostic]]:
    """``SPECRUN__TRAIN__BATCH_SIZE=64`` and its like, as patches in order of their names."""
    patches: list[Patch] = []
    diagnostics: list[Diagnostic] = []
    for name, value in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        label = clip(name, 80)
        texts.add(label, f"{name}={value}")
        parts = [part.lower() for part in name[len(PREFIX) :].split("__")]
        if not all(parts) or len(parts) > MAX_DEPTH:
            message = f"`{label}` does not name a key"
            hint = f"write {PREFIX}TRAIN__BATCH_SIZE for train.batch_size"
            diagnostics.append(placed(texts, Place(label, 0, 1), "bad-override", message, hint))
            continue
        columns = _columns(parts, len(PREFIX) + 1, 2)
        keys = [
            (clip(key, MAX_KEY), Place(label, 0, at))
            for key, at in zip(parts, columns, strict=True)
        ]
        patch, found = _patch(label, keys, value, len(name) + 2, texts)
        patches.extend(patch)
        diagnostics.extend(found)
    return patches, diagnostics


def override_patches(
    overrides: Sequence[str], texts: Texts
) -> tuple[list[Patch], list[Diagnostic]]:
    """``train.batch_size=64`` and its like, as patches in the order given."""
    patches: list[Patch] = []
    diagnostics: list[Diagnostic] = []
    for number, text in enumerate(overrides):
        target, equals, value = text.partition("=")
        label = f"--set {target.strip()[:80]}"
        if label in texts.lines:
            label = f"{label} (#{number + 1})"
        texts.add(label, text)
        steps = parse_path(target.strip())
        if not equals or steps is None or len(steps) > MAX_DEPTH:
            message = f"`{text[:80]}` is not `path=value`"
            hint = "write --set train.batch_size=64"
            diagnostics.append(placed(texts, Place(label, 0, 1), "bad-override", message, hint))
            continue
        names = [f"[{s}]" if isinstance(s, int) else s for s in steps]
        keys = [(clip(key, MAX_KEY), Place(label, 0, 1 + max(text.find(key), 0))) for key in names]
        patch, found = _patch(label, keys, value, len(target) + 2, texts)
        patches.extend(patch)
        diagnostics.extend(found)
    return patches, diagnostics


def _patch(
    label: str, keys: list[tuple[str, Place]], value: str, column: int, texts: Texts
) -> tuple[list[Patch], tuple[Diagnostic, ...]]:
    read = read_text(value, label, texts, column=column)
    node = read.tree or Scalar(None, Place(label, 0, column), bad=True)
    for key, place in reversed(keys):
        node = Table({key: Entry(place, node)}, place)
    assert isinstance(node, Table)
    return [Patch(node, tuple(key for key, _ in keys), label)], read.diagnostics


def _columns(parts: list[str], start: int, gap: int) -> list[int]:
    columns: list[int] = []
    for part in parts:
        columns.append(start)
        start += len(part) + gap
    return columns


def _kind_changes(low: Table, high: Table) -> bool:
    old, new = _text(low, "kind"), _text(high, "kind")
    return old is not None and new is not None and old != new


def _text(node: Node, key: str) -> str | None:
    entry = node.entries.get(key) if isinstance(node, Table) else None
    value = entry.node.value if entry and isinstance(entry.node, Scalar) else None
    return value if isinstance(value, str) else None


def _same(label: str, key: str) -> bool:
    return label == key or re.sub(r"[^a-z0-9]", "_", label.lower()) == key


def _last(path: Path) -> str:
    return str(path[-1]) if path else "the spec"
