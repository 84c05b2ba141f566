"""What is embedded, what the networks of a model are called, and the paths that begin with their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Side = Literal["query", "positive"]
SIDES: tuple[Side, ...] = ("query", "positive")
"""What is embedded. Separate towers are called by their side, and their parameters' paths begin with it."""

Tower = Literal["query", "positive", "text", "image"]
"""A network of several: of a side, or of what it reads."""

Towers = Literal["shared", "separate", "text_image"]
_TOWERS: Mapping[str, tuple[Tower, ...]] = {
    "shared": (),
    "separate": ("query", "positive"),
    "text_image": ("text", "image"),
}


def tower_names(towers: Towers) -> tuple[Tower, ...]:
    """What the networks of a model are called; none where there is one."""
    return _TOWERS[towers]


def tower_of(path: str) -> tuple[Tower | None, str]:
    """``query.layers.0.x`` → (``query``, ``layers.0.x``); (None, the path) where there is one network."""
    head, _, rest = path.partition(".")
    match head:
        case "query" | "positive" | "text" | "image":
            return head, rest
        case _:
            return None, path


def inside_layer(path: str) -> str:
    """``query.layers.3.attention.query.kernel`` → ``attention.query.kernel``; so too for groups."""
    return tower_of(path)[1].split(".", 2)[2]
