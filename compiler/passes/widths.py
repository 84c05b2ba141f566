"""What a network gives: how many towers, how wide an embedding."""

from __future__ import annotations

from specrun.spec.plan.networks import EncoderConfig, NetworkConfig, TextConfig, TextImageConfig
from specrun.spec.plan.sides import Towers
from specrun.spec.words.language import MaskedLmModel
from specrun.spec.words.model import Model
from specrun.spec.words.text_image_models import ClipModel, ComposedModel, SiglipModel


def towers_of(model: Model, config: EncoderConfig) -> Towers:
    """Which networks a model has; ``auto`` has those of what it was read from."""
    if isinstance(config, TextImageConfig):
        return "text_image"
    assert not isinstance(model, ClipModel | SiglipModel | ComposedModel)
    if isinstance(model, MaskedLmModel):
        return "shared"
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
