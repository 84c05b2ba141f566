"""The text encoder in NNX: token (and position) embeddings, pre-LN blocks, pooled vector, head.

    x = dropout(token[ids] + position)
    x = x + dropout(attention(norm(x)));  x = x + dropout(mlp(norm(x)))      for each block
    embedding = projection(final_norm(pool(x)))

There is no norm between the last block and the pooling (pre-LN: Xiong et al. 2020; SwiGLU: Shazeer 2020).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from specrun.runtime.models.activations import gelu, relu, silu
from specrun.runtime.models.attention import (
    attention,
    join_heads,
    rotary_table,
    rotate,
    sinusoidal_table,
    split_heads,
)
from specrun.runtime.models.modules import Adapter, Dense, Embedding, LayerNorm, RMSNorm
from specrun.runtime.models.projection import projection
from specrun.runtime.models.randomness import Keys, dropout, fork
from specrun.spec.plan.networks import TextEncoderConfig

Adapters = dict[str, Adapter]
Norm = LayerNorm | RMSNorm
Rotary = Any


class Embeddings(nnx.Module):
    """ids [B, S] → [B, S, D]."""

    def __init__(self, config: TextEncoderConfig):
        self.token = Embedding(config.vocab_size, config.hidden_size)
        if config.position_embedding == "learned":
            self.position = Embedding(config.max_position_embeddings, config.hidden_size)
        self.positions = config.position_embedding
        self.rate = config.hidden_dropout_prob

    def __call__(self, ids: jax.Array, key: Keys) -> jax.Array:
        x = self.token(ids)
        if self.positions == "learned":
            x = x + self.position.embedding[...][: ids.shape[1]]
        if self.positions == "sinusoidal":
            x = x + sinusoidal_table(*x.shape[1:])
        return dropout(x, self.rate, key)


class Attention(nnx.Module):
    """x [B, S, D], mask bool [B, S] → [B, S, D]."""

    def __init__(self, config: TextEncoderConfig, adapters: Adapters):
        for name in ("query", "key", "value", "output"):
            adapter = adapters.get(f"attention.{name}")
            width = config.hidden_size
            setattr(self, name, Dense(width, width, bias=config.bias, adapter=adapter))
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob

    def __call__(self, x: jax.Array, mask: jax.Array, rotary: Rotary, key: Keys) -> jax.Array:
        keys = fork(key, 5)
        q = split_heads(self.query(x, keys[0]), self.heads)
        k = split_heads(self.key(x, keys[1]), self.heads)
        v = split_heads(self.value(x, keys[2]), self.heads)
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        mixed = attention(q, k, v, mask, rate=self.rate, dropout_key=keys[3])
        return self.output(join_heads(mixed), keys[4])


class FeedForward(nnx.Module):
    """x [B, S, D] → [B, S, D]: GELU, ReLU, or SwiGLU with a gate of its own."""

    def __init__(self, config: TextEncoderConfig, adapters: Adapters):
        width, inner, bias = config.hidden_size, config.intermediate_size, config.bias
        self.gated = config.hidden_act == "swiglu"
        if self.gated:
            self.gate = Dense(width, inner, bias=bias, adapter=adapters.get("mlp.gate"))
        self.up = Dense(width, inner, bias=bias, adapter=adapters.get("mlp.up"))
        self.down = Dense(inner, width, bias=bias, adapter=adapters.get("mlp.down"))
        self.activation = relu if config.hidden_act == "relu" else gelu

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 3)
        inner = self.up(x, keys[0])
        inner = silu(self.gate(x, keys[1])) * inner if self.gated else self.activation(inner)
        return self.down(inner, keys[2])


class Layer(nnx.Module):
    """One pre-LN block: x [B, S, D] → [B, S, D]."""

    def __init__(self, config: TextEncoderConfig, adapters: Adapters):
        self.attention_norm = _norm(config)
        self.attention = Attention(config, adapters)
        self.mlp_norm = _norm(config)
        self.mlp = FeedForward(config, adapters)
        self.rate = config.hidden_dropout_prob

    def __call__(self, x: jax.Array, mask: jax.Array, rotary: Rotary, key: Keys) -> jax.Array:
        keys = fork(key, 4)
        mixed = self.attention(self.attention_norm(x), mask, rotary, keys[0])
        x = x + dropout(mixed, self.rate, keys[1])
        return x + dropout(self.mlp(self.mlp_norm(x), keys[2]), self.rate, keys[3])


class Ends(nnx.Module):
    """What lies outside the layers: ``embed`` before them, ``finish`` on the pooled vector [B, D]."""

    def __init__(self, config: TextEncoderConfig):
        self.embeddings = Embeddings(config)
        self.final_norm = _norm(config) if config.final_layer_norm else None
        self.projection = projection(config.hidden_size, config.projection_dim)

    def embed(self, ids: jax.Array, key: Keys) -> jax.Array:
        return self.embeddings(ids, key)

    def tokens(self, x: jax.Array) -> jax.Array:
        """The last block's output as it is pooled."""
        return x

    def finish(self, pooled: jax.Array) -> jax.Array:
        x = pooled if self.final_norm is None else self.final_norm(pooled)
        return x if self.projection is None else self.projection(x)


def _norm(config: TextEncoderConfig) -> Norm:
    if config.norm == "rmsnorm":
        return RMSNorm(config.hidden_size, config.layer_norm_eps)
    return LayerNorm(config.hidden_size, config.layer_norm_eps, bias=config.bias)


def context(config: TextEncoderConfig, mask: jax.Array) -> tuple[Any, ...]:
    """What every layer is given besides x and its key: the mask, and the rotary table or None."""
    if config.position_embedding != "rotary":
        return mask, None
    width = config.hidden_size // config.num_attention_heads
    cos, sin = rotary_table(mask.shape[1], width, config.rope_theta)
    return mask, (jnp.asarray(cos), jnp.asarray(sin))
