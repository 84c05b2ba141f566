"""Stages and difficulty of other tools' curricula."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from typing import Any, cast

from specrun.compiler.check import homes_of
from specrun.compiler.foreign.table import FOREIGN
from specrun.compiler.migrate.draft import Draft, Left, Old
from specrun.compiler.migrate.values import is_off, plain
from specrun.spec.experiment import Experiment

STAGE = "curriculum.stages[]"
PSEUDO = "curriculum.pseudo_data"


def embedding(old: Old, path: str, note: str, draft: Draft) -> None:
    """An encoder by name."""
    if not isinstance(old.value, str) or not old.value:
        draft.drop(old, "it names no encoder")
        return
    draft.set(f"{path}.kind", "pretrained", old, "a directory or a name in the cache")
    draft.set(f"{path}.name_or_path", old.value, old)


PSEUDO_STAGE = 2
"""micro-diffusion's third stage trains on texts that the model itself made, too."""


def pseudo_data(old: Old, path: str, note: str, draft: Draft) -> None:
    """How many texts a model makes for itself, until it is known whether there is a stage for them."""
    plain(old, path.replace("stages[].", ""), note, draft)


def finish_pseudo_data(draft: Draft) -> None:
    """Texts that a model makes are words of a stage: the third one."""
    found = {path: s for path, s in draft.settings.items() if path.startswith(f"{PSEUDO}.")}
    there = draft.has(f"curriculum.stages[{PSEUDO_STAGE}]")
    wanted = all(setting.value != 0 and setting.value is not False for setting in found.values())
    why = "it asks for nothing" if there else "there is no third stage"
    for path, setting in found.items():
        del draft.settings[path]
        if there and wanted:
            new = path.replace("curriculum.", f"curriculum.stages[{PSEUDO_STAGE}].")
            draft.settings.setdefault(new, setting)
        elif not setting.weak:
            draft.idle.append(Left(path, 0, f"{why} ({setting.comment})"))


def finish_formats(draft: Draft) -> None:
    """Formats are of rows of texts; a stage's own is left out elsewhere, by the name it had."""
    if draft.get("data.kind") == "text":
        return
    formats = re.compile(r"curriculum\.stages\[\d+\]\.format")
    for path in [path for path in draft.settings if formats.fullmatch(path)]:
        old = draft.settings.pop(path).comment
        name = old.partition("`")[2].partition("`")[0] or path
        draft.unmet.append(Left(name, 0, f"only rows of `data.kind: text` have formats ({old})"))


def stages(old: Old, path: str, note: str, draft: Draft) -> None:
    """Each stage's keys by the names that they have here; what a stage has none for is told."""
    value: Any = old.value
    items = cast("list[Any]", value) if isinstance(value, list) else []
    if not items or not all(isinstance(item, dict) for item in items):
        draft.miss(old, "stages are a list of mappings")
        return
    draft.lines["curriculum.stages"] = old.line
    for i, item in enumerate(cast("list[dict[str, Any]]", items)):
        draft.lines[f"curriculum.stages[{i}]"] = old.lines.get(f"[{i}]", old.line)
        for name, value in item.items():
            line = old.lines.get(f"[{i}].{name}", old.line)
            _stage_key(name, Old(f"stages[{i}].{name}", value, line, old.tool), i, draft)


def _stage_key(name: str, key: Old, i: int, draft: Draft) -> None:
    """One key of stage ``i``."""
    known = FOREIGN.get(name)
    below = _below_stage(name)
    if below:
        draft.set(f"curriculum.stages[{i}].{below}", key.value, key)
    elif known is None:
        words = [*_stage_words(), *(word for word in FOREIGN if _below_stage(word))]
        close = next(iter(get_close_matches(name, words, n=1, cutoff=0.7)), "")
        draft.miss(key, f"not known; did you mean `{close}`?" if close else "not known")
    elif is_off(key.value):
        draft.drop(key, "it asks for nothing")
    else:
        draft.miss(key, known.note or f"it belongs in `{known.new}`")


def _below_stage(name: str) -> str:
    """The path of a stage's key below the stage; empty for what a stage does not have."""
    if name in _stage_words():
        return name
    known = FOREIGN.get(name)
    inside = known is not None and known.new.startswith(f"{STAGE}.")
    return known.new.removeprefix(f"{STAGE}.") if known is not None and inside else ""


@cache
def _stage_words() -> tuple[str, ...]:
    """The words of a stage."""
    return tuple(n for n, homes in homes_of(Experiment).items() if f"`{STAGE}`" in homes)
