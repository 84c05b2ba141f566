"""CLIP's two networks in NNX (Radford et al. 2021): pre-LN blocks, texts causal and pooled at their end, images by a class token.

    text:   x = token[ids] + position;            blocks;  projection(norm(x)[end of text])
    image:  x = norm([class, patches] + position);  blocks;  projection(norm(x[class]))

The modules carry Hugging Face's names, with ``pre_layernorm`` spelt out.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from specrun.runtime.models.activations import quick_gelu
from specrun.runtime.models.attention import attention, join_heads, split_heads
from specrun.runtime.models.bert import model as bert
from specrun.runtime.models.modules import Adapter, Dense, Embedding, LayerNorm
from specrun.runtime.models.patches import check_pixels, cut, patch_matrix, with_class_token
from specrun.runtime.models.projection import projection
from specrun.runtime.models.randomness import Keys, dropout, fork
from specrun.spec.plan.towers import BlockShape, ClipTextConfig, ClipVisionConfig, TextShape

Adapters = dict[str, Adapter]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    **{name: bert.ACTIVATIONS[name] for name in ("gelu", "gelu_new", "gelu_pytorch_tanh")},
    **{name: bert.ACTIVATIONS[name] for name in ("relu", "silu", "swish")},
    "quick_gelu": quick_gelu,
}
"""``hidden_act`` of config.json; the keys equal ``table.ACTIVATIONS``."""

LEGACY_EOS = 2
"""What old configurations give as ``eos_token_id`` whatever the tokenizer has; there the greatest id ends a text."""


class Attention(nnx.Module):
    """x [B, S, D], mask as ``attention`` takes it → [B, S, D], the output matrix included."""

    def __init__(self, config: BlockShape, adapters: Adapters):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            adapter = adapters.get(f"self_attn.{name}")
            setattr(self, name, Dense(config.hidden_size, config.hidden_size, adapter=adapter))
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob

    def __call__(self, x: jax.Array, mask: jax.Array | None, key: Keys) -> jax.Array:
        keys = fork(key, 5)
        q = split_heads(self.q_proj(x, keys[0]), self.heads)
        k = split_heads(self.k_proj(x, keys[1]), self.heads)
        v = split_heads(self.v_proj(x, keys[2]), self.heads)
        mixed = attention(q, k, v, mask, rate=self.rate, dropout_key=keys[3])
        return self.out_proj(join_heads(mixed), keys[4])


class FeedForward(nnx.Module):
    """x [..., D] → [..., D]."""

    def __init__(self, config: BlockShape, adapters: Adapters):
        width, inner = config.hidden_size, config.intermediate_size
        self.fc1 = Dense(width, inner, adapter=adapters.get("mlp.fc1"))
        self.fc2 = Dense(inner, width, adapter=adapters.get("mlp.fc2"))
        self.activation = config.hidden_act

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 2)
        return self.fc2(ACTIVATIONS[self.activation](self.fc1(x, keys[0])), keys[1])


class Layer(nnx.Module):
    """One pre-LN block: x [B, S, D] → [B, S, D]."""

    def __init__(self, config: BlockShape, adapters: Adapters):
        self.layer_norm1 = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.self_attn = Attention(config, adapters)
        self.layer_norm2 = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = FeedForward(config, adapters)
        self.rate = config.hidden_dropout_prob

    def __call__(self, x: jax.Array, mask: jax.Array | None, key: Keys) -> jax.Array:
        keys = fork(key, 4)
        x = x + dropout(self.self_attn(self.layer_norm1(x), mask, keys[0]), self.rate, keys[1])
        return x + dropout(self.mlp(self.layer_norm2(x), keys[2]), self.rate, keys[3])


TextLayer = Layer
VisionLayer = Layer


class TextEmbeddings(nnx.Module):
    """ids [B, S] → [B, S, D]: token + position, dropout."""

    def __init__(self, config: TextShape):
        width = config.hidden_size
        self.token_embedding = Embedding(config.vocab_size, width)
        self.position_embedding = Embedding(config.max_position_embeddings, width)
        self.rate = config.hidden_dropout_prob

    def __call__(self, ids: jax.Array, key: Keys) -> jax.Array:
        position = self.position_embedding.embedding[...][: ids.shape[1]]
        return dropout(self.token_embedding(ids) + position, self.rate, key)


class VisionEmbeddings(nnx.Module):
    """pixels [B, H, W, 3] → [B, 1 + patches, D]: class token and patches, + position, dropout."""

    def __init__(self, config: ClipVisionConfig):
        width = config.hidden_size
        self.class_embedding = Embedding(1, width)
        self.patch_embedding = patch_matrix(config, bias=False)
        self.position_embedding = Embedding(config.tokens, width)
        self.size = config.patch_size
        self.rate = config.hidden_dropout_prob

    def __call__(self, pixels: jax.Array, key: Keys) -> jax.Array:
        patches = self.patch_embedding(cut(pixels, self.size))
        x = with_class_token(self.class_embedding, patches)
        return dropout(x + self.position_embedding.embedding[...], self.rate, key)


class TextEnds(nnx.Module):
    """What lies outside the layers of the network of texts."""

    def __init__(self, config: ClipTextConfig):
        self.embeddings = TextEmbeddings(config)
        self.final_layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.projection = projection(config.hidden_size, config.projection_dim)
        self.eos = config.eos_token_id

    def embed(self, ids: jax.Array, key: Keys) -> jax.Array:
        """ids int [B, S], padded on the right → [B, S, D]."""
        return self.embeddings(ids, key)

    def tokens(self, x: jax.Array) -> jax.Array:
        """x [B, S, D] → [B, S, D], f32: every token behind the last norm."""
        return self.final_layer_norm(x)

    def pool(self, x: jax.Array, ids: jax.Array, mask: jax.Array) -> jax.Array:
        """The token that ends each text: x [B, S, D], ids [B, S], mask bool [B, S] → [B, D], f32.

        The first place of ``eos_token_id`` among the valid tokens, and the first token of a text without it. Where
        it is 2, the place of the greatest id. Padding is not looked at: transformers does, which differs only for a
        text that lacks its end and is padded with it, or is padded with an id greater than its own.
        """
        found = ids if self.eos == LEGACY_EOS else (ids == self.eos).astype(jnp.int32)
        place = jnp.argmax(jnp.where(mask, found, -1), axis=1)
        picked = jnp.take_along_axis(x, place[:, None, None], axis=1)[:, 0]
        return self.final_layer_norm(picked)  # the norm of a token looks at no other

    def finish(self, pooled: jax.Array) -> jax.Array:
        """[B, D] → [B, E], by the head where there is one."""
        return pooled if self.projection is None else self.projection(pooled)


class VisionEnds(nnx.Module):
    """What lies outside the layers of the network of images."""

    def __init__(self, config: ClipVisionConfig):
        self.embeddings = VisionEmbeddings(config)
        self.pre_layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.projection = projection(config.hidden_size, config.projection_dim)
        self.config = config

    def embed(self, pixels: jax.Array, key: Keys) -> jax.Array:
        """pixels f32 [B, H, W, 3], normalised as the model's processor does → [B, 1 + patches, D]."""
        check_pixels(pixels, self.config)
        return self.pre_layernorm(self.embeddings(pixels, key))

    def tokens(self, x: jax.Array) -> jax.Array:
        """x [B, S, D] → [B, S, D], f32: every token behind the last norm."""
        return self.post_layernorm(x)

    def pool(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The class token: x [B, S, D] → [B, D], f32."""
        del mask  # an image has all its tokens
        return self.post_layernorm(x[:, 0])

    def finish(self, pooled: jax.Array) -> jax.Array:
        """[B, D] → [B, E], by the head where there is one."""
        return pooled if self.projection is None else self.projection(pooled)


def _head(config: ClipTextConfig | ClipVisionConfig) -> Dense | None:
    width = config.projection_dim
    return None if width is None else Dense(config.hidden_size, width, bias=False)


def context(config: ClipTextConfig | ClipVisionConfig, mask: jax.Array) -> tuple[jax.Array | None]:
    """What every layer is given besides x and its key: what each token of a text sees, bool [B, S, S]; None for images.

    A token of a text sees the valid ones up to itself. An image has all its tokens.
    """
    if isinstance(config, ClipVisionConfig):
        return (None,)
    before = jnp.tril(jnp.ones((mask.shape[1], mask.shape[1]), bool))
    return (before[None] & mask[:, None, :],)
