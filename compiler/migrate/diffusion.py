"""What a masked diffusion language model needs besides its keys: kinds, stages, and what depends on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from specrun.compiler.locate import locate_model
from specrun.compiler.migrate.dialects import DIFFUSION
from specrun.compiler.migrate.draft import Draft, Old, Setting
from specrun.compiler.migrate.read import Key
from specrun.compiler.migrate.rules import RULES
from specrun.spec.diagnostics import Diagnostic, InputError

THREE_STAGES: tuple[Mapping[str, Any], ...] = (
    {
        "name": "foundation",
        "epochs": 50,
        "masking_rate_range": [0.75, 0.9],
        "data_selection": "easy",
        "format_type": "sentences",
    },
    {
        "name": "structural",
        "epochs": 100,
        "masking_rate_range": [0.4, 0.6],
        "data_selection": "medium",
        "format_type": "pairs",
    },
    {
        "name": "refinement",
        "epochs": 150,
        "masking_rate_range": [0.1, 0.3],
        "data_selection": "all",
        "format_type": "paragraphs",
    },
)
"""The guide's default curriculum, `CurriculumConfig.three_stage()`."""

WARMUP_STEPS = 1000
WARMUP_RATIO = 0.05

SCORES = "data.difficulty"
CLIPPING = ("grad_clip_norm", "max_grad_norm")


def refuse_contradictions(keys: Iterable[Key], file: str) -> None:
    """InputError where two keys cannot both hold; both lines are told."""
    found = {key.name.replace("-", "_"): key for key in keys}
    faults = [*_clipping(found, file), *_length(found, file), *_mask(found, file)]
    if faults:
        raise InputError(faults)


def _clipping(found: Mapping[str, Key], file: str) -> Iterable[Diagnostic]:
    first, second = (found.get(name) for name in CLIPPING)
    if first is None or second is None or first.value == second.value:
        return
    yield _contradiction(
        f"`{first.name}` is {first.value} (line {first.line}) and `{second.name}` {second.value} "
        f"(line {second.line}): both are the norm that gradients are clipped to",
        (first, second),
        file,
        "keep one of them",
    )


def _length(found: Mapping[str, Key], file: str) -> Iterable[Diagnostic]:
    epochs, stages = found.get("max_epochs"), found.get("stages")
    written: Any = THREE_STAGES if stages is None else stages.value
    total = _epochs_of(written)
    steps = found.get("max_steps")
    if epochs is None or total is None or epochs.value == total:
        return
    if type(epochs.value) is not int or (steps is not None and steps.value is not None):
        return
    where = f"stages (line {stages.line})" if stages else "three stages of the default curriculum"
    yield _contradiction(
        f"`{epochs.name}` is {epochs.value} (line {epochs.line}), and the {where} have {total} in all",
        (epochs, stages) if stages else (epochs,),
        file,
        f"remove `{epochs.name}`, set it to {total}, or write `stages` of so many epochs",
    )


def _mask(found: Mapping[str, Key], file: str) -> Iterable[Diagnostic]:
    """The mask is an id of the vocabulary, and not the one that pads."""
    mask = found.get("mask_token_id")
    if mask is None or mask.value is None:
        return
    said = f"`{mask.name}` is {mask.value} (line {mask.line})"
    pad, vocab = found.get("pad_token_id"), found.get("vocab_size")
    if pad is not None and pad.value == mask.value:
        yield _contradiction(
            f"{said}, and so is `{pad.name}` (line {pad.line}): a mask is not padding",
            (mask, pad),
            file,
            f"remove `{mask.name}`: the tokenizer that is trained has a `[MASK]` of its own",
        )
    for key in (mask, pad):
        if key is not None and key.value is not None:
            yield from _outside(key, vocab, file)


def _outside(key: Key, vocab: Key | None, file: str) -> Iterable[Diagnostic]:
    """An id that is none of the vocabulary's."""
    size: Any = DIFFUSION.defaults["vocab_size"] if vocab is None else vocab.value
    whole = type(key.value) is int
    if type(size) is not int or (whole and 0 <= key.value < size):
        return  # a vocabulary that is no number is told when the spec is checked
    where = f"`{vocab.name}` (line {vocab.line})" if vocab else "the default vocabulary"
    yield _contradiction(
        f"`{key.name}` is {key.value} (line {key.line}), and {where} has {size} tokens: "
        f"an id is a whole number from 0 to {size - 1}",
        (key, vocab) if vocab else (key,),
        file,
        f"remove `{key.name}`: the tokenizer that is trained gives it an id",
    )


def _epochs_of(stages: Any) -> int | None:
    """Epochs of all stages; None where they are not written as numbers, which checking the spec tells."""
    if not isinstance(stages, list | tuple):
        return None
    items = cast("list[Any]", stages)
    each: list[Any] = [item.get("epochs") if isinstance(item, Mapping) else None for item in items]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return sum(each) if each and all(type(n) is int for n in each) else None


def _contradiction(message: str, keys: tuple[Key, ...], file: str, hint: str) -> Diagnostic:
    last = max(keys, key=lambda key: key.line)
    notes = tuple(f"{file}:{key.line}: `{key.name}: {key.value}`" for key in keys if key != last)
    return Diagnostic(
        code="keys-disagree",
        message=message,
        file=file,
        line=last.line,
        column=1,
        path=last.name,
        hint=hint,
        notes=tuple(note[:200] for note in notes),
    )


def finish_diffusion(draft: Draft, folder: Path, local: Mapping[str, Path] | None) -> None:
    """Complete the settings. ``local`` maps names to paths of this machine; None leaves the machine out of it."""
    draft.assume("model.kind", "masked_lm", "from scratch")
    draft.assume("tokenizer.kind", "train", "trained on the texts")
    draft.assume("losses[0].kind", "masked_diffusion", f"the objective of {draft.dialect.title}")
    draft.assume("data.kind", "text", "text files below `path`")
    _lengths(draft)
    _stages(draft)
    _sharing(draft)
    _difficulty(draft, folder, local)
    _warmup(draft)
    _evaluation(draft)


def _lengths(draft: Draft) -> None:
    """A row is one text, so there is one length; learned positions are as many."""
    for path in [p for p in draft.settings if p.startswith("data.max_length.")]:
        dropped = draft.settings.pop(path)
        if not dropped.weak:
            draft.lack(path, f"a row is one text: write `max_seq_len` ({dropped.comment})")
    length = draft.settings.get("data.max_length")
    if draft.get("model.position_embedding") == "learned" and length is not None:
        draft.assume("model.max_position_embeddings", length.value, length.comment, length.old)


def _stages(draft: Draft) -> None:
    if draft.has("curriculum.stages"):
        return
    old = Old("stages", [dict(stage) for stage in THREE_STAGES], 0, draft.dialect.title)
    RULES["curriculum.stages"](old, "curriculum.stages", "", draft)


def _count(draft: Draft) -> int:
    return sum(
        path.startswith("curriculum.stages[") and path.endswith("].name") for path in draft.settings
    )


def _sharing(draft: Draft) -> None:
    """What is said of entering a stage means nothing where there is one."""
    if _count(draft) == 1:
        for path in ("curriculum.transition_epochs", "curriculum.reset_optimizer"):
            draft.forget(path, "there is one stage")
    transition = draft.settings.get("curriculum.transition_epochs")
    if transition is not None and transition.weak:
        later = [draft.get(f"curriculum.stages[{i}].epochs") for i in range(1, _count(draft))]
        shortest = min((n for n in later if type(n) is int), default=0)
        if 0 < shortest < transition.value:
            del draft.settings["curriculum.transition_epochs"]
            why = f"{transition.comment} is {transition.value}: at most a stage's own"
            draft.assume("curriculum.transition_epochs", shortest, why)


def _difficulty(draft: Draft, folder: Path, local: Mapping[str, Path] | None) -> None:
    """Scores are for stages that select by them, and centrality for an encoder that is there."""
    chosen = [draft.get(f"curriculum.stages[{i}].select") for i in range(_count(draft))]
    if all(word in (None, "all") for word in chosen):
        for path in [p for p in draft.settings if p.startswith(f"{SCORES}.")]:
            draft.forget(path, "no stage selects by difficulty")
        return
    encoder = draft.get(f"{SCORES}.embedding.name_or_path")
    if draft.get(f"{SCORES}.weights.centrality") == 0:
        _forget_encoder(draft)
    elif local is not None and isinstance(encoder, str) and not _found(encoder, folder, local):
        _without_centrality(draft, encoder)


def _found(encoder: str, folder: Path, local: Mapping[str, Path]) -> bool:
    try:
        return locate_model(encoder, folder, local) is not None
    except (OSError, RuntimeError, ValueError):  # a name that can be no path
        return False


def _forget_encoder(draft: Draft) -> None:
    for key in ("embedding.kind", "embedding.name_or_path", "clusters"):
        draft.forget(f"{SCORES}.{key}", "centrality weighs nothing")


def _without_centrality(draft: Draft, encoder: str) -> None:
    """The encoder is not on this machine: the other two parts are scored, and what was asked for is told."""
    paths = [f"{SCORES}.weights.{part}" for part in ("lexical", "syntactic", "centrality")]
    shares = [draft.get(path) for path in paths]
    if not all(type(share) in (int, float) for share in shares) or shares[0] + shares[1] <= 0:
        return
    if abs(sum(shares) - 1) > 1e-6:
        return  # which checking the spec tells
    why = f"{encoder} is not on this machine, and without it centrality is not scored"
    mend = (
        f"get it (`hf download {encoder}`, or map the name in specrun.local.yaml) and migrate again"
    )
    asked = [f"{SCORES}.embedding.name_or_path", paths[2]]
    written = [path for path in asked if not draft.settings[path].weak]
    for path in written:
        draft.lack(path, f"{why}: {mend} ({draft.settings[path].comment})")
    if not written:
        draft.notes.append(f"{why}: {mend}")
    _forget_encoder(draft)
    for path, share in zip(paths, shares, strict=True):
        now = 0.0 if path == paths[2] else round(share / (shares[0] + shares[1]), 12)
        note = f"{why}: {mend}" if path == paths[2] else "without centrality"
        comment = f"{share:g}, {draft.settings[path].comment}; {note}"
        draft.settings[path] = Setting(now, comment, weak=True)


def _warmup(draft: Draft) -> None:
    """The guide's number of steps is more than a stage of a small corpus has, so a share stands for it."""
    kind = draft.settings.get("schedule.kind")
    steps = draft.settings.get("schedule.warmup_steps")
    if steps is None and draft.get("schedule.warmup_ratio") is None and not _no_warmup(draft):
        why = f"{draft.dialect.title}'s default is {WARMUP_STEPS} steps; a share fits stages of any length"
        draft.assume("schedule.warmup_ratio", WARMUP_RATIO, why)
        draft.notes.append(f"`schedule.warmup_ratio` is {WARMUP_RATIO}: {why}")
    if kind is not None and kind.value == "constant":
        draft.forget("schedule.min_learning_rate", "a constant rate has none")
        if not _no_warmup(draft):
            note = f"{kind.comment}: with a warm-up"
            del draft.settings["schedule.kind"]
            draft.assume("schedule.kind", "constant_with_warmup", note, kind.old)
    match draft.get("schedule.kind"):
        case "constant_with_warmup":
            draft.forget("schedule.min_learning_rate", "after its warm-up the rate does not fall")
        case "linear":
            _linear_to_zero(draft)
        case _:
            pass


def _linear_to_zero(draft: Draft) -> None:
    """The linear schedule falls to 0, so a least rate above it is told: it would change the training."""
    floor = draft.settings.get("schedule.min_learning_rate")
    if floor is None or floor.value == 0:
        draft.forget("schedule.min_learning_rate", "the schedule `linear` ends at 0")
        return
    del draft.settings["schedule.min_learning_rate"]
    mend = "`scheduler: cosine` takes a least rate"
    if floor.old is not None and floor.old.line:
        why = f"the schedule `linear` ends at 0, not at {floor.value}; {mend}"
        draft.miss(floor.old, why)
    else:
        draft.notes.append(
            f"the schedule `linear` ends at 0, and at {floor.value} in {draft.dialect.title}: {mend}"
        )


def _no_warmup(draft: Draft) -> bool:
    """Whether the file writes a warm-up of 0 steps."""
    return any(left.name == "warmup_steps" for left in draft.idle)


def _evaluation(draft: Draft) -> None:
    """Held-out texts are evaluated in the training's batches where nothing else is said."""
    if not draft.has("data.validation"):
        for path in [p for p in draft.settings if p.startswith("evaluation.")]:
            draft.forget(path, "no texts are held out")
        return
    if draft.get("evaluation.early_stopping.patience") is None:
        draft.forget("evaluation.early_stopping.min_delta", "it never stops early")
    else:
        _patience(draft)
    rows = draft.settings.get("train.batch_size")
    if rows is not None:
        why = "as large as the training's, where `val_batch_size` is not given"
        draft.assume("evaluation.batch_size", rows.value, why, rows.old)


def _patience(draft: Draft) -> None:
    """The guide counts epochs, and here evaluations are counted: the two differ unless each epoch is evaluated."""
    every = draft.settings.get("evaluation.every_steps")
    if every is None or every.value is None:
        return
    waits = draft.settings["evaluation.early_stopping.patience"]
    draft.notes.append(
        f"`evaluation.early_stopping.patience` is {waits.value} ({waits.comment.partition(': ')[0]}): "
        f"it counts evaluations, here every {every.value} steps, and epochs in {draft.dialect.title}; "
        f"without `evaluation.every_steps` each epoch is evaluated"
    )
