"""How texts are written, for a model that predicts tokens."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.draft import Context, Draft
from specrun.compiler.passes.lengths import most_tokens
from specrun.spec.plan.generation import GenerationPlan, faults
from specrun.spec.plan.networks import EncoderConfig, TextImageConfig, is_language_model
from specrun.spec.words.generation import Generation

LENGTH = 512
"""Tokens of a text where neither the spec nor the rows say less."""

_ANY = 1 << 31


def generation_plan(draft: Draft, config: EncoderConfig, context: Context) -> GenerationPlan | None:
    """The settings of the spec, or those it has by default; None for a model that predicts no tokens."""
    spec = draft.spec.generation
    if isinstance(config, TextImageConfig) or not is_language_model(config):
        if spec is not None:
            context.report.error(
                "generation",
                "no-vocabulary-head",
                "`generation` has no effect: the model predicts no tokens",
                hint="remove the section, or train with `losses: [{kind: masked_diffusion}]`",
            )
        return None
    plan = _plan(spec or Generation(), most_tokens(draft, config)[0])
    known = draft.tokenizer is not None or hasattr(draft.tokenizer_source, "vocab_size")
    for fault in faults(plan, config.vocab_size if known else _ANY, config.longest):
        context.report.error(
            f"generation.{fault.name}", "bad-generation", fault.message, hint=fault.hint
        )
    _warn_of_length(plan, most_tokens(draft, config)[0], context)
    return plan


def as_long_as_rows(draft: Draft) -> GenerationPlan | None:
    """The settings, a text no longer than the batches that the model is trained on where the spec says no length."""
    plan, spec = draft.generation, draft.spec.generation
    if plan is None or (spec is not None and spec.max_length is not None):
        return plan
    return replace(plan, max_length=min(plan.max_length, max(query for query, _ in draft.buckets)))


def _plan(spec: Generation, rows: int) -> GenerationPlan:
    return GenerationPlan(
        temperature=spec.temperature,
        steps=spec.steps,
        max_length=spec.max_length or min(LENGTH, rows),
        top_k=spec.top_k,
        top_p=spec.top_p,
        num_return_sequences=spec.num_return_sequences,
        confidence_schedule=spec.confidence_schedule,
        style=spec.style,
        style_strength=spec.style_strength,
        interactive=spec.interactive,
    )


def _warn_of_length(plan: GenerationPlan, rows: int, context: Context) -> None:
    if plan.max_length > rows:
        context.report.warning(
            "generation.max_length",
            "longer-than-rows",
            f"texts of {plan.max_length} tokens are asked for, and the model is trained on {rows} at most",
            hint=f"expect less of what is behind the first {rows}, or raise data.max_length",
        )
