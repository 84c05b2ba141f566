"""Parts of JSON that a report is made of, looked at before they are used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def part(tree: Any, name: str, kind: type) -> Any:
    """The part of that kind. ValueError where it is missing or of another type."""
    found = tree.get(name) if isinstance(tree, dict) else None
    if type(found) is not kind:
        raise ValueError(f"`{name}` is missing or of another type")
    return found


def numbers(values: Mapping[str, Any] | Sequence[Any], where: str) -> None:
    """ValueError where one is no finite number."""
    for name, value in dict(values).items():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"`{name}` in {where} is not a finite number")
