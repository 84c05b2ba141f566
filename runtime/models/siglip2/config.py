"""SigLIP 2's config.json (NaFlex), with what transformers takes where it is silent. Imports no jax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from specrun.runtime.models.clip.config import CHANNELS, block_values
from specrun.runtime.models.siglip.config import BLOCKS, both_networks
from specrun.runtime.models.siglip2.table import vision_rows
from specrun.runtime.models.values import Values
from specrun.spec.plan.towers import Siglip2VisionConfig, SiglipTextConfig

MAX_PATCHES = 256
"""Patches of an image as transformers' processor makes it where its own configuration is silent."""


def siglip2_config(raw: Mapping[str, Any]) -> tuple[SiglipTextConfig, Siglip2VisionConfig]:
    """The two networks of a config.json of ``model_type`` siglip2. One InputError names every fault.

    config.json does not say how many patches an image may have: the directory's processor does, and takes the place
    of the default that stands here.
    """
    text, vision = both_networks(raw, "siglip2", _vision)
    vision_rows(vision)  # raises where heads do not divide the width
    return text, vision


def _vision(values: Values) -> Siglip2VisionConfig:
    values.only("vision_use_head", True)
    values.only("num_channels", CHANNELS)
    positions = values.whole("num_patches", 256)
    if math.isqrt(positions) ** 2 != positions:
        message = f"num_patches must be a square number, found {positions}"
        values.refuse(message, "positions are a grid of equal height and width")
    return Siglip2VisionConfig(
        **block_values(values, **BLOCKS),
        patch_size=values.side("patch_size", 16),
        num_channels=CHANNELS,
        num_patches=positions,
        max_num_patches=MAX_PATCHES,
    )
