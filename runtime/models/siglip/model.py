"""SigLIP's two networks in NNX (Zhai et al. 2023) on CLIP's blocks: texts see all of themselves, images are pooled by attention.

    text:   x = token[ids] + position;    blocks;  head(norm(x)[last place])
    image:  x = patches + position;       blocks;  y = attention(probe, norm(x));  y + mlp(norm(y))

A text is always as long as the position table: SigLIP was trained on padded texts without a mask, and the last place,
which is pooled, is padding as a rule. The modules carry Hugging Face's names.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from specrun.runtime.models.attention import attention, join_heads, split_heads
from specrun.runtime.models.clip.model import FeedForward, Layer, TextEmbeddings
from specrun.runtime.models.modules import Dense, Embedding, LayerNorm
from specrun.runtime.models.patches import check_pixels, cut, patch_matrix
from specrun.runtime.models.randomness import Keys, dropout
from specrun.spec.plan.towers import Siglip2VisionConfig, SiglipTextConfig, SiglipVisionConfig

TextLayer = Layer
VisionLayer = Layer


class TextEnds(nnx.Module):
    """What lies outside the layers of the network of texts."""

    def __init__(self, config: SiglipTextConfig):
        self.embeddings = TextEmbeddings(config)
        self.final_layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.head = Dense(config.hidden_size, config.projection_dim)
        self.length = config.max_position_embeddings
        self.pad_id = config.pad_token_id

    def embed(self, ids: jax.Array, key: Keys) -> jax.Array:
        """ids int [B, S], padded on the right with ``pad_token_id`` → [B, L, D], of L = ``max_position_embeddings``.

        The same as of rows padded to L by the processor (``padding="max_length"``), whatever S is.
        """
        short = self.length - ids.shape[1]
        whole = jnp.pad(ids, ((0, 0), (0, short)), constant_values=self.pad_id)
        return self.embeddings(whole, key)

    def tokens(self, x: jax.Array) -> jax.Array:
        """x [B, S, D] → [B, S, D], f32: every token behind the last norm."""
        return self.final_layer_norm(x)

    def pool(self, x: jax.Array, ids: jax.Array, mask: jax.Array) -> jax.Array:
        """The last place: x [B, L, D] → [B, D], f32."""
        del ids, mask
        return self.final_layer_norm(x[:, -1])  # the norm of a token looks at no other

    def finish(self, pooled: jax.Array) -> jax.Array:
        """[B, D] → [B, E]."""
        return self.head(pooled)


class VisionEmbeddings(nnx.Module):
    """pixels [B, H, W, 3] → [B, patches, D]: patches + position, dropout."""

    def __init__(self, config: SiglipVisionConfig):
        self.patch_embedding = patch_matrix(config, bias=True)
        self.position_embedding = Embedding(config.tokens, config.hidden_size)
        self.size = config.patch_size
        self.rate = config.hidden_dropout_prob

    def __call__(self, pixels: jax.Array, key: Keys) -> jax.Array:
        x = self.patch_embedding(cut(pixels, self.size)) + self.position_embedding.embedding[...]
        return dropout(x, self.rate, key)


class PoolingAttention(nnx.Module):
    """query [B, 1, D] and x [B, S, D], of which ``mask`` bool [B, S] counts → [B, 1, D]; one matrix makes queries, keys and values, as torch's module has it."""

    def __init__(self, config: SiglipVisionConfig | Siglip2VisionConfig):
        width = config.hidden_size
        self.in_proj = Dense(width, 3 * width)
        self.out_proj = Dense(width, width)
        self.heads = config.num_attention_heads

    def __call__(self, query: jax.Array, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        kernels = jnp.split(self.in_proj.kernel[...], 3, axis=1)
        biases = jnp.split(self.in_proj.bias[...], 3)
        q, k, v = (
            split_heads(y @ kernel + bias, self.heads)
            for y, kernel, bias in zip((query, x, x), kernels, biases, strict=True)
        )
        return self.out_proj(join_heads(attention(q, k, v, mask)))


class PoolingHead(nnx.Module):
    """Tokens [B, S, D] → one vector [B, D]: attention of a learned probe, then a feed-forward beside it."""

    def __init__(self, config: SiglipVisionConfig | Siglip2VisionConfig):
        self.probe = Embedding(1, config.hidden_size)
        self.attention = PoolingAttention(config)
        self.layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = FeedForward(config, {})

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        probe = jnp.broadcast_to(self.probe.embedding[...], (x.shape[0], 1, x.shape[2]))
        y = self.attention(probe, x, mask)
        return (y + self.mlp(self.layernorm(y), None))[:, 0]


class VisionEnds(nnx.Module):
    """What lies outside the layers of the network of images."""

    def __init__(self, config: SiglipVisionConfig):
        self.embeddings = VisionEmbeddings(config)
        self.post_layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.head = PoolingHead(config)
        self.config = config

    def embed(self, pixels: jax.Array, key: Keys) -> jax.Array:
        """pixels f32 [B, H, W, 3], normalised as the model's processor does → [B, patches, D]."""
        check_pixels(pixels, self.config)
        return self.embeddings(pixels, key)

    def tokens(self, x: jax.Array) -> jax.Array:
        """x [B, S, D] → [B, S, D], f32: every token behind the last norm."""
        return self.post_layernorm(x)

    def pool(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """x [B, S, D] → [B, D], f32."""
        del mask  # an image has all its tokens
        return self.head(self.post_layernorm(x))

    def finish(self, pooled: jax.Array) -> jax.Array:
        """The pooled vector is the embedding."""
        return pooled


def context(
    config: SiglipTextConfig | SiglipVisionConfig, mask: jax.Array | None
) -> tuple[jax.Array | None]:
    """What every layer is given besides x and its key: no mask. The padding of a text is seen, as in training."""
    del config, mask
    return (None,)
