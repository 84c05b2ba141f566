"""Images as tokens: a convolution without overlap is a matrix product of patches."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from specrun.runtime.embedded import Tokens
from specrun.runtime.models.head import unit
from specrun.runtime.models.modules import Dense, Embedding
from specrun.spec.plan.towers import ImageShape


def cut(pixels: jax.Array, size: int) -> jax.Array:
    """pixels [B, H, W, C] → patches [B, (H // size) · (W // size), size · size · C], row by row.

    What is left at the right and at the lower edge is dropped, as a convolution without padding drops it.
    """
    batch, height, width, channels = pixels.shape
    down, across = height // size, width // size
    whole = pixels[:, : down * size, : across * size]
    grid = whole.reshape(batch, down, size, across, size, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(batch, down * across, size * size * channels)


def patch_matrix(config: ImageShape, *, bias: bool) -> Dense:
    """Patch → token."""
    rows = config.patch_size * config.patch_size * config.num_channels
    return Dense(rows, config.hidden_size, bias=bias)


def check_pixels(pixels: jax.Array, config: ImageShape) -> None:
    """ValueError (an internal error: whoever decodes images makes them so) unless the shape is the configuration's."""
    expected = (config.image_size, config.image_size, config.num_channels)
    if pixels.shape[1:] != expected:
        raise ValueError(
            f"internal error: images of shape {pixels.shape[1:]}, but the model takes {expected}"
        )


def with_class_token(token: Embedding, patches: jax.Array) -> jax.Array:
    """tokens [B, P, D] → [B, 1 + P, D]: the class token before them."""
    first = jnp.broadcast_to(token.embedding[...][None], (patches.shape[0], 1, patches.shape[2]))
    return jnp.concatenate([first, patches], axis=1)


def image_tokens(vectors: jax.Array, top_k: int | None) -> Tokens:
    """The vectors of images that count: all [B, S, D], or the class token, which is the first, and ``top_k`` patches.

    These are the ones of the highest cosine to the class token, of equal ones the first; they stand in that order.
    Which they are has no gradient, and the vectors chosen have theirs.
    """
    if top_k is not None:
        fixed = unit(jax.lax.stop_gradient(vectors))
        cosines = jnp.einsum("BPD,BD->BP", fixed[:, 1:], fixed[:, 0])
        _, places = jax.lax.top_k(cosines, top_k)  # of equal ones the first
        chosen = jnp.take_along_axis(vectors[:, 1:], places[:, :, None], axis=1)
        vectors = jnp.concatenate([vectors[:, :1], chosen], axis=1)
    return Tokens(vectors, jnp.ones(vectors.shape[:2], jnp.float32))
