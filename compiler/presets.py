"""The preset that a model's name stands for, where the spec names none.

config.json decides where the model is on this machine; its name does otherwise. The preset is a level of its own,
above the environment and below the file. ``extends``, an empty list too, leaves all of this out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.compiler.locate import locate_model

FamilyOf = Callable[[Path], str | None]
"""``model_type`` of the config.json in a directory; None where there is none that can be read."""


@dataclass(frozen=True)
class Pick:
    """A preset, the ``model.kind`` that it sets, the config.json families that it is for, and what names begin with.

    ``name`` is matched against what follows the last slash, from its beginning and as whole words.
    """

    preset: str
    kind: str
    families: frozenset[str]
    name: str


PICKS: tuple[Pick, ...] = (
    Pick("clip", "clip", frozenset({"clip"}), r"clip-vit"),
    Pick("siglip", "siglip", frozenset({"siglip"}), r"siglip2?"),
    Pick("qwen3", "qwen3", frozenset({"qwen3"}), r"qwen3-embedding"),
)
"""Every preset that is picked by itself. Other models have the defaults."""


def pick(
    name: object, kind: object, folder: Path, local: Mapping[str, Path], family_of: FamilyOf | None
) -> Pick | None:
    """What ``model.name_or_path`` and ``model.kind`` stand for; None for a model without a preset.

    A kind that the spec names must be the preset's own or `auto`. Without ``family_of`` names alone decide.
    """
    if not isinstance(name, str) or "\0" in name:
        return None
    family = _family(name, folder, local, family_of)
    found = _by_name(name) if family is None else _by_family(family)
    return found if found is not None and kind in (None, "auto", found.kind) else None


def _family(
    name: str, folder: Path, local: Mapping[str, Path], family_of: FamilyOf | None
) -> str | None:
    if family_of is None:
        return None
    try:
        directory = locate_model(name, folder, local)
    except (OSError, RuntimeError):  # a name too long for a path; a home that is not known
        return None
    return None if directory is None else family_of(directory)


def _by_family(family: str) -> Pick | None:
    return next((p for p in PICKS if family in p.families), None)


def _by_name(name: str) -> Pick | None:
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return next((p for p in PICKS if re.match(rf"(?:{p.name})(?![a-z0-9])", last, re.I)), None)


def model_of(tree: Any) -> tuple[object, object]:
    """``name_or_path`` and ``kind`` of a plain spec's model."""
    model = tree.get("model") if isinstance(tree, Mapping) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if not isinstance(model, Mapping):
        return None, None
    return model.get("name_or_path"), model.get("kind")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
