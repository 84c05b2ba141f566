"""Qwen3's decoder as an encoder in NNX (Yang et al. 2025): pre-norm blocks, causal grouped-query attention.

    x = x + attention(norm(x));  x = x + mlp(norm(x))      for each block
    embedding = projection(pool(norm(x)))

Every head's query and key are normed (RMS) before they are rotated. A token sees itself and what is before it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from specrun.runtime.models.activations import silu
from specrun.runtime.models.attention import attention, join_heads, rotary_table, rotate
from specrun.runtime.models.modules import Adapter, Dense, Embedding, RMSNorm
from specrun.runtime.models.projection import projection
from specrun.runtime.models.randomness import Keys, fork
from specrun.spec.plan.networks import Qwen3Config

Adapters = dict[str, Adapter]
Rotary = Any


class Attention(nnx.Module):
    """x [B, S, D], mask bool [B, S], seen bool [S, S] → [B, S, D]; N heads of queries, K of keys and values."""

    def __init__(self, config: Qwen3Config, adapters: Adapters):
        width, head = config.hidden_size, config.head_dim
        queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
        shapes = {
            "q_proj": (width, queries),
            "k_proj": (width, keys),
            "v_proj": (width, keys),
            "o_proj": (queries, width),
        }
        for name, shape in shapes.items():
            adapter = adapters.get(f"self_attn.{name}")
            setattr(self, name, Dense(*shape, bias=False, adapter=adapter))
        self.q_norm = RMSNorm(head, config.rms_norm_eps)
        self.k_norm = RMSNorm(head, config.rms_norm_eps)
        self.head = head
        self.rate = config.attention_probs_dropout_prob

    def __call__(
        self, x: jax.Array, mask: jax.Array, seen: jax.Array, rotary: Rotary, key: Keys
    ) -> jax.Array:
        keys = fork(key, 5)
        q, k, v = (
            y.reshape(*y.shape[:-1], -1, self.head)  # [B, S, N or K, H]
            for y in (self.q_proj(x, keys[0]), self.k_proj(x, keys[1]), self.v_proj(x, keys[2]))
        )
        q = rotate(self.q_norm(q), rotary).astype(v.dtype)
        k = rotate(self.k_norm(k), rotary).astype(v.dtype)
        mixed = attention(q, k, v, mask, seen=seen, rate=self.rate, dropout_key=keys[3])
        return self.o_proj(join_heads(mixed), keys[4])


class MLP(nnx.Module):
    """x [B, S, D] → [B, S, D]: down(silu(gate(x)) · up(x)) (Shazeer 2020)."""

    def __init__(self, config: Qwen3Config, adapters: Adapters):
        width, inner = config.hidden_size, config.intermediate_size
        shapes = {
            "gate_proj": (width, inner),
            "up_proj": (width, inner),
            "down_proj": (inner, width),
        }
        for name, shape in shapes.items():
            setattr(self, name, Dense(*shape, bias=False, adapter=adapters.get(f"mlp.{name}")))

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 3)
        return self.down_proj(silu(self.gate_proj(x, keys[0])) * self.up_proj(x, keys[1]), keys[2])


class Layer(nnx.Module):
    """One block: x [B, S, D] → [B, S, D]."""

    def __init__(self, config: Qwen3Config, adapters: Adapters):
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, adapters)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config, adapters)

    def __call__(
        self, x: jax.Array, mask: jax.Array, seen: jax.Array, rotary: Rotary, key: Keys
    ) -> jax.Array:
        keys = fork(key, 2)
        x = x + self.self_attn(self.input_layernorm(x), mask, seen, rotary, keys[0])
        return x + self.mlp(self.post_attention_layernorm(x), keys[1])


class Ends(nnx.Module):
    """What lies outside the layers: ``embed`` before them, ``tokens`` behind them, ``finish`` on the pooled vector."""

    def __init__(self, config: Qwen3Config):
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.projection = projection(config.hidden_size, config.projection_dim)

    def embed(self, ids: jax.Array, key: Keys) -> jax.Array:
        del key  # there is no dropout here
        return self.embed_tokens(ids)

    def tokens(self, x: jax.Array) -> jax.Array:
        """The last block's output as it is pooled: every token normed."""
        return self.norm(x)

    def finish(self, pooled: jax.Array) -> jax.Array:
        return pooled if self.projection is None else self.projection(pooled)


def context(config: Qwen3Config, mask: jax.Array) -> tuple[Any, ...]:
    """What every layer is given besides x and its key: the mask, what a token sees, and the rotary table."""
    place = jnp.arange(mask.shape[1])
    cos, sin = rotary_table(mask.shape[1], config.head_dim, config.rope_theta)
    return mask, place[:, None] >= place, (jnp.asarray(cos), jnp.asarray(sin))
