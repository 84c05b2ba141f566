"""The network in numbers: its complete configuration, its parameters row by row, prompts, image processor."""

from __future__ import annotations

from dataclasses import fields, replace

from specrun.compiler.draft import Context, Draft
from specrun.compiler.objective import hides_tokens
from specrun.compiler.passes.generation import generation_plan
from specrun.compiler.passes.language import (
    read_vocabulary_head,
    size_as_named,
    with_vocabulary_head,
)
from specrun.compiler.passes.network_checks import (
    check_best,
    check_dims,
    check_dropout,
    check_lengths,
    check_mask,
    check_modalities,
    check_padding,
    check_precision,
    check_vocabulary,
)
from specrun.compiler.passes.scratch import image_encoder, masked_lm, text_encoder
from specrun.compiler.passes.token_vectors import token_head_rows, with_token_vectors
from specrun.compiler.passes.widths import network_dim, towers_of
from specrun.spec.plan.data import Prompts
from specrun.spec.plan.images import ImageProcessor, uniform
from specrun.spec.plan.networks import (
    EncoderConfig,
    PretrainedConfig,
    TextConfig,
    TextImageConfig,
)
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.sides import SIDES, Towers
from specrun.spec.plan.towers import VitConfig
from specrun.spec.words.image_models import Image, ImageEncoderModel, VitModel
from specrun.spec.words.language import MaskedLmModel
from specrun.spec.words.model import TextFromScratch
from specrun.spec.words.text_image_models import ClipModel, ComposedModel, SiglipModel
from specrun.spec.words.text_models import (
    AutoModel,
    BertModel,
    ModernbertModel,
    MpnetModel,
    PretrainedModel,
    Qwen3Model,
    RobertaModel,
    Text,
    TextEncoderModel,
)

SET_BESIDE = (
    "hidden_dropout_prob",
    "embedding_dropout",
    "mlp_dropout",
    "attention_probs_dropout_prob",
    "pooling",
    "projection_dim",
)
"""Numbers of a pretrained configuration that the spec may set beside config.json."""


def configure_model(draft: Draft, context: Context) -> Draft:
    """The encoder's complete configuration, and its parameters row by row."""
    model = draft.spec.model
    check_precision(draft, context)
    config = _config(draft, context)
    if config is None:
        return draft
    config = with_token_vectors(config, model, context)
    text = config.text if isinstance(config, TextImageConfig) else config
    check_lengths(draft, text, context)
    check_vocabulary(draft, text, context)
    check_padding(draft, text, context)
    check_mask(draft, text, context)
    check_dims(draft, config, context)
    check_dropout(draft, config, context)
    check_best(draft, config, context)
    check_modalities(draft, config, context)
    rows = _in_towers(_table(config, draft, context), towers_of(model, config))
    size_as_named(draft, rows, context)
    processor = _image_processor(draft, config)
    return replace(
        _with_prompts(draft, context),
        config=config,
        rows=rows,
        image_processor=processor,
        generation=generation_plan(draft, config, context),
    )


def _with_own_head(
    table: tuple[TableRow, ...], draft: Draft, context: Context
) -> tuple[TableRow, ...]:
    """A network of texts' rows, the head read from the directory where that has one of its own."""
    weights = draft.pretrained.weights if draft.pretrained else None
    if weights is None or weights.head is None:
        return table
    composed = isinstance(draft.spec.model, ComposedModel)
    text = (
        draft.spec.model.text if isinstance(draft.spec.model, ComposedModel) else draft.spec.model
    )
    if getattr(text, "projection_dim", None) is not None:
        context.report.error(
            "model.text.projection_dim" if composed else "model.projection_dim",
            "own-head",
            f"{weights.directory} has a head of its own, and a new one would take its place",
            hint="remove `projection_dim` to train on with that head",
        )
    return tuple(replace(r, new=False) if r.path == "projection.kernel" else r for r in table)


def _image_processor(draft: Draft, config: EncoderConfig) -> ImageProcessor | None:
    """The directory's, or for an image network from scratch the plain one."""
    if not isinstance(config, TextImageConfig):
        return None
    if draft.pretrained_image is not None:
        return draft.pretrained_image.processor
    assert isinstance(config.image, VitConfig)  # no other is made from scratch
    return uniform(config.image.image_size, config.image.image_size)


def _config(draft: Draft, context: Context) -> EncoderConfig | None:
    """The configuration; None where what it is read from has a fault, which is told already."""
    model = draft.spec.model
    found = draft.pretrained.config if draft.pretrained else None
    match model:
        case ClipModel() | SiglipModel():
            return found if isinstance(found, TextImageConfig) else None
        case ComposedModel():
            return _composed(model, draft, context)
        case AutoModel():
            if isinstance(found, TextImageConfig):
                _refuse_settings(model, found, context)
                return found
            return _text(model, draft, context)
        case (
            TextEncoderModel()
            | MaskedLmModel()
            | BertModel()
            | RobertaModel()
            | MpnetModel()
            | Qwen3Model()
            | ModernbertModel()
        ):
            return _text(model, draft, context)


def _refuse_settings(model: AutoModel, found: TextImageConfig, context: Context) -> None:
    """What can be said of a network of texts means nothing for two networks."""
    given = ("multi_vector", *SET_BESIDE)
    names = [name for name in given if getattr(model, name, None) is not None]
    names += [f"prompts.{side}" for side in SIDES if getattr(model.prompts, side) is not None]
    for name in [*names, *(["towers"] if model.towers != "shared" else [])]:
        context.report.error(
            f"model.{name}",
            "no-effect",
            f"`model.{name}` has no effect: config.json names a model of texts and images "
            f"({found.text.kind}, {found.image.kind})",
            hint="remove it",
        )


def _text(model: Text | MaskedLmModel, draft: Draft, context: Context) -> TextConfig | None:
    if isinstance(model, TextFromScratch) and not _heads_fit(model):
        return None
    if isinstance(model, MaskedLmModel):
        return masked_lm(model, _vocab_size(draft))
    if isinstance(model, TextEncoderModel):
        return text_encoder(model, _vocab_size(draft))
    found = draft.pretrained.config if draft.pretrained else None
    if found is None or isinstance(found, TextImageConfig):
        return None
    if hides_tokens(draft.spec):
        found = with_vocabulary_head(found, draft, context)
    return _pretrained(model, found, _at(draft), context)


def _heads_fit(model: TextEncoderModel | MaskedLmModel) -> bool:
    """Whether heads divide the width, and rotary ones are even; the checks of meaning tell which do not."""
    heads, width = model.num_attention_heads, model.hidden_size
    if model.num_hidden_layers == 0:
        return True
    even = model.position_embedding != "rotary" or width // heads % 2 == 0
    return width % heads == 0 and even


def _composed(model: ComposedModel, draft: Draft, context: Context) -> TextImageConfig | None:
    text = _text(model.text, draft, context)
    image = _image_network(model.image, draft)
    if text is None or image is None:
        return None
    widths = (network_dim(text), image.embedding_dim)
    if model.head_dim is None and widths[0] != widths[1]:
        context.report.error(
            "model.head_dim",
            "widths-differ",
            f"without heads the embeddings must be of one width, and texts have {widths[0]}, images {widths[1]}",
            hint="give `model.head_dim`, or a `projection_dim` to one of the two",
        )
    return TextImageConfig(text=text, image=image, head_dim=model.head_dim)


def _image_network(model: Image, draft: Draft) -> VitConfig | None:
    match model:
        case ImageEncoderModel():
            return image_encoder(model)
        case VitModel():
            if draft.pretrained_image is None:
                return None
            given = {
                "hidden_dropout_prob": model.hidden_dropout_prob,
                "attention_probs_dropout_prob": model.attention_probs_dropout_prob,
                "projection_dim": model.projection_dim,
            }
            found = draft.pretrained_image.config
            assert isinstance(found, VitConfig)  # the directory was read as one
            return replace(
                found,
                pooling=model.pooling,
                **{k: v for k, v in given.items() if v is not None},
            )


def _table(config: EncoderConfig, draft: Draft, context: Context) -> tuple[TableRow, ...]:
    """Every parameter; those of two networks begin with their names."""
    if not isinstance(config, TextImageConfig):
        table = read_vocabulary_head(context.facts.table(config), draft)
        return _with_own_head(table, draft, context)
    found: list[TableRow] = []
    for name, network in (("text", config.text), ("image", config.image)):
        own = context.facts.table(network)
        if name == "text" and isinstance(network, TextConfig):
            own = _with_own_head(own, draft, context)
        if name == "image" and draft.pretrained_image is None:  # the table is of one that is read
            own = tuple(replace(row, new=True) for row in own)
        own += _head_rows(network_dim(network), config.head_dim)
        own += token_head_rows(draft.spec.model, network.hidden_size)
        found += (replace(row, path=f"{name}.{row.path}") for row in own)
    return tuple(found)


def _head_rows(width: int, head_dim: int | None) -> tuple[TableRow, ...]:
    """Linear, GELU, Linear: from the network's width to the common one, and within it."""
    if head_dim is None:
        return ()
    rows: list[TableRow] = []
    for name, n_in in (("first", width), ("second", head_dim)):
        rows.append(
            TableRow(path=f"projector.{name}.kernel", shape=(n_in, head_dim), role="kernel")
        )
        rows.append(TableRow(path=f"projector.{name}.bias", shape=(head_dim,), role="bias"))
    return tuple(rows)


def _at(draft: Draft) -> str:
    """Where the spec says the network of texts."""
    return "model.text" if isinstance(draft.spec.model, ComposedModel) else "model"


def _with_prompts(draft: Draft, context: Context) -> Draft:
    """The spec's prompts, or the directory's, in the tokenizer's plan."""
    model, found, tokenizer = draft.spec.model, draft.pretrained, draft.tokenizer
    at = _at(draft)
    model = model.text if isinstance(model, ComposedModel) else model
    if not isinstance(model, PretrainedModel) or found is None or hides_tokens(draft.spec):
        return draft
    given, own = model.prompts, found.prompts
    prompts = Prompts(
        query=own.query if given.query is None else given.query,
        positive=own.positive if given.positive is None else given.positive,
    )
    if prompts.any and not found.pools_prompts:
        message = "the directory's pooling leaves prompts out (include_prompt: false)"
        hint = (
            f'write {at}.prompts: {{query: "", positive: ""}}, or use a directory that pools them'
        )
        context.report.error(f"{at}.prompts", "unpooled-prompt", message, hint=hint)
    return (
        draft
        if tokenizer is None
        else replace(draft, tokenizer=replace(tokenizer, prompts=prompts))
    )


def _pretrained(
    model: PretrainedModel, found: PretrainedConfig, at: str, context: Context
) -> PretrainedConfig:
    """The directory's configuration with what the spec sets beside it."""
    given = {name: getattr(model, name, None) for name in SET_BESIDE}
    given["multi_vector_dim"] = None if model.multi_vector is None else model.multi_vector.dim
    if given["hidden_dropout_prob"] is not None and not _has(found, "hidden_dropout_prob"):
        message = f"{found.kind} has no dropout on embeddings and block outputs"
        hint = f"remove the line; {at}.attention_probs_dropout_prob has an effect"
        context.report.error(f"{at}.hidden_dropout_prob", "no-effect", message, hint=hint)
        return found
    return replace(found, **{k: v for k, v in given.items() if v is not None})


def _has(config: PretrainedConfig, name: str) -> bool:
    return any(field.name == name for field in fields(config))


def _in_towers(rows: tuple[TableRow, ...], towers: Towers) -> tuple[TableRow, ...]:
    """The rows as they are, or once for each side with its name in front."""
    if towers != "separate":
        return rows
    return tuple(replace(row, path=f"{side}.{row.path}") for side in SIDES for row in rows)


def _vocab_size(draft: Draft) -> int:
    """The tokenizer's, or before it exists the size asked for."""
    if draft.tokenizer is not None:
        return draft.tokenizer.vocab_size
    return getattr(draft.tokenizer_source, "vocab_size", 1)
