"""Checks of the model: heads, positions, tokenizer, widths."""

from __future__ import annotations

from typing import assert_never

from specrun.compiler.meaning.effects import no_effect
from specrun.compiler.meaning.modalities import (
    mode_of,
)
from specrun.compiler.meaning.numbers import divisors, nearest
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.language import MaskedLmModel
from specrun.spec.words.model import TextFromScratch
from specrun.spec.words.text_image_models import ClipModel, ComposedModel, SiglipModel
from specrun.spec.words.text_models import (
    AutoModel,
    BertModel,
    ModernbertModel,
    MpnetModel,
    Qwen3Model,
    RobertaModel,
    Text,
    TextEncoderModel,
)


def text_network(spec: Experiment) -> tuple[str, Text | MaskedLmModel | ClipModel | SiglipModel]:
    """The network of texts, and where the spec says it."""
    if isinstance(spec.model, ComposedModel):
        return "model.text", spec.model.text
    return "model", spec.model


def attention_heads(spec: Experiment, report: Reporter) -> None:
    at, model = text_network(spec)
    if not isinstance(model, TextFromScratch) or model.num_hidden_layers == 0:
        return
    heads, width = model.num_attention_heads, model.hidden_size
    path, related = f"{at}.num_attention_heads", (f"{at}.hidden_size",)
    rotary = model.position_embedding == "rotary"
    fitting = [h for h in divisors(width) if not rotary or width // h % 2 == 0]
    hint = f"heads that fit: {', '.join(str(h) for h in nearest(fitting, heads))}"
    if width % heads:
        message = f"`{path}` {heads} does not divide `{at}.hidden_size` {width}"
        report.error(path, "heads-do-not-divide", message, hint=hint, related=related)
    elif rotary and width // heads % 2:
        message = f"rotary positions need an even head size, {width} / {heads} is {width // heads}"
        report.error(path, "odd-head-size", message, hint=hint if fitting else "", related=related)


def positions_suffice(spec: Experiment, report: Reporter) -> None:
    at, model = text_network(spec)
    if not isinstance(model, TextFromScratch) or model.position_embedding != "learned":
        return
    rows = model.max_position_embeddings
    lengths = spec.data.max_length
    mode = mode_of(spec)
    named = (
        (("", "t", lengths),)
        if lengths is None or isinstance(lengths, int)
        else ((".query", mode[0], lengths.query), (".positive", mode[-1], lengths.positive))
    )
    for name, letter, length in named:
        if length is not None and length > rows and letter != "i":
            path = f"data.max_length{name}"
            message = f"`{path}` {length} is above `{at}.max_position_embeddings` {rows}"
            hint = f"lower it to {rows}, or raise the other"
            related = (f"{at}.max_position_embeddings",)
            report.error(path, "too-few-positions", message, hint=hint, related=related)


def tokenizer_given(spec: Experiment, report: Reporter) -> None:
    at, text = text_network(spec)
    match text:
        case TextEncoderModel() | MaskedLmModel():
            if spec.tokenizer is None and spec.init_from is None:
                message = "`tokenizer` is missing: an encoder from scratch has none of its own"
                hint = "add `tokenizer: {kind: train}`"
                report.error(
                    "tokenizer", "missing-key", message, hint=hint, related=(f"{at}.kind",)
                )
        case (
            BertModel()
            | RobertaModel()
            | MpnetModel()
            | Qwen3Model()
            | ModernbertModel()
            | AutoModel()
            | ClipModel()
            | SiglipModel()
        ):
            pass
        case _:
            assert_never(text)


def adapters_on_scratch(spec: Experiment, report: Reporter) -> None:
    if spec.init_from is not None:
        return
    if spec.lora is not None and isinstance(spec.model, TextFromScratch):
        message = "`lora` freezes the base model, and this one has only random weights"
        hint = "remove `lora`, or read a pretrained model"
        related = ("model.kind",)
        code = "lora-from-scratch"
        report.warning("lora", code, message, hint=hint, blame="key", related=related)


def norms_without_effect(spec: Experiment, report: Reporter) -> None:
    """Settings of norms and biases that a bag of tokens has none of."""
    at, model = text_network(spec)
    if not isinstance(model, TextEncoderModel) or model.num_hidden_layers:
        return
    path = tuple(at.split("."))
    if not model.final_layer_norm:
        for name, usual in (("norm", "layernorm"), ("layer_norm_eps", 1e-5)):
            if getattr(model, name) != usual:
                message = f"`{at}.{name}` has no effect: the model has no layers and no final norm"
                no_effect(report, (*path, name), (*path, "final_layer_norm"), message)
    if not model.bias and (model.norm == "rmsnorm" or not model.final_layer_norm):
        message = f"`{at}.bias` has no effect: the model has no layers, and no norm with a bias"
        no_effect(report, (*path, "bias"), (*path, "num_hidden_layers"), message)


def layers_without_blocks(spec: Experiment, report: Reporter) -> None:
    model = spec.model
    if isinstance(model, TextEncoderModel) and model.num_hidden_layers == 0:
        for name, off in (("gradient_checkpointing", False), ("unroll", None)):
            if getattr(spec.train, name) != off:
                message = f"`train.{name}` has no effect: the model has no layers"
                no_effect(report, ("train", name), ("model", "num_hidden_layers"), message)


def embedding_width(spec: Experiment) -> int | None:
    """The width of the embedding, where the spec alone says it."""
    model = spec.model
    match model:
        case TextEncoderModel():
            return model.projection_dim or model.hidden_size
        case ComposedModel():
            return model.head_dim
        case ClipModel() | SiglipModel() | MaskedLmModel():
            return None
        case (
            BertModel()
            | RobertaModel()
            | MpnetModel()
            | Qwen3Model()
            | ModernbertModel()
            | AutoModel()
        ):
            return model.projection_dim


def matryoshka_fits(spec: Experiment, report: Reporter) -> None:
    part = spec.matryoshka
    if part is None:
        return
    width = embedding_width(spec)
    for index, dim in enumerate(part.dims):
        if width is not None and dim > width:
            path = f"matryoshka.dims[{index}]"
            message = f"`{path}` {dim} is above the embedding's width {width}"
            related = ("model.hidden_size", "model.projection_dim")
            hint = f"at most {width}"
            report.error(path, "dim-above-width", message, hint=hint, related=related)
    if part.weights is not None and len(part.weights) != len(part.dims):
        message = f"{len(part.weights)} weights for {len(part.dims)} dims"
        hint = "give one weight per entry of `matryoshka.dims`"
        path, related = "matryoshka.weights", ("matryoshka.dims",)
        report.error(path, "length-mismatch", message, hint=hint, related=related)
    elif part.weights is not None and not any(part.weights):
        message = "all weights of `matryoshka` are 0, so nothing would be trained"
        report.error("matryoshka.weights", "all-weights-zero", message)
