"""SigLIP's config.json, with what transformers takes where it is silent. Imports no jax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from specrun.runtime.models.clip.config import block_values, image_values
from specrun.runtime.models.siglip.table import text_rows, vision_rows
from specrun.runtime.models.values import Values
from specrun.spec.plan.towers import Siglip2VisionConfig, SiglipTextConfig, SiglipVisionConfig

Vision = TypeVar("Vision", SiglipVisionConfig, Siglip2VisionConfig)

BLOCKS: dict[str, Any] = {
    "hidden": 768,
    "inner": 3072,
    "heads": 12,
    "act": "gelu_pytorch_tanh",
    "eps": 1e-6,
}
"""What transformers takes for the blocks of both networks where config.json is silent."""


def siglip_config(raw: Mapping[str, Any]) -> tuple[SiglipTextConfig, SiglipVisionConfig]:
    """The two networks of a config.json of ``model_type`` siglip. One InputError names every fault.

    SigLIP 2 of a fixed resolution says ``siglip`` as well; ``siglip2`` has a folder of its own. ``pad_token_id`` is config.json's, which need not be the
    tokenizer's: the tokenizer decides what texts are padded with.
    """
    text, vision = both_networks(raw, "siglip", _vision)
    vision_rows(vision)  # raises where heads do not divide the width
    return text, vision


def both_networks(
    raw: Mapping[str, Any], model_type: str, vision_values: Callable[[Values], Vision]
) -> tuple[SiglipTextConfig, Vision]:
    """The two networks of a config.json of SigLIP or SigLIP 2. One InputError names every fault."""
    values = Values(raw)
    values.choice("model_type", model_type, (model_type,))
    values.no_code()
    text = _text(values.part("text_config"))
    vision = vision_values(values.part("vision_config"))
    _require_one_width(values, text.projection_dim, vision.embedding_dim)
    values.finish()
    text_rows(text)  # raises where heads do not divide the width
    return text, vision


def _require_one_width(values: Values, text: int, image: int) -> None:
    """Note a fault unless both networks give vectors of as many numbers."""
    if text != image:
        message = f"texts become vectors of {text} numbers and images of {image}, which cannot be compared"
        values.refuse(message, "projection_size of text_config is hidden_size of vision_config")


def _text(values: Values) -> SiglipTextConfig:
    """The network of texts, which SigLIP and SigLIP 2 have in common."""
    blocks = block_values(values, **BLOCKS)
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
    return SiglipVisionConfig(**block_values(values, **BLOCKS), **image_values(values, patch=16))
