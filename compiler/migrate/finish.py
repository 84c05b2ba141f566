"""What follows from several keys together: sections that are on, kinds, and what a spec needs besides."""

from __future__ import annotations

from typing import Any

from specrun.compiler.migrate.curriculum import finish_formats, finish_pseudo_data
from specrun.compiler.migrate.data import format_of
from specrun.compiler.migrate.dialects import KEYWORDS, VEMBED
from specrun.compiler.migrate.draft import Draft, Left, Setting
from specrun.compiler.migrate.losses import finish_teacher
from specrun.compiler.migrate.models import finish_composed
from specrun.compiler.objective import OF_PAIRS, OF_TEXTS

DIMS = (768, 512, 256)
CHUNK = 32
REFRESH_STEPS = 500
HARD = ("label_smoothing",)
"""Settings of a loss that another loss cannot do without unchanged."""

MARKERS = ("lora", "matryoshka", "train.gradient_cache", "data.negatives", "evaluation")
"""Sections that a key may switch on. The setting at such a path is the comment of the section."""


def finish(draft: Draft) -> None:
    """Complete the settings, or say what is lacking."""
    for section in ("lora", "matryoshka", "train.gradient_cache", "data.negatives"):
        _close(draft, section)
    _matryoshka(draft)
    _cache(draft)
    _mining(draft)
    _data(draft)
    _model(draft)
    _losses(draft)
    _schedule(draft)
    _length(draft)
    _curriculum(draft)
    _rule_of_thumb(draft)
    _evaluation(draft)
    _checkpoint(draft)
    _tracking(draft)
    if draft.get("lora") and not draft.get("lora.target_modules"):
        why = f"nothing says which layers carry adapters ({draft.settings['lora'].comment})"
        draft.lack("lora.target_modules", why)
    for marker in MARKERS:
        if not draft.has(marker):
            draft.settings.pop(marker, None)


def _close(draft: Draft, section: str) -> None:
    """A section that is switched off takes its keys with it; one with keys and no switch is on."""
    switch = draft.settings.get(section)
    if switch is not None and switch.value is None:
        for path in [p for p in draft.settings if p.startswith(f"{section}.")]:
            dropped = draft.settings.pop(path)
            if not dropped.weak:
                draft.idle.append(Left(path, 0, f"`{section}` is off ({dropped.comment})"))
    elif draft.has(section):
        draft.assume(section, True, "")


def _curriculum(draft: Draft) -> None:
    """What is said of all stages means nothing where none are told of."""
    finish_pseudo_data(draft)
    finish_formats(draft)
    if not draft.has("curriculum.stages") and draft.get("curriculum.stages") is None:
        for path in ("curriculum.transition_epochs", "curriculum.reset_optimizer"):
            draft.forget(path, "there are no stages (`curriculum.stages`)")


def _rule_of_thumb(draft: Draft) -> None:
    hides = draft.get("losses[0].kind") == "masked_diffusion"  # which has a multiplier by default
    if draft.get("hardware.memory_multiplier") is None and not hides:
        why = "it is of the rule of thumb of `hardware.memory_multiplier`, which is not given"
        draft.forget("hardware.bytes_per_parameter", why)


def _matryoshka(draft: Draft) -> None:
    if draft.get("matryoshka"):
        draft.assume("matryoshka.dims", list(DIMS), f"{draft.dialect.title}'s example")


def _cache(draft: Draft) -> None:
    """A chunk must be a part of the batch."""
    if not draft.get("train.gradient_cache"):
        return
    rows = draft.get("train.batch_size")
    rows = int(rows) if isinstance(rows, float) and rows.is_integer() else rows
    if type(rows) is not int or rows < 1:
        rows = CHUNK  # what is written is told when the spec is checked
    most = min(CHUNK, max(1, rows // 2))
    chunk = next(n for n in range(most, 0, -1) if rows % n == 0)
    draft.assume("train.gradient_cache.chunk_size", chunk, "nothing says how many rows at a time")


def _mining(draft: Draft) -> None:
    if not draft.get("data.negatives"):
        return
    why = "nothing says how often"
    draft.assume("data.negatives.kind", "mined", "negatives that the model finds")
    draft.assume("data.negatives.refresh_every_steps", REFRESH_STEPS, why)


def _data(draft: Draft) -> None:
    path = draft.get("data.path")
    if path is None:
        if draft.get("data.kind") is None:
            draft.lack(
                "data", "nothing says where the rows are: write `data: {kind: jsonl, path: …}`"
            )
        return
    draft.assume("data.kind", format_of(str(path)), "from the path's ending")
    mode = draft.get("data.retrieval_mode")
    if mode in (None, "t2t"):
        _unless(draft, "data.image_root", "the rows are texts")
    if draft.dialect is VEMBED and isinstance(mode, str) and mode[:1] in ("i", "m"):
        draft.assume("data.columns.query_image", "query_image", f"as {VEMBED.title}'s rows have it")


def _model(draft: Draft) -> None:
    finish_composed(draft)
    named = draft.get("model.kind") == "composed" or draft.get("model.name_or_path") is not None
    if named:
        if draft.settings.get("tokenizer.vocab_size") is not None:
            draft.remove("tokenizer")
        return
    if draft.has("model"):
        draft.assume("model.kind", "text_encoder", "from scratch: no model is named")
        draft.assume("tokenizer.kind", "train", "no tokenizer is named: trained on the rows")
        return
    draft.lack("model", "nothing says which model: write `model: {kind: auto, name_or_path: …}`")


def _losses(draft: Draft) -> None:
    if draft.dialect is KEYWORDS and not draft.has("losses"):
        return  # a preset may have them
    draft.assume("losses[0].kind", "infonce", "no loss is named")
    finish_teacher(draft)
    kind = draft.get("losses[0].kind")
    for key, kinds in _OF_KINDS.items():
        setting = draft.settings.get(f"losses[0].{key}")
        if setting is not None and kind not in kinds:
            del draft.settings[f"losses[0].{key}"]
            if not setting.weak:
                told = draft.unmet if key in HARD and setting.value else draft.idle
                told.append(Left(key, 0, f"a `{kind}` loss has none ({setting.comment})"))
    if kind == "cosent" and draft.get("data.columns.score") is None:
        draft.lack("data.columns.score", "`cosent` needs the column of the rows' scores")


def _of_kinds() -> dict[str, tuple[str, ...]]:
    """Key of a loss → the kinds that have it."""
    from typing import get_args

    from specrun.spec.words.losses import Loss

    found: dict[str, tuple[str, ...]] = {}
    for cls in get_args(Loss):
        for key in cls.__dataclass_fields__:
            found[key] = (*found.get(key, ()), cls.__dataclass_fields__["kind"].default)
    return found


_OF_KINDS = _of_kinds()


def _schedule(draft: Draft) -> None:
    """A constant rate has no warm-up; a ratio and a number of steps are one thing."""
    if draft.has("schedule"):
        draft.assume("schedule.kind", "constant_with_warmup", "no schedule is named")
    if draft.get("schedule.kind") == "constant":
        for key in ("warmup_ratio", "warmup_steps", "min_learning_rate"):
            _unless(draft, f"schedule.{key}", "a constant rate has none")
    steps = draft.settings.get("schedule.warmup_steps")
    if steps is not None and draft.settings.get("schedule.warmup_ratio") is not None:
        weak = draft.settings["schedule.warmup_ratio"].weak
        _unless(
            draft,
            "schedule.warmup_ratio" if weak or steps.value else "schedule.warmup_steps",
            "warm-up is said in steps",
        )


def _unless(draft: Draft, path: str, why: str) -> None:
    setting = draft.settings.pop(path, None)
    if setting is not None and not setting.weak:
        draft.idle.append(Left(path.rpartition(".")[2], 0, f"{why} ({setting.comment})"))


def _length(draft: Draft) -> None:
    """Steps override epochs."""
    steps, epochs = draft.settings.get("train.max_steps"), draft.settings.get("train.epochs")
    if steps is not None and epochs is not None:
        if steps.weak and not epochs.weak:
            del draft.settings["train.max_steps"]
        else:
            _unless(draft, "train.epochs", "`train.max_steps` overrides it")
    elif draft.has("curriculum.stages") or draft.dialect is KEYWORDS:
        return  # the stages say it, or a preset
    elif steps is None and epochs is None:
        draft.lack("train", "nothing says how long: write `train: {epochs: …}`")


def _evaluation(draft: Draft) -> None:
    """It needs rows that are held out, and metrics that hold the one that chooses."""
    marker = draft.get("evaluation")
    if marker == "no":
        for path in [p for p in draft.settings if p.startswith("evaluation.")]:
            _unless(draft, path, "nothing is evaluated")
        return
    wanted = marker is not None or draft.has("evaluation")
    if not draft.has("data.validation"):
        if wanted:
            draft.lack("data.validation", "evaluating needs rows that are held out")
        return
    chosen = draft.get("evaluation.select_best")
    masked = draft.get("losses[0].kind") == "masked_diffusion"
    metrics = list(OF_TEXTS if masked else OF_PAIRS)
    if chosen is not None and chosen not in metrics:
        metrics.append(chosen)
    draft.assume("evaluation.metrics", metrics, "measured on the rows that are held out")


def _checkpoint(draft: Draft) -> None:
    if draft.settings.pop("checkpoint", None) is not None:
        _unless(draft, "checkpoint.every_steps", "states are saved at the end of each epoch")


def _tracking(draft: Draft) -> None:
    """What belongs to one tracker goes to it."""
    loose = {
        p: draft.settings.pop(p)
        for p in ("logging_dir", "wandb.project", "wandb.entity")
        if p in draft.settings
    }
    kinds = {
        s.value: p.rpartition(".")[0]
        for p, s in draft.settings.items()
        if p.startswith("tracking[")
    }
    homes = {
        "logging_dir": ("tensorboard", "log_dir"),
        "wandb.project": ("wandb", "project"),
        "wandb.entity": ("wandb", "entity"),
    }
    for path, setting in loose.items():
        kind, key = homes[path]
        if kind in kinds and setting.value is not None:
            draft.settings[f"{kinds[kind]}.{key}"] = setting
        else:
            draft.idle.append(Left(path, 0, f"there is no {kind} tracker ({setting.comment})"))
    if "wandb" in kinds:
        name = draft.get("name") or "specrun"
        draft.assume(f"{kinds['wandb']}.project", name, "no project is named")


def nested(settings: dict[str, Setting]) -> dict[str, Any]:
    """Paths as a tree whose leaves are settings; ``losses[0]`` is an item of a list, "" a section's own comment."""
    tree: dict[str, Any] = {}
    for path, setting in settings.items():
        *parents, last = path.replace("[", ".[").split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        if path in MARKERS:
            node.setdefault(last, {})[""] = setting
        else:
            node[last] = setting
    return tree
