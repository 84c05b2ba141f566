"""Passes for ``init_from``: the run that parameters start from, and whether its network is this one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from specrun.compiler.draft import Context, Draft
from specrun.compiler.facts import Start
from specrun.compiler.passes.outside import is_own, tell
from specrun.compiler.passes.widths import towers_of
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.networks import TextEncoderConfig, is_language_model
from specrun.spec.plan.parameters import VOCABULARY

FREE = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")
"""Settings that may differ: they do not say what the parameters compute."""

OF_A_LANGUAGE_MODEL = ("vocabulary_head", "pooling")
"""Settings that may differ where a language model becomes an encoder: its head stays behind, and tokens are pooled."""

NAMED = 5
"""Differences that a message names."""


def place_start(draft: Draft, context: Context) -> Draft:
    """The run named by ``init_from``, its parameters read and verified."""
    name = draft.spec.init_from
    if name is None:
        return draft
    folder = context.local.get(name) or Path(name).expanduser()
    try:
        start = context.facts.start(folder.absolute())
    except InputError as error:
        tell(error, "init_from", context)
        return draft
    if is_own(start.plan.run, draft):
        context.report.error(
            "init_from",
            "own-folder",
            f"{name!r} is the folder that this run itself writes to",
            hint="give the run another name or output_dir",
        )
    return replace(draft, start=start)


def match_start(draft: Draft, context: Context) -> Draft:
    """Names and shapes must be those of the run, and so must the tokenizer's ids. What it gives is not new."""
    start = draft.start
    if start is None or draft.config is None:
        return draft
    differing = [*_settings(draft, start)] or [*_shapes(draft, start)]
    if differing:
        more = f" and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
        context.report.error(
            "init_from",
            "other-model",
            f"the model of {start.plan.run} is not this one: {'; '.join(differing[:NAMED])}{more}",
            hint="give `model` the settings of that run, or remove `init_from`",
        )
    if draft.tokenizer is not None and draft.tokenizer.digest != start.tokenizer_digest:
        context.report.error(
            "init_from" if draft.spec.tokenizer is None else "tokenizer",
            "other-tokenizer",
            f"the tokenizer is not that of {start.plan.run}, so its ids would mean other texts",
            hint="remove `tokenizer` to take over that run's",
        )
    return replace(draft, rows=tuple(replace(row, new=False) for row in draft.rows))


def _settings(draft: Draft, start: Start) -> Iterator[str]:
    """What the two configurations say differently, and means something for the parameters."""
    towers = towers_of(draft.spec.model, draft.need("config"))
    if start.towers != towers:
        yield f"towers is {start.towers} there, {towers} here"
    there, here = to_plain(start.config), to_plain(draft.config)
    unknown = ("vocab_size",) if _vocabulary_unknown(draft) else ()
    if there["kind"] != here["kind"]:
        yield f"kind is {there['kind']} there, {here['kind']} here"
        return
    left = OF_A_LANGUAGE_MODEL if _loses_head(draft, start) else ()
    for key in sorted(there.keys() | here.keys()):
        if key not in (*FREE, *unknown, *left) and there.get(key) != here.get(key):
            yield f"{key} is {_said(there.get(key))} there, {_said(here.get(key))} here"


def _shapes(draft: Draft, start: Start) -> Iterator[str]:
    """Parameters by name whose shape differs, or that one side lacks."""
    here = {row.path: row.shape for row in draft.rows}
    for path in sorted(here.keys() | start.shapes.keys()):
        if _vocabulary_unknown(draft) and path.endswith("embeddings.token.embedding"):
            continue
        if _loses_head(draft, start) and path.partition(".")[0] == VOCABULARY:
            continue
        there, own = start.shapes.get(path), here.get(path)
        if there != own:
            yield f"{path} is {_shape(there)} there, {_shape(own)} here"


def _loses_head(draft: Draft, start: Start) -> bool:
    """Whether a language model becomes an encoder."""
    return is_language_model(start.config) and not is_language_model(draft.config)


def _vocabulary_unknown(draft: Draft) -> bool:
    """``check`` trains no tokenizer, so it cannot know the size of the token table."""
    return draft.tokenizer is None and isinstance(draft.config, TextEncoderConfig)


def _said(value: Any) -> str:
    return "null" if value is None else str(value)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))
