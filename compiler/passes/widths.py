"""What a network gives: how many towers, how wide an embedding, which token vectors."""

from __future__ import annotations

from specrun.spec.plan.model import (
    EncoderConfig,
    MultiVectorPlan,
    NetworkConfig,
    Reduce,
    TextConfig,
    TextImageConfig,
    Towers,
    token_dim,
)
from specrun.spec.plan.training import Late, LossPlan
from specrun.spec.words.model import (
    ClipModel,
    ComposedModel,
    Model,
    SiglipModel,
)


def towers_of(model: Model, config: EncoderConfig) -> Towers:
    """Which networks a model has; ``auto`` has those of what it was read from."""
    if isinstance(config, TextImageConfig):
        return "text_image"
    assert not isinstance(model, ClipModel | SiglipModel | ComposedModel)
    return model.towers


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
