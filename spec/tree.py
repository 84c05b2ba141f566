"""Values with places: the tree that a text becomes, before anything is known of its meaning.

A path is a tuple of keys and indices; its text is ``curriculum.stages[1].select.min``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*\Z")
_BRACKETS = r'|\[(\d{1,9})\]|\["((?:[^"\\]|\\.)*)"\]'
_STEP = re.compile(r"\.([^.\[\]\"]+)" + _BRACKETS)
_FIRST_STEP = re.compile(r"([^.\[\]\"]+)" + _BRACKETS)
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_FRAME_WIDTH = 100


@dataclass(frozen=True)
class Place:
    """Where something is written. ``line`` and ``column`` count from 1; 0 means that there is no text."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Scalar:
    """A value without parts. ``bad`` marks one that has been reported already."""

    value: str | int | float | bool | None
    place: Place
    bad: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True)
class Entry:
    """One key of a mapping: where the key stands, and the value."""

    key: Place
    node: Node


@dataclass(frozen=True)
class Table:
    """A mapping, in the order written."""

    entries: Mapping[str, Entry]
    place: Place


Node = Scalar | Items | Table


@dataclass
class Texts:
    """The lines of every source read, for code frames."""

    lines: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, file: str, text: str) -> None:
        self.lines[file] = _LINE_BREAK.split(text)

    def frame(self, place: Place) -> str:
        """The line of a place with a caret under its column; empty where there is no text."""
        lines = self.lines.get(place.file, [])
        number = max(place.line, 1)
        if not place.column or number > len(lines):
            return ""
        margin = str(number) if place.line else " "
        start = max(0, place.column - 1 - _FRAME_WIDTH // 2)
        shown = lines[number - 1][start : start + _FRAME_WIDTH]
        shown = "".join(c if c.isprintable() else " " for c in shown)
        caret = " " * (place.column - 1 - start) + "^"
        return f"{margin} | {shown}\n{' ' * len(margin)} | {caret}"


def plain(node: Node) -> Any:
    """The values alone, as dict, list and scalars."""
    match node:
        case Scalar():
            return node.value
        case Items():
            return [plain(item) for item in node.items]
        case Table():
            return {key: plain(entry.node) for key, entry in node.entries.items()}


def format_path(path: Path) -> str:
    """``("losses", 0, "temperature")`` as ``losses[0].temperature``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.match(step):
            text += f".{step}" if text else step
        else:
            escaped = step.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


def parse_path(text: str) -> Path | None:
    """The inverse of `format_path`; None where the text is not a path."""
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at) if at else _FIRST_STEP.match(text)
        if not found:
            return None
        name, index, quoted = found.groups()
        if name is not None:
            steps.append(name)
        elif index is not None:
            steps.append(int(index))
        else:
            steps.append(re.sub(r"\\(.)", r"\1", quoted))
        at = found.end()
    return tuple(steps) or None
