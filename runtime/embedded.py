"""What an encoder gives for texts: one vector each, and where the model has them one for every token."""

from __future__ import annotations

from typing import NamedTuple

import jax


class Tokens(NamedTuple):
    """The vectors of texts' tokens, not normalised; ``mask`` is 0 where a token is padding.

    Whoever makes vectors of other parts, such as patches of an image, says by the mask which of
    them count.
    """

    vectors: jax.Array  # f32 [..., T, D]
    mask: jax.Array  # f32 [..., T]


class Embedded(NamedTuple):
    """Vectors of texts, not normalised. ``dense`` has the width 0 where a model does not pool."""

    dense: jax.Array  # f32 [..., D]
    tokens: Tokens | None = None


def embedded(found: jax.Array | Embedded) -> Embedded:
    """What an encoder gave, as one type: an encoder of one vector a text gives an array."""
    return found if isinstance(found, Embedded) else Embedded(found)
