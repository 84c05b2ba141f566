"""CLIP's config.json, with what transformers takes where it is silent. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specrun.runtime.models.clip.table import ACTIVATIONS, text_rows, vision_rows
from specrun.runtime.models.values import Values
from specrun.spec.plan.towers import ClipTextConfig, ClipVisionConfig

CHANNELS = 3
"""Numbers of a pixel: pictures are read as red, green and blue."""


def clip_config(raw: Mapping[str, Any]) -> tuple[ClipTextConfig, ClipVisionConfig]:
    """The two networks of a config.json of ``model_type`` clip. One InputError names every fault.

    Old files have ``text_config_dict`` and ``vision_config_dict`` too, which transformers takes instead where they are
    not null. The width of both heads is the outer ``projection_dim``.
    """
    values = Values(raw)
    values.choice("model_type", "clip", ("clip",))
    values.no_code()
    width = values.whole("projection_dim", 512)
    text = _text(_part(values, "text_config"), width)
    vision = _vision(_part(values, "vision_config"), width)
    values.finish()
    text_rows(text)  # raises where heads do not divide the width
    vision_rows(vision)
    return text, vision


def _part(values: Values, key: str) -> Values:
    return values.part(f"{key}_dict" if values.has(f"{key}_dict") else key)


def _text(values: Values, width: int) -> ClipTextConfig:
    return ClipTextConfig(
        **block_values(values, hidden=512, inner=2048, heads=8, act="quick_gelu", eps=1e-5),
        vocab_size=values.whole("vocab_size", 49408),
        max_position_embeddings=values.whole("max_position_embeddings", 77),
        eos_token_id=values.whole("eos_token_id", 49407, least=0),
        projection_dim=width,
    )


def _vision(values: Values, width: int) -> ClipVisionConfig:
    return ClipVisionConfig(
        **block_values(values, hidden=768, inner=3072, heads=12, act="quick_gelu", eps=1e-5),
        **image_values(values, patch=32),
        projection_dim=width,
    )


def block_values(
    values: Values, *, hidden: int, inner: int, heads: int, act: str, eps: float
) -> dict[str, Any]:
    """What the blocks of CLIP's and SigLIP's networks have in common; neither has dropout but on attention."""
    return {
        "hidden_size": values.whole("hidden_size", hidden),
        "num_hidden_layers": values.whole("num_hidden_layers", 12, least=0),
        "num_attention_heads": values.whole("num_attention_heads", heads),
        "intermediate_size": values.whole("intermediate_size", inner),
        "hidden_act": values.choice("hidden_act", act, ACTIVATIONS),
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": values.rate("attention_dropout", 0.0),
        "layer_norm_eps": values.number("layer_norm_eps", eps),
        "initializer_range": values.number("initializer_range", 0.02),
    }


def image_values(values: Values, *, patch: int) -> dict[str, int]:
    """Sizes of images and patches."""
    values.only("num_channels", CHANNELS)
    before = values.faults_found
    image, patch = values.side("image_size", 224), values.side("patch_size", patch)
    if image < patch and values.faults_found == before:
        message = f"an image of {image} pixels holds no patch of {patch}"
        values.refuse(message, "is config.json the model's own?")
    return {"image_size": image, "patch_size": patch, "num_channels": CHANNELS}
