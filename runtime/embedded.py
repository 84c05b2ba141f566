"""What an encoder gives for texts and images: one vector each, and where the model has them one for every token."""

from __future__ import annotations

from typing import NamedTuple

import jax


class Tokens(NamedTuple):
    """The vectors of texts' tokens and of images' patches, not normalised; ``mask`` is 0 where one is padding."""

    vectors: jax.Array  # f32 [..., T, D]
    mask: jax.Array  # f32 [..., T]


class Embedded(NamedTuple):
    """Vectors of texts, not normalised. ``dense`` has the width 0 where a model does not pool."""

    dense: jax.Array  # f32 [..., D]
    tokens: Tokens | None = None


def embedded(found: jax.Array | Embedded) -> Embedded:
    """What an encoder gave, as one type: an encoder of one vector a text gives an array."""
    return found if isinstance(found, Embedded) else Embedded(found)
