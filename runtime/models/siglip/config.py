"""SigLIP's config.json, with what transformers takes where it is silent. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specrun.runtime.models.clip.config import block_values, image_values
from specrun.runtime.models.siglip.table import text_rows, vision_rows
from specrun.runtime.models.values import Values
from specrun.spec.plan.towers import SiglipTextConfig, SiglipVisionConfig

_BLOCKS: dict[str, Any] = {
    "hidden": 768,
    "inner": 3072,
    "heads": 12,
    "act": "gelu_pytorch_tanh",
    "eps": 1e-6,
}


def siglip_config(raw: Mapping[str, Any]) -> tuple[SiglipTextConfig, SiglipVisionConfig]:
    """The two networks of a config.json of ``model_type`` siglip. One InputError names every fault.

    SigLIP 2 of a fixed resolution says ``siglip`` as well. ``pad_token_id`` is config.json's, which need not be the
    tokenizer's: the tokenizer decides what texts are padded with.
    """
    values = Values(raw)
    if raw.get("model_type") == "siglip2":
        values.refuse(
            "model_type siglip2 is SigLIP 2 of varying resolution (NaFlex), which is not implemented",
            "use a SigLIP 2 of a fixed resolution, such as siglip2-base-patch16-224: its model_type is siglip",
        )
    else:
        values.choice("model_type", "siglip", ("siglip",))
    values.no_code()
    text = _text(values.part("text_config"))
    vision = _vision(values.part("vision_config"))
    if text.projection_dim != vision.embedding_dim:
        message = (
            f"texts become vectors of {text.projection_dim} numbers and images of "
            f"{vision.embedding_dim}, which cannot be compared"
        )
        values.refuse(message, "projection_size of text_config is hidden_size of vision_config")
    values.finish()
    text_rows(text)  # raises where heads do not divide the width
    vision_rows(vision)
    return text, vision


def _text(values: Values) -> SiglipTextConfig:
    blocks = block_values(values, **_BLOCKS)
    width = values.whole("projection_size", 0) if values.has("projection_size") else None
    return SiglipTextConfig(
        **blocks,
        vocab_size=values.whole("vocab_size", 32000),
        max_position_embeddings=values.whole("max_position_embeddings", 64),
        pad_token_id=values.whole("pad_token_id", 1, least=0),
        projection_dim=width or blocks["hidden_size"],
    )


def _vision(values: Values) -> SiglipVisionConfig:
    values.only("vision_use_head", True)
    return SiglipVisionConfig(**block_values(values, **_BLOCKS), **image_values(values, patch=16))
