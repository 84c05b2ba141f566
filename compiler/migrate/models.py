"""Which network another tool's keys ask for, and what its layers are called here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from specrun.compiler.locate import locate_model
from specrun.compiler.migrate.dialects import KEYWORDS
from specrun.compiler.migrate.draft import Draft, Left, Old, Setting
from specrun.compiler.migrate.values import as_list, is_off, items
from specrun.compiler.modules import OUT, meant, translated
from specrun.compiler.presets import FamilyOf, pick

HEAD_DIM = 512
ENCODERS = ("auto", "clip_like", "text")
"""Encoder modes that ``kind: auto`` finds in a directory."""

LATER = ("vlm_generic", "qwen3_vl")
"""Encoder modes of vision-language models."""

TOWERS = {"model.text.name_or_path": "auto", "model.image.name_or_path": "vit"}
"""Names of the two networks of a composed model, and their kinds."""

NameOf = Callable[[str], str | None]
"""The family of a model by its name, None where it is not known."""


def encoder(old: Old, draft: Draft) -> None:
    """``encoder_mode``: what ``kind: auto`` reads, a composed model, or one that comes later."""
    if old.value in (None, *ENCODERS):
        draft.drop(old, "`model.kind: auto` reads the family from config.json")
    elif old.value == "composed":
        draft.encoder = old
    elif old.value in LATER:
        draft.miss(
            old, f"not supported yet: vision-language models come later, found {old.value!r}"
        )
    else:
        known = ", ".join((*ENCODERS, "composed"))
        draft.miss(old, f"not known: encoder modes are {known}, found {old.value!r}")


def tower(old: Old, path: str, note: str, draft: Draft) -> None:
    """One of the two networks of a composed model."""
    if old.value is None:
        draft.drop(old, "null names no model")
        return
    draft.set(path.replace("name_or_path", "kind"), TOWERS[path], old, "config.json decides")
    draft.set(path, old.value, old)


def finish_composed(draft: Draft) -> None:
    """A text network and an image network with heads of one width, as the guide composes them."""
    if draft.encoder is None and not draft.has("model.text") and not draft.has("model.image"):
        return
    lacking = [path for path in TOWERS if draft.get(path) is None]
    for path in lacking:
        side = path.split(".")[1]
        draft.lack(
            path.removesuffix(".name_or_path"), f"a composed model needs `{side}_model_name`"
        )
    for key in ("kind", "name_or_path"):
        setting = draft.settings.pop(f"model.{key}", None)
        if key == "name_or_path" and setting is not None and not setting.weak:
            why = f"the networks are those of `model.text` and `model.image` ({setting.comment})"
            if draft.dialect is KEYWORDS:
                why = 'write `Trainer({"kind": "composed", "text": {…}, "image": {…}})` for both networks'
            draft.idle.append(Left("model_name_or_path", 0, why))
    why = (
        f"from {draft.encoder.origin}" if draft.encoder else "a network of texts and one of images"
    )
    draft.settings["model.kind"] = Setting("composed", why, weak=False)
    if lacking:
        return
    draft.assume(
        "model.text.pooling", "mean", f"as {draft.dialect.title} composes: the mean of texts"
    )
    draft.assume("model.image.pooling", "cls", "and the class token of images")
    _head(draft)


def _head(draft: Draft) -> None:
    """Linear, GELU, Linear on each network, to ``projection_dim``."""
    width = draft.settings.pop("model.projection_dim", None)
    if width is not None:
        draft.settings["model.head_dim"] = width
    draft.assume("model.head_dim", HEAD_DIM, "Linear, GELU, Linear on each; nothing says how wide")


def finish_targets(draft: Draft, family: str | None) -> None:
    """Adapters on layers by the names that the model's family has."""
    path = "lora.target_modules"
    setting = draft.settings.get(path)
    targets = items(setting.value) if setting is not None else []
    if setting is None or targets == [setting.value]:
        return  # nothing, or no list
    if family is None:
        note = (
            f"{setting.comment}: {OUT}"
            if any(map(_is_unsure, filter(_is_text, targets)))
            else setting.comment
        )
        draft.settings[path] = Setting(targets, note, setting.weak)
        return
    new = {old: translated(old, family) or old for old in filter(_is_text, targets)}
    changed = [f"{old} is {name} in a {family} model" for old, name in new.items() if old != name]
    if len(new) < len(targets):
        return  # a value that is no text, which checking the spec tells; or one twice
    named = list(dict.fromkeys(new.values()))
    note = "; ".join([setting.comment, *changed])
    draft.settings[path] = Setting(named, note, setting.weak)


def _is_text(target: Any) -> bool:
    return isinstance(target, str)


def _is_unsure(target: str) -> bool:
    """Whether families have different names for this layer."""
    return len(meant(target)) > 1


def family_by(folder: Path, local: dict[str, Path], family_of: FamilyOf | None) -> NameOf:
    """Families by config.json where the model is on this machine, by its name otherwise."""

    def find(name: str) -> str | None:
        try:
            directory = locate_model(name, folder, local) if family_of is not None else None
        except (OSError, RuntimeError, ValueError):
            directory = None
        found = None if directory is None or family_of is None else family_of(directory)
        picked = pick(name, None, folder, local, family_of)
        return found or (picked.kind if picked else None)

    return find


def targets(old: Old, path: str, note: str, draft: Draft) -> None:
    """The layers that get adapters."""
    if old.name in ("target_modules", "lora_target_modules") and old.value != "all-linear":
        as_list(old, path, note, draft)
    elif is_off(old.value):
        draft.drop(old, "it asks for nothing")
    else:
        draft.miss(old, f"name the layers in `{path}`: {note or 'all-linear is not known here'}")


def positions(old: Old, path: str, note: str, draft: Draft) -> None:
    """How positions enter a network from scratch."""
    known = {"rope": "rotary", "absolute": "learned"}
    same = ("rotary", "learned", "sinusoidal", "none")
    found = known.get(old.value, old.value) if isinstance(old.value, str) else None
    if found in same:
        draft.set(path, found, old)
    else:
        draft.miss(old, f"positions are one of {', '.join(same)}, found {old.value!r}")


def towers(old: Old, path: str, note: str, draft: Draft) -> None:
    """Whether queries and positives have one network."""
    shared = bool(old.value) != old.name.startswith("separate")
    draft.set(path, "shared" if shared else "separate", old)


def pretrained(old: Old, path: str, note: str, draft: Draft) -> None:
    """A model by name: ``kind: auto`` reads its family from config.json."""
    if old.value is None:
        draft.miss(old, "a model is needed")
    else:
        draft.set("model.kind", "auto", old, "config.json decides")
        draft.set("model.name_or_path", old.value, old)
