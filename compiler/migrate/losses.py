"""Losses of other tools, and the settings that belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specrun.compiler.foreign.table import KIND_NAMES
from specrun.compiler.migrate.draft import Draft, Old
from specrun.compiler.migrate.values import as_list, is_off, plain


def temperature(old: Old, path: str, note: str, draft: Draft) -> None:
    number = isinstance(old.value, int | float) and not isinstance(old.value, bool)
    if old.name == "scale" and number and old.value > 0:
        draft.set("losses[0].temperature", 1 / old.value, old, "1 / scale")
    elif old.name == "scale":
        draft.miss(old, "a number above 0 is needed")
    else:
        plain(old, "losses[0].temperature", note, draft)


def of_loss(old: Old, path: str, note: str, draft: Draft) -> None:
    plain(old, path.replace("losses[]", "losses[0]"), note, draft)


LOSSES: Mapping[str, Mapping[str, Any]] = {
    "contrastive": {"kind": "infonce"},
    "mnrl": {"kind": "infonce", "symmetric": False},
    "MultipleNegativesRankingLoss": {"kind": "infonce", "symmetric": False, "temperature": 0.05},
    "MultipleNegativesSymmetricRankingLoss": {"kind": "infonce", "temperature": 0.05},
    "CachedMultipleNegativesRankingLoss": {
        **{"kind": "infonce", "symmetric": False, "temperature": 0.05}
    },
    "cached_infonce": {"kind": "infonce"},
    "CoSENTLoss": {"kind": "cosent", "temperature": 0.05},
    "triplet_loss": {"kind": "triplet"},
    "sigmoid": {"kind": "siglip"},
}
"""Losses under other names, with what those names imply where the file is silent."""

CACHED = ("CachedMultipleNegativesRankingLoss", "cached_infonce")
WIDTHS = ("mrl", "matryoshka", "MatryoshkaLoss")


DISTILLATION = "distillation"
ALPHA = 0.7

TEACHERS: Mapping[str, str] = {
    "teacher_model_name": "losses[1].teacher.name_or_path",
    "distillation_alpha": "losses[1].weight",
    "distillation_temperature": "losses[1].distillation_temperature",
}
"""What belongs to the loss of a teacher, which stands behind the task's own."""


def teacher(old: Old, draft: Draft) -> None:
    """A setting of distillation; told where the spec has no such loss."""
    if is_off(old.value):
        draft.drop(old, "there is no teacher without it")
    elif DISTILLATION not in known_losses():
        draft.miss(old, "not supported yet: there is no distillation")
    else:
        draft.teacher = True
        draft.set(TEACHERS[old.name], old.value, old)


def finish_teacher(draft: Draft) -> None:
    """alpha × the teacher's loss + (1 − alpha) × the task's, at one temperature."""
    if not draft.teacher:
        return
    if draft.get("losses[1].kind") is None:
        draft.lack("losses[1].kind", "a teacher is named, and the loss is not `distillation`")
        return
    if draft.get("losses[1].teacher.name_or_path") is None:
        draft.lack("losses[1].teacher", "nothing says which model is the teacher")
    else:
        draft.assume("losses[1].teacher.kind", "pretrained", "a model of this machine")
    draft.assume("losses[1].weight", ALPHA, "the guide's alpha")
    alpha = draft.get("losses[1].weight")
    if isinstance(alpha, int | float):
        draft.assume("losses[0].weight", round(1 - alpha, 12), "1 − alpha")
    shared = draft.settings.get("losses[0].temperature")
    if shared is not None:
        draft.assume("losses[1].temperature", shared.value, shared.comment)


def loss(old: Old, path: str, note: str, draft: Draft) -> None:
    value = old.value
    if value in WIDTHS:
        draft.set("losses[0].kind", "infonce", old, "under `matryoshka`")
        draft.set("matryoshka", True, old)
        return
    if not isinstance(value, str) or (value not in LOSSES and value not in known_losses()):
        hint = KIND_NAMES[value][1] if isinstance(value, str) and value in KIND_NAMES else ""
        known = f"not supported yet: losses are {', '.join(known_losses())}; found {value!r}"
        draft.miss(old, f"{known}: {hint}" if hint else known)
        return
    if value == DISTILLATION:
        draft.set("losses[0].kind", "infonce", old, "the task's own loss, beside the teacher's")
        draft.set("losses[1].kind", DISTILLATION, old)
        draft.teacher = True
        return
    settings = LOSSES.get(value, {"kind": value})
    draft.set("losses[0].kind", settings["kind"], old)
    for key, implied in settings.items():
        draft.assume(f"losses[0].{key}", implied, f"as {value} has it")
    if value in CACHED:
        draft.set("train.gradient_cache", True, old)


def loss_name(old: Old, path: str, note: str, draft: Draft) -> None:
    """``loss: {name: infonce}`` names the kind."""
    named = isinstance(old.value, str) and old.value in (*LOSSES, *known_losses(), *WIDTHS)
    if named:
        loss(old, path, note, draft)
    else:
        plain(old, "losses[0].name", note, draft)


def known_losses() -> tuple[str, ...]:
    """The kinds of losses that the spec has."""
    from typing import get_args

    from specrun.spec.words.losses import Loss

    return tuple(cls.__dataclass_fields__["kind"].default for cls in get_args(Loss))


def prefixes(old: Old, path: str, note: str, draft: Draft) -> None:
    """Widths of the prefixes that are trained."""
    if old.name == "truncate_dim":
        draft.drop(old, note)
    else:
        as_list(old, path, note, draft)
