"""What a network must agree with: lengths, vocabulary, padding, widths, images, arithmetic."""

from __future__ import annotations

from specrun.compiler.draft import Context, Draft
from specrun.compiler.objective import best_of
from specrun.compiler.passes.lengths import most_tokens
from specrun.compiler.passes.widths import embedding_dim
from specrun.spec.plan.data import modality
from specrun.spec.plan.evaluation import TOKENS_PREFIX
from specrun.spec.plan.networks import (
    EncoderConfig,
    MpnetConfig,
    RobertaConfig,
    TextConfig,
    TextEncoderConfig,
    TextImageConfig,
    is_language_model,
)
from specrun.spec.plan.sides import SIDES
from specrun.spec.plan.towers import TextTower
from specrun.spec.words.texts import TextData


def check_modalities(draft: Draft, config: EncoderConfig, context: Context) -> None:
    """Rows of images need a network for them, and a network that is all the model has needs rows."""
    found = {modality(draft.need("source"), side) for side in SIDES}
    if found != {"text"} and not isinstance(config, TextImageConfig):
        context.report.error(
            "data.retrieval_mode",
            "no-image-network",
            f"the rows have images, and the model embeds texts alone ({config.kind})",
            hint="use a model of the kind clip, siglip or composed",
        )


def check_precision(draft: Draft, context: Context) -> None:
    if draft.spec.precision.compute != "bfloat16":
        return
    why = context.facts.slow_bfloat16(draft.spec.hardware.platform)
    if why:
        message = f"bfloat16 would be slower than float32 here: {why}"
        hint = "write float32, or run the plan on a machine with a GPU"
        context.report.warning("precision.compute", "slow-bfloat16", message, hint=hint)


def check_lengths(draft: Draft, config: TextConfig | TextTower, context: Context) -> None:
    if isinstance(config, TextEncoderConfig):
        return  # the checks of meaning have seen a model from scratch
    alone = isinstance(draft.spec.data, TextData)
    for side, wanted in zip(SIDES, most_tokens(draft, config), strict=True):
        if wanted > config.longest:
            context.report.error(
                "data.max_length" if alone else f"data.max_length.{side}",
                "too-long",
                f"{wanted} tokens, but the model has {config.longest} positions",
                hint=f"at most {config.longest}",
            )


def check_vocabulary(draft: Draft, config: TextConfig | TextTower, context: Context) -> None:
    if draft.tokenizer is not None and draft.tokenizer.vocab_size > config.vocab_size:
        context.report.error(
            "tokenizer",
            "vocabulary-too-large",
            f"the tokenizer has {draft.tokenizer.vocab_size} ids, the model's table {config.vocab_size} rows",
            hint="use the model's own tokenizer",
        )


def check_padding(draft: Draft, config: TextConfig | TextTower, context: Context) -> None:
    """RoBERTa and MPNet tell padding from tokens by its id, so the tokenizer must pad with that id."""
    tokenizer = draft.tokenizer
    if tokenizer is None or not isinstance(config, RobertaConfig | MpnetConfig):
        return
    if tokenizer.pad_id != config.pad_token_id:
        context.report.error(
            "tokenizer",
            "other-padding",
            f"the tokenizer pads with id {tokenizer.pad_id}, but the model counts positions "
            f"behind its padding id {config.pad_token_id}",
            hint="use the model's own tokenizer",
        )


def check_mask(draft: Draft, config: TextConfig | TextTower, context: Context) -> None:
    """What is shown for a hidden token is an id of its own: neither padding nor beyond the table."""
    tokenizer = draft.tokenizer
    if tokenizer is None or not is_language_model(config):
        return
    if tokenizer.mask_id is None:
        context.report.error(
            "tokenizer",
            "no-mask-token",
            "the tokenizer has no token to show where one is hidden ([MASK] or <mask>)",
            hint="use the tokenizer of a masked language model, or `kind: train`, which makes one",
        )
        return
    if tokenizer.mask_id == tokenizer.pad_id:
        context.report.error(
            "tokenizer",
            "mask-is-padding",
            f"the tokenizer pads with id {tokenizer.pad_id}, which is its mask too: hidden tokens would count as none",
            hint="give the tokenizer a padding token and a mask token of their own",
        )
    for name, number in (("mask", tokenizer.mask_id), ("padding", tokenizer.pad_id)):
        if number >= config.vocab_size:
            context.report.error(
                "tokenizer",
                "id-beyond-vocabulary",
                f"the tokenizer's {name} id {number} lies beyond the {config.vocab_size} ids of the model",
                hint="use the model's own tokenizer",
            )


def check_dims(draft: Draft, config: EncoderConfig, context: Context) -> None:
    if draft.spec.matryoshka is None or isinstance(config, TextEncoderConfig):
        return  # the checks of meaning have seen the widths of a model from scratch
    width = embedding_dim(config)
    for i, dim in enumerate(draft.spec.matryoshka.dims):
        if dim > width:
            context.report.error(
                f"matryoshka.dims[{i}]",
                "dim-above-width",
                f"{dim} is above the embedding's width {width}",
                hint=f"at most {width}",
            )


def check_dropout(draft: Draft, config: EncoderConfig, context: Context) -> None:
    """A schedule of dropout needs a rate above 0 somewhere: in the networks or in the adapters."""
    if draft.spec.train.dropout_schedule == "constant":
        return
    parts = (config.text, config.image) if isinstance(config, TextImageConfig) else (config,)
    rates = [x.hidden_dropout_prob for x in parts]
    rates += [x.attention_probs_dropout_prob for x in parts if x.num_hidden_layers]
    rates += [draft.spec.lora.dropout] if draft.spec.lora else []
    if not any(rate > 0 for rate in rates):
        context.report.error(
            "train.dropout_schedule",
            "no-effect",
            "`train.dropout_schedule` has no effect: every rate of dropout is 0",
            hint="give the model or the adapters a rate of dropout, or remove it",
        )


def check_best(draft: Draft, config: EncoderConfig, context: Context) -> None:
    """The dimension that chooses the best is evaluated; where the spec alone says the width this is told already."""
    part = draft.spec.evaluation
    metric, _, dim = best_of(draft.spec, part).partition(" at ") if part else ("", "", "")
    if not dim or metric.startswith(TOKENS_PREFIX):
        return
    trained = draft.spec.matryoshka.dims if draft.spec.matryoshka else ()
    dims = sorted({*trained, embedding_dim(config)})
    if int(dim) not in dims:
        context.report.error(
            "evaluation.select_best",
            "unknown-dimension",
            f"`evaluation.select_best`: dimension {dim} is not evaluated",
            hint=f"dimensions are {', '.join(map(str, dims))}; `matryoshka.dims` adds others",
        )
