"""What each kind of network has of its own: what lies outside of its layers, a layer, what the layers are given, and pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

import jax

from specrun.runtime.models.attention import POOLING
from specrun.runtime.models.bert import model as bert
from specrun.runtime.models.clip import model as clip
from specrun.runtime.models.modernbert import model as modernbert
from specrun.runtime.models.modules import Adapter
from specrun.runtime.models.mpnet import model as mpnet
from specrun.runtime.models.qwen3 import model as qwen3
from specrun.runtime.models.roberta import model as roberta
from specrun.runtime.models.shells import Shell, shell
from specrun.runtime.models.siglip import model as siglip
from specrun.runtime.models.siglip2 import model as siglip2
from specrun.runtime.models.text_encoder import model as text_encoder
from specrun.runtime.models.towers import network_config
from specrun.runtime.models.vit import model as vit
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import (
    BertConfig,
    ModernbertConfig,
    MpnetConfig,
    NetworkConfig,
    Qwen3Config,
    RobertaConfig,
    TextConfig,
    TextEncoderConfig,
)
from specrun.spec.plan.towers import (
    ClipTextConfig,
    ClipVisionConfig,
    Siglip2VisionConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextTower,
    VitConfig,
)

Layers = Callable[[dict[str, Adapter], int], Any]
"""A layer with these adapters, of a group whose first layer has this index."""


def family_of(model: ModelPlan) -> tuple[Shell, Layers]:
    """What lies outside of the layers, and a layer from its adapters and the index of its group's first."""
    config = network_config(model)
    ends: Any
    layer: Any
    match config:
        case TextEncoderConfig():
            ends, layer = text_encoder.Ends, text_encoder.Layer
        case BertConfig():
            ends, layer = bert.Ends, bert.Layer
        case RobertaConfig():
            ends, layer = roberta.Ends, roberta.Layer
        case MpnetConfig():
            ends, layer = mpnet.Ends, mpnet.Layer
        case Qwen3Config():
            ends, layer = qwen3.Ends, qwen3.Layer
        case ModernbertConfig():
            made = shell(lambda: modernbert.Ends(config))
            return made, lambda a, first: modernbert.Layer(config, a, normed=first > 0)
        case ClipTextConfig():
            ends, layer = clip.TextEnds, clip.TextLayer
        case ClipVisionConfig():
            ends, layer = clip.VisionEnds, clip.VisionLayer
        case SiglipTextConfig():
            ends, layer = siglip.TextEnds, siglip.TextLayer
        case SiglipVisionConfig():
            ends, layer = siglip.VisionEnds, siglip.VisionLayer
        case Siglip2VisionConfig():
            ends, layer = siglip2.VisionEnds, siglip2.VisionLayer
        case VitConfig():
            ends, layer = vit.VisionEnds, vit.VisionLayer
        case _:
            assert_never(config)
    return shell(lambda: ends(config)), lambda adapters, _: layer(config, adapters)


def context_of(config: NetworkConfig, ends: Any, mask: jax.Array) -> tuple[Any, ...]:
    """What every layer is given behind the states: of the mask, and what the layers share."""
    match config:
        case TextEncoderConfig():
            return text_encoder.context(config, mask)
        case BertConfig() | RobertaConfig():
            return bert.context(config, mask)
        case MpnetConfig():
            return ends.context(mask)
        case ClipTextConfig() | ClipVisionConfig():
            return clip.context(config, mask)
        case SiglipTextConfig() | SiglipVisionConfig():
            return siglip.context(config, mask)
        case Siglip2VisionConfig():
            return siglip2.context(config, mask)
        case VitConfig():
            return vit.context(config, mask)
        case Qwen3Config():
            return qwen3.context(config, mask)
        case ModernbertConfig():
            return modernbert.context(config, mask)
        case _:
            assert_never(config)


def pooled(
    config: NetworkConfig, ends: Any, x: jax.Array, content: jax.Array, mask: jax.Array
) -> jax.Array:
    """One vector of each row, [B, D]."""
    if isinstance(config, TextConfig):
        return POOLING[config.pooling](x, mask)
    if isinstance(config, TextTower):
        return ends.pool(x, content, mask)
    return ends.pool(x, mask)


def of_each_layer(config: NetworkConfig) -> jax.Array | None:
    """What a layer is given of its own beside the context, [layers]; None where all are given the same."""
    return modernbert.kinds(config) if isinstance(config, ModernbertConfig) else None
