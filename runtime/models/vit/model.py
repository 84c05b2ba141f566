"""The vision transformer in NNX (Dosovitskiy et al. 2021): class token and patches, pre-LN blocks, norm, pooled vector, head.

    x = dropout([class, patches] + position);  blocks;  projection(pool(norm(x)))

The modules carry the names of Hugging Face's files.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from specrun.runtime.models.attention import attention, join_heads, split_heads
from specrun.runtime.models.clip.model import ACTIVATIONS
from specrun.runtime.models.modules import Adapter, Dense, Embedding, LayerNorm
from specrun.runtime.models.patches import check_pixels, cut, patch_matrix, with_class_token
from specrun.runtime.models.projection import projection
from specrun.runtime.models.randomness import Keys, dropout, fork
from specrun.spec.plan.towers import VitConfig

Adapters = dict[str, Adapter]


class PatchEmbeddings(nnx.Module):
    """pixels [B, H, W, 3] → [B, patches, D]."""

    def __init__(self, config: VitConfig):
        self.projection = patch_matrix(config, bias=True)
        self.size = config.patch_size

    def __call__(self, pixels: jax.Array) -> jax.Array:
        return self.projection(cut(pixels, self.size))


class Embeddings(nnx.Module):
    """pixels [B, H, W, 3] → [B, 1 + patches, D]: class token and patches, + position, dropout."""

    def __init__(self, config: VitConfig):
        self.cls_token = Embedding(1, config.hidden_size)
        self.patch_embeddings = PatchEmbeddings(config)
        self.position_embeddings = Embedding(config.tokens, config.hidden_size)
        self.rate = config.hidden_dropout_prob

    def __call__(self, pixels: jax.Array, key: Keys) -> jax.Array:
        x = with_class_token(self.cls_token, self.patch_embeddings(pixels))
        return dropout(x + self.position_embeddings.embedding[...], self.rate, key)


class SelfAttention(nnx.Module):
    """x [B, S, D] → [B, S, D], before the output matrix. An image has all its tokens."""

    def __init__(self, config: VitConfig, adapters: Adapters):
        width = config.hidden_size
        self.query = Dense(width, width, adapter=adapters.get("attention.attention.query"))
        self.key = Dense(width, width, adapter=adapters.get("attention.attention.key"))
        self.value = Dense(width, width, adapter=adapters.get("attention.attention.value"))
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 4)
        q = split_heads(self.query(x, keys[0]), self.heads)
        k = split_heads(self.key(x, keys[1]), self.heads)
        v = split_heads(self.value(x, keys[2]), self.heads)
        return join_heads(attention(q, k, v, None, rate=self.rate, dropout_key=keys[3]))


class Output(nnx.Module):
    """dropout(dense(x)): the end of both halves of a block."""

    def __init__(self, n_in: int, config: VitConfig, adapter: Adapter | None):
        self.dense = Dense(n_in, config.hidden_size, adapter=adapter)
        self.rate = config.hidden_dropout_prob

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 2)
        return dropout(self.dense(x, keys[0]), self.rate, keys[1])


class Attention(nnx.Module):
    """x [B, S, D] → [B, S, D], the output matrix included."""

    def __init__(self, config: VitConfig, adapters: Adapters):
        self.attention = SelfAttention(config, adapters)
        self.output = Output(config.hidden_size, config, adapters.get("attention.output.dense"))

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 2)
        return self.output(self.attention(x, keys[0]), keys[1])


class Intermediate(nnx.Module):
    """x [B, S, D] → [B, S, inner]."""

    def __init__(self, config: VitConfig, adapters: Adapters):
        adapter = adapters.get("intermediate.dense")
        self.dense = Dense(config.hidden_size, config.intermediate_size, adapter=adapter)
        self.activation = config.hidden_act

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        return ACTIVATIONS[self.activation](self.dense(x, key))


class VisionLayer(nnx.Module):
    """One pre-LN block: x [B, S, D] → [B, S, D]."""

    def __init__(self, config: VitConfig, adapters: Adapters):
        self.layernorm_before = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attention = Attention(config, adapters)
        self.layernorm_after = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.intermediate = Intermediate(config, adapters)
        self.output = Output(config.intermediate_size, config, adapters.get("output.dense"))

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 3)
        x = x + self.attention(self.layernorm_before(x), keys[0])
        return x + self.output(self.intermediate(self.layernorm_after(x), keys[1]), keys[2])


class VisionEnds(nnx.Module):
    """What lies outside the layers."""

    def __init__(self, config: VitConfig):
        width = config.hidden_size
        self.embeddings = Embeddings(config)
        self.layernorm = (
            LayerNorm(width, config.layer_norm_eps) if config.final_layer_norm else None
        )
        self.projection = projection(width, config.projection_dim)
        self.config = config

    def embed(self, pixels: jax.Array, key: Keys) -> jax.Array:
        """pixels f32 [B, H, W, 3], normalised as the model's processor does → [B, 1 + patches, D]."""
        check_pixels(pixels, self.config)
        return self.embeddings(pixels, key)

    def tokens(self, x: jax.Array) -> jax.Array:
        """x [B, S, D] → [B, S, D], f32: every token behind the last norm."""
        return x.astype(jnp.float32) if self.layernorm is None else self.layernorm(x)

    def pool(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The class token, or the mean of the patches, of what the last norm gives: x [B, S, D] → [B, D], f32."""
        del mask  # an image has all its tokens
        x = x[:, :1] if self.config.pooling == "cls" else x[:, 1:]
        return jnp.mean(self.tokens(x), axis=1)

    def finish(self, pooled: jax.Array) -> jax.Array:
        """[B, D] → [B, E], by the head where there is one."""
        return pooled if self.projection is None else self.projection(pooled)


def context(config: VitConfig, mask: jax.Array | None) -> tuple[()]:
    """What every layer is given besides x and its key: nothing, since an image has all its tokens."""
    del config, mask
    return ()
