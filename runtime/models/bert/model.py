"""BERT in NNX (Devlin et al. 2018): summed embeddings, post-LN blocks, pooled vector, optional new head.

Every token is of type 0, as sentence-transformers feeds single texts. The modules carry Hugging Face's names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from specrun.runtime.models.activations import gelu, silu, tanh_gelu
from specrun.runtime.models.attention import attention, join_heads, split_heads
from specrun.runtime.models.modules import Adapter, Dense, Embedding, LayerNorm
from specrun.runtime.models.products import matmul
from specrun.runtime.models.projection import projection
from specrun.runtime.models.randomness import Keys, dropout, fork
from specrun.spec.plan.networks import BertShape, PretrainedShape

Adapters = dict[str, Adapter]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_python": gelu,
    "gelu_new": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "relu": jax.nn.relu,
    "silu": silu,
    "swish": silu,
}
"""``hidden_act`` of config.json; the keys equal ``table.ACTIVATIONS``."""


class Embeddings(nnx.Module):
    """ids [B, S] → [B, S, D]: word + position + type 0, norm, dropout."""

    def __init__(self, config: BertShape):
        width = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, width)
        self.position_embeddings = Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = Embedding(config.type_vocab_size, width)
        self.LayerNorm = LayerNorm(width, config.layer_norm_eps)
        self.rate = config.hidden_dropout_prob

    def __call__(self, ids: jax.Array, key: Keys) -> jax.Array:
        position = self.positions(ids)  # [S, D] or [B, S, D]
        x = self.word_embeddings(ids) + (position + self.token_type_embeddings.embedding[0])
        return dropout(self.LayerNorm(x), self.rate, key)

    def positions(self, ids: jax.Array) -> jax.Array:
        """Embeddings of the places 0, 1, …"""
        return self.position_embeddings.embedding[...][: ids.shape[1]]


class SelfAttention(nnx.Module):
    """x [B, S, D], mask bool [B, S] → [B, S, D], before the output matrix."""

    def __init__(self, config: BertShape, adapters: Adapters):
        for name in ("query", "key", "value"):
            adapter = adapters.get(f"attention.self.{name}")
            setattr(self, name, Dense(config.hidden_size, config.hidden_size, adapter=adapter))
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob

    def __call__(self, x: jax.Array, mask: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 4)
        q = split_heads(self.query(x, keys[0]), self.heads)
        k = split_heads(self.key(x, keys[1]), self.heads)
        v = split_heads(self.value(x, keys[2]), self.heads)
        return join_heads(attention(q, k, v, mask, rate=self.rate, dropout_key=keys[3]))


class Output(nnx.Module):
    """norm(residual + dropout(dense(x))): the end of both halves of a block."""

    def __init__(self, n_in: int, config: PretrainedShape, adapter: Adapter | None):
        self.dense = Dense(n_in, config.hidden_size, adapter=adapter)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.rate = config.hidden_dropout_prob

    def __call__(self, x: jax.Array, residual: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 2)
        return self.LayerNorm(residual + dropout(self.dense(x, keys[0]), self.rate, keys[1]))


class Attention(nnx.Module):
    """The first half of a block: x [B, S, D] → [B, S, D]."""

    def __init__(self, config: BertShape, adapters: Adapters):
        self.self = SelfAttention(config, adapters)
        self.output = Output(config.hidden_size, config, adapters.get("attention.output.dense"))

    def __call__(self, x: jax.Array, mask: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 2)
        return self.output(self.self(x, mask, keys[0]), x, keys[1])


class Intermediate(nnx.Module):
    """x [B, S, D] → [B, S, inner]."""

    def __init__(self, config: PretrainedShape, adapters: Adapters):
        adapter = adapters.get("intermediate.dense")
        self.dense = Dense(config.hidden_size, config.intermediate_size, adapter=adapter)
        self.activation = config.hidden_act

    def __call__(self, x: jax.Array, key: Keys) -> jax.Array:
        return ACTIVATIONS[self.activation](self.dense(x, key))


class Layer(nnx.Module):
    """One post-LN block: x [B, S, D] → [B, S, D]."""

    def __init__(self, config: BertShape, adapters: Adapters):
        self.attention = Attention(config, adapters)
        self.intermediate = Intermediate(config, adapters)
        self.output = Output(config.intermediate_size, config, adapters.get("output.dense"))

    def __call__(self, x: jax.Array, mask: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 3)
        x = self.attention(x, mask, keys[0])
        return self.output(self.intermediate(x, keys[1]), x, keys[2])


class VocabularyHead(nnx.Module):
    """States [..., D] → scores [..., V] of every id: norm(act(dense(x))) times the token table [V, D], and a bias."""

    def __init__(self, config: BertShape, activation: str):
        self.dense = Dense(config.hidden_size, config.hidden_size)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.bias = nnx.Param(jnp.zeros((config.vocab_size,)))
        self.activation = activation

    def __call__(self, x: jax.Array, table: jax.Array) -> jax.Array:
        x = self.LayerNorm(ACTIVATIONS[self.activation](self.dense(x)))
        return matmul(x, table.T) + self.bias[...]


class Ends(nnx.Module):
    """What lies outside the layers: ``embed`` before them, ``finish`` on the pooled vector [B, D]."""

    def __init__(
        self, config: PretrainedShape, embeddings: Callable[[Any], nnx.Module] = Embeddings
    ):
        self.embeddings = embeddings(config)
        self.projection = projection(config.hidden_size, config.projection_dim)

    def embed(self, ids: jax.Array, key: Keys) -> jax.Array:
        return self.embeddings(ids, key)

    def tokens(self, x: jax.Array) -> jax.Array:
        """The last block's output as it is pooled."""
        return x

    def finish(self, pooled: jax.Array) -> jax.Array:
        return pooled if self.projection is None else self.projection(pooled)


def context(config: BertShape, mask: jax.Array) -> tuple[Any, ...]:
    """What every layer is given besides x and its key: the mask."""
    del config
    return (mask,)
