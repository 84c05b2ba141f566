"""The token vectors of a model: what makes them, how many an image has, and what cannot be."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.draft import Context
from specrun.compiler.passes.widths import embedding_dim
from specrun.spec.plan.data import Source as DataSource
from specrun.spec.plan.data import modality
from specrun.spec.plan.losses import Late, LossPlan
from specrun.spec.plan.model import MultiVectorPlan, Reduce
from specrun.spec.plan.networks import EncoderConfig, TextConfig, TextImageConfig, token_dim
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.sides import Side
from specrun.spec.plan.towers import ClipVisionConfig, VitConfig
from specrun.spec.words.model import Model
from specrun.spec.words.text_image_models import ClipModel, ComposedModel, SiglipModel

TOKEN_HEAD = "multi_vector"
"""How the paths of a head of their own begin."""


def with_token_vectors(config: EncoderConfig, model: Model, context: Context) -> EncoderConfig:
    """The configuration of two networks with what the spec says of its outputs."""
    if not isinstance(model, ClipModel | SiglipModel | ComposedModel):
        return config
    if not isinstance(config, TextImageConfig):
        return config
    _check_patches(config, model, context)
    pooled = isinstance(model, SiglipModel) or model.pooling != "none"
    head = model.multi_vector
    config = replace(
        config,
        pooled=pooled,
        multi_vector_dim=None if head is None else head.dim or embedding_dim(config),
    )
    return config if pooled else _without_pooling(config)


def _without_pooling(config: TextImageConfig) -> TextImageConfig:
    """The networks that can be told to pool are told not to."""
    text, image = config.text, config.image
    return replace(
        config,
        text=replace(text, pooling="none") if isinstance(text, TextConfig) else text,
        image=replace(image, pooling="none") if isinstance(image, VitConfig) else image,
    )


def _check_patches(
    config: TextImageConfig, model: ClipModel | SiglipModel | ComposedModel, context: Context
) -> None:
    top, image = _top_k(model), config.image
    if top is None or not isinstance(image, ClipVisionConfig | VitConfig):
        return
    if top > image.patches:
        context.report.error(
            "model.top_k_patches",
            "too-many-patches",
            f"`model.top_k_patches` {top} is above the {image.patches} patches of an image "
            f"({image.image_size} pixels, patches of {image.patch_size})",
            hint=f"at most {image.patches}, or remove it, which keeps all",
        )


def token_head_rows(model: Model, width: int) -> tuple[TableRow, ...]:
    """The head of a network of texts or of images whose last norm has this width; none without one of its own."""
    dim = _own_width(model)
    if dim is None:
        return ()
    return (TableRow(path=f"{TOKEN_HEAD}.kernel", shape=(width, dim), role="kernel"),)


def multi_vector(
    config: EncoderConfig, losses: tuple[LossPlan, ...], model: Model
) -> MultiVectorPlan | None:
    """The token vectors of the model, folded as its losses fold them; None where it has none.

    The states of a language model are compared by no loss: those who compare them take the mean.
    """
    two = config if isinstance(config, TextImageConfig) else None
    alone = config.pooling == "none" if isinstance(config, TextConfig) else not config.pooled
    beside = token_dim(config)
    if not alone and beside is None:
        return None
    folds: list[Reduce] = [x.reduce for x in losses if isinstance(x, Late)]
    own = beside is not None if two is None else _own_width(model) is not None
    return MultiVectorPlan(
        width=embedding_dim(config) if beside is None else beside,
        reduce=folds[0] if folds else "mean",
        alone=alone,
        head="own" if own else "projection",
        image_vectors=None if two is None else _image_vectors(two, model),
        top_k_patches=_top_k(model),
    )


def vectors_of(late: MultiVectorPlan | None, source: DataSource, side: Side, longest: int) -> int:
    """Vectors of a text of ``longest`` tokens or of an image, or of both together."""
    what = modality(source, side)
    images = 0 if late is None or what == "text" else late.image_vectors or 0
    return images + (0 if what == "image" else longest)


def _image_vectors(config: TextImageConfig, model: Model) -> int:
    """Class token, where there is one, and patches, at most; or of the patches those kept."""
    top = _top_k(model)
    return config.image.tokens if top is None else 1 + top


def _own_width(model: Model) -> int | None:
    """Width of a head that only models of two networks may go without."""
    if isinstance(model, ClipModel | SiglipModel | ComposedModel):
        return None if model.multi_vector is None else model.multi_vector.dim
    return None


def _top_k(model: Model) -> int | None:
    return model.top_k_patches if isinstance(model, ClipModel | ComposedModel) else None
