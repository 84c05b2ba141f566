"""SigLIP 2's network of images in NNX (Tschannen et al. 2025, NaFlex): images keep their shape.

    x = patches + position resized to the image;    blocks and pooling as SigLIP's, over the patches there are

An image is a list of patches, padded, with its height and width in patches. The learned positions are a square grid G × G,
resized to height × width as torch's ``interpolate(mode="bilinear", antialias=True, align_corners=False)`` does: along
an axis of n patches the weight of grid line j for patch i is a triangle about the patch's middle, as wide as one grid
line, or as one patch where the grid is finer. Both axes are resized on their own, so a patch needs 2 G weights, and its
position is one product with the grid. The modules carry Hugging Face's names.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from specrun.runtime.models.clip.model import Layer
from specrun.runtime.models.modules import Dense, Embedding, LayerNorm
from specrun.runtime.models.randomness import Keys, dropout
from specrun.runtime.models.siglip.model import PoolingHead
from specrun.spec.plan.towers import Siglip2VisionConfig

VisionLayer = Layer


class Patches(NamedTuple):
    """Images as the network reads them; of image b the first ``shape[b, 0] * shape[b, 1]`` patches count."""

    pixels: jax.Array  # f32 [B, P, patch_size · patch_size · 3], normalised
    shape: jax.Array  # int32 [B, 2], height and width in patches, at least 1


def shapes(content: jax.Array) -> jax.Array:
    """Height and width in patches, int32 [B, 2], from the last row of images as ``images.naflex`` makes them.

    content uint8 [B, P + 1, N, 3]. A row that fills a batch says 0, and counts as one patch.
    """
    said = content[:, -1].reshape(content.shape[0], -1)[:, :4].astype(jnp.int32)
    return jnp.maximum(said[:, 0::2] * 256 + said[:, 1::2], 1)


def valid(shape: jax.Array, length: int) -> jax.Array:
    """Which of ``length`` patches there are: int [B, 2] → bool [B, length]."""
    return jnp.arange(length) < shape[:, :1] * shape[:, 1:]


def weights(index: jax.Array, count: jax.Array, grid: int) -> jax.Array:
    """How much of each of ``grid`` lines is in line ``index`` of ``count``: int [...] each → f32 [..., grid]."""
    scale = grid / count.astype(jnp.float32)
    middle = (index.astype(jnp.float32) + 0.5) * scale
    distance = jnp.abs(jnp.arange(grid, dtype=jnp.float32) + 0.5 - middle[..., None])
    triangle = jnp.maximum(1.0 - distance / jnp.maximum(scale, 1.0)[..., None], 0.0)
    return triangle / jnp.sum(triangle, axis=-1, keepdims=True)


class VisionEmbeddings(nnx.Module):
    """Patches → [B, P, D]: patches + position, dropout."""

    def __init__(self, config: Siglip2VisionConfig):
        rows = config.patch_size**2 * config.num_channels
        self.patch_embedding = Dense(rows, config.hidden_size)
        self.position_embedding = Embedding(config.num_patches, config.hidden_size)
        self.grid = config.grid
        self.rate = config.hidden_dropout_prob

    def __call__(self, images: Patches, key: Keys) -> jax.Array:
        places = self.positions(images.shape, images.pixels.shape[1])
        return dropout(self.patch_embedding(images.pixels) + places, self.rate, key)

    def positions(self, shape: jax.Array, length: int) -> jax.Array:
        """int [B, 2] → [B, length, D], row by row of each image. What padding gets is finite, and nothing looks at it."""
        height, width = shape[:, :1], shape[:, 1:]
        place = jnp.minimum(jnp.arange(length), height * width - 1)  # [B, P]
        down = weights(place // width, jnp.broadcast_to(height, place.shape), self.grid)
        across = weights(place % width, jnp.broadcast_to(width, place.shape), self.grid)
        both = down[..., :, None] * across[..., None, :]  # [B, P, G, G]
        return both.reshape(*place.shape, -1) @ self.position_embedding.embedding[...]


class VisionEnds(nnx.Module):
    """What lies outside the layers of the network of images."""

    def __init__(self, config: Siglip2VisionConfig):
        self.embeddings = VisionEmbeddings(config)
        self.post_layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.head = PoolingHead(config)
        self.config = config

    def embed(self, images: Patches, key: Keys) -> jax.Array:
        """Images of P patches → [B, P, D]. ValueError (an internal error) unless their size is the configuration's."""
        config = self.config
        numbers = config.patch_size**2 * config.num_channels
        if images.pixels.shape[1:] != (config.max_num_patches, numbers):
            raise ValueError(
                f"internal error: patches of shape {images.pixels.shape[1:]}, but the model takes "
                f"{(config.max_num_patches, numbers)}"
            )
        return self.embeddings(images, key)

    def tokens(self, x: jax.Array) -> jax.Array:
        """x [B, P, D] → [B, P, D], f32: every patch behind the last norm, and padding as it comes."""
        return self.post_layernorm(x)

    def pool(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """x [B, P, D], mask bool [B, P] → [B, D], f32."""
        return self.head(self.post_layernorm(x), mask)

    def finish(self, pooled: jax.Array) -> jax.Array:
        """The pooled vector is the embedding."""
        return pooled


def context(config: Siglip2VisionConfig, mask: jax.Array) -> tuple[jax.Array]:
    """What every layer is given besides x and its key: the patches that there are, bool [B, P]."""
    del config
    return (mask,)
