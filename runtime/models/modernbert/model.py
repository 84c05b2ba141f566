"""ModernBERT in NNX (Warner et al. 2024): pre-norm blocks, rotary positions, attention to all tokens or to a window.

    x = dropout(norm(token[ids]))
    x = x + attention(norm(x));  x = x + mlp(norm(x))      for each block; the first has no norm before its attention
    embedding = projection(pool(norm(x)))

Global and local layers are equal but for what a token sees and the base of its rotation, so they are one stack: each
layer is given its kind, 0 or 1.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from specrun.runtime.models.attention import (
    attention,
    join_heads,
    rotary_table,
    rotate,
    split_heads,
)
from specrun.runtime.models.bert.model import ACTIVATIONS
from specrun.runtime.models.modules import Adapter, Dense, Embedding, LayerNorm
from specrun.runtime.models.projection import projection
from specrun.runtime.models.randomness import Keys, dropout, fork
from specrun.spec.plan.networks import ModernbertConfig

Adapters = dict[str, Adapter]
Rotary = Any

GLOBAL, LOCAL = 0, 1
"""Kinds of layers."""


def _norm(config: ModernbertConfig) -> LayerNorm:
    return LayerNorm(config.hidden_size, config.norm_eps, bias=config.norm_bias)


class Embeddings(nnx.Module):
    """ids [B, S] → [B, S, D]: the token's row, norm, dropout."""

    def __init__(self, config: ModernbertConfig):
        self.tok_embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.norm = _norm(config)
        self.rate = config.embedding_dropout

    def __call__(self, ids: jax.Array, key: Keys) -> jax.Array:
        return dropout(self.norm(self.tok_embeddings(ids)), self.rate, key)


class Attention(nnx.Module):
    """x [B, S, D], mask bool [B, S], seen bool [S, S] → [B, S, D], the output matrix and dropout included."""

    def __init__(self, config: ModernbertConfig, adapters: Adapters):
        width, bias = config.hidden_size, config.attention_bias
        self.Wqkv = Dense(width, 3 * width, bias=bias, adapter=adapters.get("attn.Wqkv"))
        self.Wo = Dense(width, width, bias=bias, adapter=adapters.get("attn.Wo"))
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob

    def __call__(
        self, x: jax.Array, mask: jax.Array, seen: jax.Array, rotary: Rotary, key: Keys
    ) -> jax.Array:
        keys = fork(key, 4)
        parts = jnp.split(self.Wqkv(x, keys[0]), 3, axis=-1)
        q, k, v = (split_heads(part, self.heads) for part in parts)
        q, k = rotate(q, rotary), rotate(k, rotary)
        mixed = attention(q, k, v, mask, seen=seen, rate=self.rate, dropout_key=keys[1])
        return dropout(self.Wo(join_heads(mixed), keys[2]), self.rate, keys[3])


class MLP(nnx.Module):
    """x [B, S, D] → [B, S, D]: Wo(dropout(act(a) · b)), where Wi gives a and b (GeGLU: Shazeer 2020)."""

    def __init__(self, config: ModernbertConfig, adapters: Adapters):
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.Wi = Dense(width, 2 * inner, bias=bias, adapter=adapters.get("mlp.Wi"))
        self.Wo = Dense(inner, width, bias=bias, adapter=adapters.get("mlp.Wo"))
        self.activation = config.hidden_act
        self.rate = config.mlp_dropout

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 3)
        a, b = jnp.split(self.Wi(x, keys[0]), 2, axis=-1)
        return self.Wo(dropout(ACTIVATIONS[self.activation](a) * b, self.rate, keys[1]), keys[2])


class Layer(nnx.Module):
    """One block: x [B, S, D] → [B, S, D]; ``normed`` is whether a norm stands before the attention."""

    def __init__(self, config: ModernbertConfig, adapters: Adapters, *, normed: bool):
        self.attn_norm = _norm(config) if normed else None
        self.attn = Attention(config, adapters)
        self.mlp_norm = _norm(config)
        self.mlp = MLP(config, adapters)
        self.beside = config.local_attention // 2

    def __call__(
        self, x: jax.Array, mask: jax.Array, tables: Rotary, kind: jax.Array, key: Keys
    ) -> jax.Array:
        keys = fork(key, 2)
        cos, sin = tables
        seen = self._seen(mask.shape[1], kind)
        y = x if self.attn_norm is None else self.attn_norm(x)
        x = x + self.attn(y, mask, seen, (cos[kind], sin[kind]), keys[0])
        return x + self.mlp(self.mlp_norm(x), keys[1])

    def _seen(self, length: int, kind: jax.Array) -> jax.Array:
        """bool [S, S]: all tokens, or those as near as half of the window, itself included."""
        place = jnp.arange(length)
        reach = jnp.where(kind == LOCAL, self.beside, length)
        return jnp.abs(place[:, None] - place) <= reach


class Ends(nnx.Module):
    """What lies outside the layers: ``embed`` before them, ``tokens`` behind them, ``finish`` on the pooled vector."""

    def __init__(self, config: ModernbertConfig):
        self.embeddings = Embeddings(config)
        self.final_norm = _norm(config)
        self.projection = projection(config.hidden_size, config.projection_dim)

    def embed(self, ids: jax.Array, key: Keys) -> jax.Array:
        return self.embeddings(ids, key)

    def tokens(self, x: jax.Array) -> jax.Array:
        """The last block's output as it is pooled: every token normed."""
        return self.final_norm(x)

    def finish(self, pooled: jax.Array) -> jax.Array:
        return pooled if self.projection is None else self.projection(pooled)


def context(config: ModernbertConfig, mask: jax.Array) -> tuple[Any, ...]:
    """What every layer is given besides x and its key: the mask, and the rotary tables [2, S, 1, H/2] by kind."""
    head = config.hidden_size // config.num_attention_heads
    bases = (config.global_rope_theta, config.local_rope_theta)
    made = [rotary_table(mask.shape[1], head, base) for base in bases]
    cos, sin = (jnp.asarray(np.stack(tables)) for tables in zip(*made, strict=True))
    return mask, (cos, sin)


def kinds(config: ModernbertConfig) -> jax.Array:
    """The kind of every layer, int32 [layers]."""
    found = [
        GLOBAL if i in config.global_layers else LOCAL for i in range(config.num_hidden_layers)
    ]
    return jnp.asarray(np.array(found, np.int32))
