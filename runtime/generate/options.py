"""The settings of one call: a plan's, with what the caller says instead. Imports no jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from specrun.runtime.data.tokenizer import Tokenizer
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.generation import GenerationPlan, faults

NAMES = tuple(field.name for field in dataclasses.fields(GenerationPlan))


def with_options(
    plan: GenerationPlan, options: Mapping[str, Any], vocab_size: int, longest: int | None
) -> GenerationPlan:
    """The plan's settings with ``options`` over them. InputError tells every one that cannot be used."""
    unknown = sorted(options.keys() - set(NAMES))
    if unknown:
        raise InputError(
            f"there is no setting {unknown[0]!r} of generation",
            code="unknown-option",
            hint=f"there are: {', '.join(NAMES)}",
        )
    settings = dataclasses.replace(plan, **options)
    found = faults(settings, vocab_size, longest)
    if found:
        raise InputError(
            [Diagnostic(path="", code="bad-option", message=f.message, hint=f.hint) for f in found]
        )
    if "style_strength" in options and settings.style is None:
        raise InputError(
            "style_strength has no effect without a style", code="bad-option", hint="give both"
        )
    return settings


def style_ids(tokenizer: Tokenizer, style: str) -> list[int]:
    """The ids of a text's tokens, special tokens apart. InputError where there are none.

    The text is taken with a space before it too: most tokenizers have another id for a word inside a sentence.
    """
    found = tokenizer.encode([style.strip(), " " + style.strip()], 1 << 20)
    special = set(tokenizer.special_ids())
    ids = sorted({int(i) for row in found for i in row} - special)
    if not ids:
        raise InputError(
            f"the style {style!r} holds no token of the vocabulary",
            code="bad-option",
            hint="write words that the model may prefer",
        )
    return ids
