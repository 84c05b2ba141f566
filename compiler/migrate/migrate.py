"""Another tool's configuration to a spec: keys by the table of foreign names, values by rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from specrun.compiler.check import homes_of
from specrun.compiler.foreign.foreign import Foreign
from specrun.compiler.foreign.table import FOREIGN
from specrun.compiler.front import load
from specrun.compiler.migrate.dialects import DIFFUSION, Dialect, named, told
from specrun.compiler.migrate.diffusion import finish_diffusion, refuse_contradictions
from specrun.compiler.migrate.draft import Draft, Left, Old
from specrun.compiler.migrate.finish import finish
from specrun.compiler.migrate.losses import TEACHERS, teacher
from specrun.compiler.migrate.models import encoder, family_by, finish_targets
from specrun.compiler.migrate.read import (
    IDLE_SECTIONS,
    Key,
    destination,
    is_section,
    keys_of,
    names_of,
    read_table,
)
from specrun.compiler.migrate.render import render
from specrun.compiler.migrate.rules import RULES
from specrun.compiler.migrate.values import NULL_IS_DEFAULT, count_of, is_off, plain
from specrun.compiler.presets import FamilyOf
from specrun.spec.diagnostics import InputError
from specrun.spec.experiment import Experiment
from specrun.spec.files import read_local
from specrun.spec.tree import Texts

CHANGES = frozenset(
    {
        "guide",
        *("default_prompt_name", "prompt", "label_smoothing_factor"),
        *("neftune_noise_alpha", "load_in_8bit", "load_in_4bit", "quantization"),
        *("quantization_config", "hardness_mode"),
        *("hardness_strength", "margin_strategy", "size_average", "similarity_fct"),
        *("distance_metric", "partition_mode", "learning_rate_mapping", "optim_target_modules"),
        *("router_mapping", "query_image", "modality_config", "use_residual"),
        *("activation_function", "pooling_mode_max_tokens", "use_dora", "rank_pattern"),
        *("alpha_pattern", "lora_bias", "loftq_config", "layer_replication"),
        *("vae", "config_override", "fsdp", "deepspeed", "query_expansion"),
        *("latent_dim", "beta", "bce_weight", "kld_weight", "contrast_anchors"),
        *("contrast_positives", "last_layer_weight", "n_layers_per_step", "layer_weighting"),
    }
)
"""Names without a place here whose values, when set, would change what is trained."""


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """The text of the spec; ``unmet`` is what it cannot say, ``idle`` what has no meaning here, ``notes`` which of
    the tool's defaults it departs from."""

    text: str
    dialect: Dialect
    unmet: tuple[Left, ...]
    idle: tuple[Left, ...]
    notes: tuple[str, ...] = ()


def migrate(file: Path, tool: str | None = None, family_of: FamilyOf | None = None) -> Migrated:
    """The configuration in ``file``, of the tool that its keys tell or that is named.

    The spec holds every key with its origin. ``family_of`` reads the family of a model's directory, by
    which layers are named. InputError for a file that cannot be read, or whose tool cannot be told.
    """
    table = read_table(file)
    keys = keys_of(table)
    if not keys:
        raise InputError("the file is empty", code="empty-file", hint="name a configuration")
    dialect = named(tool) if tool else told(names_of(table))
    keys = keys_of(table, dialect.places)
    draft = Draft(dialect=dialect, devices=_devices(keys))
    local = dict(read_local((file.parent, Path.cwd()), Texts()).paths)
    if dialect is DIFFUSION:
        refuse_contradictions(keys, file.name)
    for key in keys:
        take(key, draft)
    asked = {left.name for left in draft.idle if left.reason != NULL_IS_DEFAULT}
    for old in _defaults(draft):
        if old.name in asked:
            continue  # the file writes it, and asks for nothing
        known = destination(old.name, "model" if old.name == "dropout" else "", dialect.places)
        assert known is not None
        _settle(old, known, draft)
    if dialect is DIFFUSION:
        finish_diffusion(draft, file.parent, local if family_of is not None else None)
    finish(draft)
    if draft.get("model.name_or_path") is not None:
        draft.assume("extends", [], "no preset by the model's name: every value is in this file")
    find = family_by(file.parent, local, family_of)
    finish_targets(draft, find(str(draft.get("model.name_or_path"))))
    text = render(draft, file.name)
    _check(text, draft)
    return Migrated(
        text=render(draft, file.name),
        dialect=dialect,
        unmet=tuple(draft.unmet),
        idle=tuple(draft.idle),
        notes=tuple(draft.notes),
    )


def _defaults(draft: Draft) -> Iterator[Old]:
    """What the tool takes where the file is silent, its preset for the model first."""
    dialect = draft.dialect
    name = str(draft.get("model.name_or_path") or "").rpartition("/")[2].lower()
    for preset, values in dialect.presets.items():
        if name.startswith(preset):
            title = f"{dialect.title}'s preset {preset}"
            yield from (Old(key, value, 0, title) for key, value in values.items())
    yield from (Old(key, value, 0, dialect.title) for key, value in dialect.defaults.items())


def _devices(keys: Iterable[Key]) -> int | None:
    """Devices that a number for each is multiplied by; None where the file does not say."""
    for key in keys:
        if key.known is not None and key.known.new == "hardware.devices":
            count = count_of(key.value)
            if type(count) is int and count > 0:
                return count
    return None


def take(key: Key, draft: Draft) -> None:
    """Put a key where it stands in the spec, or say why it does not."""
    name = key.name.replace("-", "_")
    old = Old(name, key.value, key.line, draft.dialect.title, key.lines)
    if name == "encoder_mode":
        encoder(old, draft)
    elif name in TEACHERS:
        teacher(old, draft)
    elif name in IDLE_SECTIONS:
        draft.drop(old, FOREIGN[name].note if name in FOREIGN else "it has no meaning here")
    elif key.known is None:
        _unknown(old, draft)
    elif key.known.new:
        _settle(old, key.known, draft)
    elif name in CHANGES and not is_off(old.value):
        draft.miss(old, f"not supported yet: {key.known.note}")
    else:
        draft.drop(old, key.known.note)


def _settle(old: Old, known: Foreign, draft: Draft) -> None:
    """Put a key's value at its path, by the rule of the path."""
    rule = RULES.get(known.new)
    if rule is not None:
        rule(old, known.new, known.note, draft)
    elif is_section(known.new):
        _section(old, known, draft)
    elif not known.note and "[]" not in known.new:
        plain(old, known.new, known.note, draft)
    elif "[]" in known.new and known.new.startswith("losses[]"):
        plain(old, known.new.replace("[]", "[0]"), known.note, draft)
    elif is_off(old.value):
        draft.drop(old, f"it asks for nothing; here it is `{known.new}`")
    else:
        differs = f" ({known.note})" if known.note else ""
        draft.miss(old, f"write it as `{known.new}`{differs}")


def _section(old: Old, known: Foreign, draft: Draft) -> None:
    """A value where the spec has a section."""
    if is_off(old.value):
        draft.drop(old, f"it asks for nothing; here it is the section `{known.new}`")
    else:
        differs = f" ({known.note})" if known.note else ""
        draft.miss(old, f"write its keys in the section `{known.new}`{differs}")


def _unknown(old: Old, draft: Draft) -> None:
    close = close_to(old.name)
    draft.miss(old, f"not known; did you mean `{close}`?" if close else "not known")


def close_to(name: str) -> str:
    """The known key that ``name`` may be meant as; empty where none is near."""
    words = [*homes_of(Experiment), *FOREIGN]
    return next(iter(get_close_matches(name, words, n=1, cutoff=0.8)), "")


_PLACE = re.compile(r" ?\(?<text>:?(\d*)(?::\d+)*\)?")
"""A place in the text that is being written, which is no file of the user's."""


def _at_old_lines(message: str, text: str, draft: Draft) -> str:
    """``message`` with the old file's line of the stages for theirs in ``text``, and without other places in it."""
    lines = text.splitlines()

    def old_line(found: re.Match[str]) -> str:
        written = lines[int(found[1]) - 1].strip() if found[1] else ""
        line = draft.lines.get("curriculum.stages", 0) if written == "stages:" else 0
        return f" (line {line})" if line else ""

    return _PLACE.sub(old_line, message)


def _check(text: str, draft: Draft) -> None:
    """What the spec itself says of the values: ranges, kinds, what does not go together."""
    lacking = {left.name for left in draft.unmet}
    loaded = load(text, environ={}, local={})
    for found in loaded.diagnostics:
        below = any(found.path.startswith(f"{name}.") for name in lacking)
        if found.severity == "error" and found.path not in lacking and not below:
            hint = f" ({found.hint})" if found.hint else ""
            reason = _at_old_lines(found.message + hint, text, draft)
            draft.unmet.append(_fault(found.path or found.code, found.code, reason, draft))


def _fault(path: str, code: str, reason: str, draft: Draft) -> Left:
    """A fault at ``path``, by the key and the line that its value came from, where the file wrote it."""
    own = draft.origin_of(path)
    below = draft.origins_below(path)
    if code.startswith("missing") or not (own or below or path in draft.settings):
        return Left(path, own.line if own else draft.line_of(path), reason)
    if own:
        return Left(own.name, own.line, reason, wrong=True)
    names = ", ".join(f"`{old.name}`, line {old.line}" for old in below[:4])
    line = below[0].line if below else 0
    return Left(path, line, f"{reason} (from {names})" if names else reason, wrong=True)
