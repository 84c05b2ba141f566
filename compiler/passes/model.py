"""Passes that give the network in numbers: configuration, adapters, trained parts, stacked parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import cast

from specrun.compiler.draft import Context, Draft, StageDraft
from specrun.compiler.passes.lengths import most_tokens
from specrun.compiler.passes.losses import loss_rows
from specrun.spec.plan.data import Prompts, modality
from specrun.spec.plan.images import ImageProcessor, uniform
from specrun.spec.plan.model import (
    SIDES,
    AdapterMatch,
    EncoderConfig,
    Group,
    MpnetConfig,
    MultiVectorPlan,
    NetworkConfig,
    Parameter,
    PretrainedConfig,
    Reduce,
    RobertaConfig,
    TableRow,
    TextConfig,
    TextEncoderConfig,
    TextImageConfig,
    Tower,
    Towers,
    inside_layer,
    token_dim,
    tower_of,
)
from specrun.spec.plan.towers import TextTower, VitConfig
from specrun.spec.plan.training import Late, LossPlan
from specrun.spec.words.model import (
    AutoModel,
    BertModel,
    ClipModel,
    ComposedModel,
    Image,
    ImageEncoderModel,
    Model,
    ModernbertModel,
    MpnetModel,
    PretrainedModel,
    Qwen3Model,
    RobertaModel,
    SiglipModel,
    Text,
    TextEncoderModel,
    VitModel,
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

DECAYED = ("kernel", "embedding", "lora_a", "lora_b")


def configure_model(draft: Draft, context: Context) -> Draft:
    """The encoder's complete configuration, and its parameters row by row."""
    model = draft.spec.model
    _check_precision(draft, context)
    config = _config(draft, context)
    if config is None:
        return draft
    text = config.text if isinstance(config, TextImageConfig) else config
    _check_lengths(draft, text, context)
    _check_vocabulary(draft, text, context)
    _check_padding(draft, text, context)
    _check_dims(draft, config, context)
    _check_modalities(draft, config, context)
    rows = _in_towers(_table(config, draft, context), towers_of(model, config))
    processor = _image_processor(draft, config)
    return replace(
        _with_prompts(draft, context), config=config, rows=rows, image_processor=processor
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


def towers_of(model: Model, config: EncoderConfig) -> Towers:
    """Which networks a model has; ``auto`` has those of what it was read from."""
    if isinstance(config, TextImageConfig):
        return "text_image"
    assert not isinstance(model, ClipModel | SiglipModel | ComposedModel)
    return model.towers


def _check_modalities(draft: Draft, config: EncoderConfig, context: Context) -> None:
    """Rows of images need a network for them, and a network that is all the model has needs rows."""
    found = {modality(draft.need("source"), side) for side in SIDES}
    if found != {"text"} and not isinstance(config, TextImageConfig):
        context.report.error(
            "data.retrieval_mode",
            "no-image-network",
            f"the rows have images, and the model embeds texts alone ({config.kind})",
            hint="use a model of the kind clip, siglip or composed",
        )


def _image_processor(draft: Draft, config: EncoderConfig) -> ImageProcessor | None:
    """The directory's, or for an image network from scratch the plain one."""
    if not isinstance(config, TextImageConfig):
        return None
    if draft.pretrained_image is not None:
        return draft.pretrained_image.processor
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


def _text(model: Text, draft: Draft, context: Context) -> TextConfig | None:
    if isinstance(model, TextEncoderModel):
        return _text_encoder(model, _vocab_size(draft))
    found = draft.pretrained.config if draft.pretrained else None
    if found is None or isinstance(found, TextImageConfig):
        return None
    return _pretrained(model, found, _at(draft), context)


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
            return VitConfig(
                hidden_size=model.hidden_size,
                num_hidden_layers=model.num_hidden_layers,
                num_attention_heads=model.num_attention_heads,
                intermediate_size=model.intermediate_size or 4 * model.hidden_size,
                hidden_act="gelu",
                hidden_dropout_prob=model.hidden_dropout_prob,
                attention_probs_dropout_prob=model.attention_probs_dropout_prob,
                layer_norm_eps=model.layer_norm_eps,
                initializer_range=model.initializer_range,
                image_size=model.image_size,
                patch_size=model.patch_size,
                num_channels=3,
                pooling=model.pooling,
                final_layer_norm=model.final_layer_norm,
                projection_dim=model.projection_dim,
            )
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
        return _with_own_head(context.facts.table(config), draft, context)
    found: list[TableRow] = []
    for name, network in (("text", config.text), ("image", config.image)):
        own = context.facts.table(network)
        if name == "text" and isinstance(network, TextConfig):
            own = _with_own_head(own, draft, context)
        if name == "image" and draft.pretrained_image is None:  # the table is of one that is read
            own = tuple(replace(row, new=True) for row in own)
        own += _head_rows(network_dim(network), config.head_dim)
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
    if not isinstance(model, PretrainedModel) or found is None:
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


def _check_precision(draft: Draft, context: Context) -> None:
    if draft.spec.precision.compute != "bfloat16":
        return
    why = context.facts.slow_bfloat16(draft.spec.hardware.platform)
    if why:
        message = f"bfloat16 would be slower than float32 here: {why}"
        hint = "write float32, or run the plan on a machine with a GPU"
        context.report.warning("precision.compute", "slow-bfloat16", message, hint=hint)


def match_adapters(draft: Draft, context: Context) -> Draft:
    """Which linear layers carry an adapter, and by which target; a target that matches nothing is an error."""
    lora = draft.spec.lora
    if lora is None or draft.config is None:
        return draft
    linear = {
        r.path.removesuffix(".kernel"): r
        for r in draft.rows
        if r.role == "kernel" and r.layer is not None
    }
    matches: dict[str, AdapterMatch] = {}
    for i, target in enumerate(lora.target_modules):
        hits = [m for m in linear if _matches_module(m, target)]
        if not hits:
            names = sorted({inside_layer(m) for m in linear})
            near = get_close_matches(target, names + [n.rsplit(".", 1)[-1] for n in names], n=1)
            context.report.error(
                f"lora.target_modules[{i}]",
                "no-match",
                f"{target!r} matches no linear layer of the model",
                hint=(f"did you mean {near[0]!r}? " if near else "")
                + f"there are: {', '.join(names) or 'none'}",
            )
        for module in hits:
            shape = cast("tuple[int, int]", linear[module].shape)
            matches.setdefault(module, AdapterMatch(module=module, target=target, shape=shape))
    ordered = tuple(matches[m] for m in linear if m in matches)
    return replace(draft, matches=ordered, rows=(*draft.rows, *_adapter_rows(ordered, lora.rank)))


def choose_trained(draft: Draft, context: Context) -> Draft:
    """The parameters that each stage trains."""
    if draft.config is None:
        return draft
    rows = (*draft.rows, *loss_rows(draft.spec.losses, draft.spec.data))
    names = [r.path for r in rows]
    stages = tuple(
        replace(s, trained=frozenset(_trained(s, draft, rows, context))) for s in draft.stages
    )
    for stage in stages:
        if not stage.trained:
            context.report.error(
                stage.trainable_path or stage.path,
                "nothing-trains",
                f"stage {stage.name!r} trains no parameter",
                hint="widen `trainable`",
            )
    _unmatched(draft.spec.optimizer.no_decay, "optimizer.no_decay", names, context)
    return replace(draft, rows=rows, stages=stages)


def stack_layers(draft: Draft, context: Context) -> Draft:
    """Layers equal in adapters, freezing and decay become one group, and their parameters one stacked leaf."""
    groups = group_layers(draft)
    leaves, stacked = stack(draft, groups)
    return replace(draft, groups=groups, parameters=leaves, stacked=stacked)


def group_layers(draft: Draft) -> tuple[Group, ...]:
    """Maximal runs of a tower's layers with one signature: (parameters, adapters, what trains when, decay)."""
    layers: dict[tuple[Tower | None, int], list[TableRow]] = {}  # in the order of the table
    for row in draft.rows:
        if row.layer is not None:
            layers.setdefault((row.tower, row.layer), []).append(row)
    groups: list[Group] = []
    last: object = None
    for (tower, index), rows in layers.items():
        signature = (tower, *(_signature(row, draft) for row in rows))
        if groups and signature == last:
            groups[-1] = replace(groups[-1], count=groups[-1].count + 1)
        else:
            adapted = tuple(
                inside_layer(r.path).removesuffix(".lora_a") for r in rows if r.role == "lora_a"
            )
            groups.append(Group(first=index, count=1, adapted=adapted, tower=tower))
        last = signature
    return tuple(groups)


def stack(draft: Draft, groups: tuple[Group, ...]) -> tuple[tuple[Parameter, ...], dict[str, str]]:
    """The leaves of the tree, and for every logical path the leaf that holds it."""
    leaves: dict[str, Parameter] = {}
    stacked: dict[str, str] = {}
    trained = frozenset[str]().union(*(s.trained for s in draft.stages))
    for row in draft.rows:
        path, group = _place(row, groups)
        stacked[row.path] = path
        leaves.setdefault(
            path,
            Parameter(
                path=path,
                shape=row.shape if group is None else (group.count, *row.shape),
                role=row.role,
                stacked=None if group is None else group.first,
                new=row.new,
                decay=_decays(row, draft),
                trained=row.path in trained,
            ),
        )
    return tuple(leaves.values()), stacked


def _place(row: TableRow, groups: tuple[Group, ...]) -> tuple[str, Group | None]:
    """The leaf that holds a row, and its group; groups are counted in each tower."""
    if row.layer is None:
        return row.path, None
    own = [group for group in groups if group.tower == row.tower]
    number = next(i for i, g in enumerate(own) if g.first <= row.layer < g.first + g.count)
    prefix = "" if row.tower is None else f"{row.tower}."
    return f"{prefix}groups.{number}.{inside_layer(row.path)}", own[number]


def embedding_dim(config: EncoderConfig) -> int:
    """Width of the embedding, or of the token vectors without pooling: the head's, or the blocks'."""
    if isinstance(config, TextImageConfig):
        return config.head_dim or network_dim(config.text)
    return network_dim(config)


def network_dim(config: NetworkConfig) -> int:
    """Width of what a single network gives."""
    if isinstance(config, TextConfig):
        return config.projection_dim or config.hidden_size
    return config.embedding_dim


def multi_vector(config: EncoderConfig, losses: tuple[LossPlan, ...]) -> MultiVectorPlan | None:
    """The token vectors of the model, folded as its losses fold them; None where it has none."""
    alone = isinstance(config, TextConfig) and config.pooling == "none"
    beside = token_dim(config)
    if not alone and beside is None:
        return None
    reduce: Reduce = next(x.reduce for x in losses if isinstance(x, Late))
    width = embedding_dim(config) if beside is None else beside
    return MultiVectorPlan(width=width, reduce=reduce, alone=alone)


def _text_encoder(model: TextEncoderModel, vocab_size: int) -> TextEncoderConfig:
    return TextEncoderConfig(
        vocab_size=vocab_size,
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        intermediate_size=model.intermediate_size or 4 * model.hidden_size,
        hidden_act=model.hidden_act,
        position_embedding=model.position_embedding,
        max_position_embeddings=model.max_position_embeddings,
        rope_theta=model.rope_theta,
        hidden_dropout_prob=model.hidden_dropout_prob,
        attention_probs_dropout_prob=model.attention_probs_dropout_prob,
        layer_norm_eps=model.layer_norm_eps,
        initializer_range=model.initializer_range,
        pooling=model.pooling,
        final_layer_norm=model.final_layer_norm,
        projection_dim=model.projection_dim,
        multi_vector_dim=None if model.multi_vector is None else model.multi_vector.dim,
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


def _check_lengths(draft: Draft, config: TextConfig | TextTower, context: Context) -> None:
    if isinstance(config, TextEncoderConfig):
        return  # semantics.py has checked a model from scratch
    for side, wanted in zip(SIDES, most_tokens(draft), strict=True):
        if wanted > config.longest:
            context.report.error(
                f"data.max_length.{side}",
                "too-long",
                f"{wanted} tokens, but the model has {config.longest} positions",
                hint=f"at most {config.longest}",
            )


def _check_vocabulary(draft: Draft, config: TextConfig | TextTower, context: Context) -> None:
    if draft.tokenizer is not None and draft.tokenizer.vocab_size > config.vocab_size:
        context.report.error(
            "tokenizer",
            "vocabulary-too-large",
            f"the tokenizer has {draft.tokenizer.vocab_size} ids, the model's table {config.vocab_size} rows",
            hint="use the model's own tokenizer",
        )


def _check_padding(draft: Draft, config: TextConfig | TextTower, context: Context) -> None:
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


def _check_dims(draft: Draft, config: EncoderConfig, context: Context) -> None:
    if draft.spec.matryoshka is None or isinstance(config, TextEncoderConfig):
        return  # semantics.py has checked the widths of a model from scratch
    width = embedding_dim(config)
    for i, dim in enumerate(draft.spec.matryoshka.dims):
        if dim > width:
            context.report.error(
                f"matryoshka.dims[{i}]",
                "dim-above-width",
                f"{dim} is above the embedding's width {width}",
                hint=f"at most {width}",
            )


def _matches_module(module: str, target: str) -> bool:
    return module == target or module.endswith("." + target) or fnmatchcase(module, target)


def _adapter_rows(matches: Iterable[AdapterMatch], rank: int) -> list[TableRow]:
    rows: list[TableRow] = []
    for match in matches:
        rows.append(
            TableRow(path=f"{match.module}.lora_a", shape=(match.shape[0], rank), role="lora_a")
        )
        rows.append(
            TableRow(path=f"{match.module}.lora_b", shape=(rank, match.shape[1]), role="lora_b")
        )
    return rows


def _trained(
    stage: StageDraft, draft: Draft, rows: tuple[TableRow, ...], context: Context
) -> list[str]:
    model_rows = [r for r in rows if not r.path.startswith("losses.")]
    active = {f"losses.{name}" for name, weight in stage.loss_weights.items() if weight > 0}
    temperatures = [r.path for r in rows if r.path.rpartition(".")[0] in active]
    if stage.trainable is None:
        return [r.path for r in model_rows if _trains_by_default(r, draft)] + temperatures
    _unmatched(stage.trainable, stage.trainable_path, [r.path for r in model_rows], context)
    return [
        r.path for r in model_rows if any(fnmatchcase(r.path, p) for p in stage.trainable)
    ] + temperatures


def _trains_by_default(row: TableRow, draft: Draft) -> bool:
    if row.tower in ("text", "image") and not _is_used(row.tower, draft):
        return False
    if draft.spec.lora is None:
        return True
    read = draft.pretrained is not None or draft.pretrained_image is not None
    head = row.new and row.layer is None and read
    return head or row.role in ("lora_a", "lora_b")


def _is_used(tower: str, draft: Draft) -> bool:
    """Whether the rows have anything that the network of texts, or of images, reads."""
    return any(modality(draft.need("source"), side) in (tower, "both") for side in SIDES)


def _unmatched(patterns: Iterable[str], path: str, names: list[str], context: Context) -> None:
    for i, pattern in enumerate(patterns):
        if not any(fnmatchcase(n, pattern) for n in names):
            near = get_close_matches(pattern, names, n=1, cutoff=0.4)
            tops = sorted({n.split(".")[0] + ".*" for n in names})
            context.report.error(
                f"{path}[{i}]",
                "no-match",
                f"{pattern!r} matches no parameter",
                hint=(f"did you mean {near[0]!r}? " if near else "")
                + f"top modules: {', '.join(tops)}",
            )


def _signature(row: TableRow, draft: Draft) -> tuple[object, ...]:
    trained = tuple(row.path in s.trained for s in draft.stages)
    return inside_layer(row.path), row.shape, row.role, row.new, trained, _decays(row, draft)


def _decays(row: TableRow, draft: Draft) -> bool:
    optimizer = draft.spec.optimizer
    kept = any(fnmatchcase(row.path, p) for p in optimizer.no_decay)
    return row.role in DECAYED and not kept and optimizer.weight_decay > 0


def scale_of(rank: int, alpha: float, rslora: bool) -> float:
    """α / r (Hu et al. 2021), or α / √r (Kalajdzievski 2023)."""
    return alpha / math.sqrt(rank) if rslora else alpha / rank


def counts(parameters: Iterable[Parameter]) -> Mapping[str, tuple[int, int]]:
    """(all, trained) parameters by top module; groups and losses by their number or name."""
    table: dict[str, tuple[int, int]] = {}
    for p in parameters:
        tower, path = tower_of(p.path)
        parts = path.split(".")
        name = ".".join(parts[:2]) if parts[0] in ("groups", "losses", "embeddings") else parts[0]
        name = name if tower is None else f"{tower}.{name}"
        total, trained = table.get(name, (0, 0))
        table[name] = (total + p.size, trained + (p.size if p.trained else 0))
    return table
