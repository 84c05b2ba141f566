"""ViT's config.json, with what transformers takes where it is silent. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specrun.runtime.models.clip.config import image_values
from specrun.runtime.models.clip.table import ACTIVATIONS
from specrun.runtime.models.values import Values
from specrun.runtime.models.vit.table import rows
from specrun.spec.plan.towers import ImagePooling, VitConfig


def vit_config(
    raw: Mapping[str, Any], *, pooling: ImagePooling = "cls", projection_dim: int | None = None
) -> VitConfig:
    """The network of a config.json of ``model_type`` vit. One InputError names every fault.

    Pooling and head are not in config.json. The pooler of ViTModel is not part of an embedding.
    """
    values = Values(raw)
    values.choice("model_type", "vit", ("vit",))
    values.no_code()
    values.only("qkv_bias", True)
    values.only("head_dim", None)
    config = VitConfig(
        hidden_size=values.whole("hidden_size", 768),
        num_hidden_layers=values.whole("num_hidden_layers", 12, least=0),
        num_attention_heads=values.whole("num_attention_heads", 12),
        intermediate_size=values.whole("intermediate_size", 3072),
        hidden_act=values.choice("hidden_act", "gelu", ACTIVATIONS),
        hidden_dropout_prob=values.rate("hidden_dropout_prob", 0.0),
        attention_probs_dropout_prob=values.rate("attention_probs_dropout_prob", 0.0),
        layer_norm_eps=values.number("layer_norm_eps", 1e-12),
        initializer_range=values.number("initializer_range", 0.02),
        **image_values(values, patch=16),
        pooling=pooling,
        final_layer_norm=True,
        projection_dim=projection_dim,
    )
    values.finish()
    rows(config)  # raises where heads do not divide the width
    return config
