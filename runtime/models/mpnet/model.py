"""MPNet in NNX (Song et al. 2020): BERT's post-LN blocks under one relative position bias that all layers share.

Positions are counted behind the padding id, as RoBERTa's, and there are no token types.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from specrun.runtime.models.attention import attention, join_heads, split_heads
from specrun.runtime.models.bert.model import Adapters, Intermediate, Output
from specrun.runtime.models.bert.model import Ends as BertEnds
from specrun.runtime.models.modules import Dense, Embedding, LayerNorm
from specrun.runtime.models.mpnet.table import BUCKETS, MAX_DISTANCE
from specrun.runtime.models.randomness import Keys, dropout, fork
from specrun.runtime.models.roberta.model import places
from specrun.spec.plan.networks import MpnetConfig


class Embeddings(nnx.Module):
    """ids [B, S] → [B, S, D]: word + position, norm, dropout."""

    def __init__(self, config: MpnetConfig):
        width = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, width)
        self.position_embeddings = Embedding(config.max_position_embeddings, width)
        self.LayerNorm = LayerNorm(width, config.layer_norm_eps)
        self.rate = config.hidden_dropout_prob
        self.pad_id = config.pad_token_id

    def __call__(self, ids: jax.Array, key: Keys) -> jax.Array:
        position = self.position_embeddings(places(ids, self.pad_id))
        return dropout(self.LayerNorm(self.word_embeddings(ids) + position), self.rate, key)


class SelfAttention(nnx.Module):
    """x [B, S, D], mask bool [B, S], bias [N, S, S] → [B, S, D], the output matrix included."""

    def __init__(self, config: MpnetConfig, adapters: Adapters):
        for name in ("q", "k", "v", "o"):
            adapter = adapters.get(f"attention.attn.{name}")
            setattr(self, name, Dense(config.hidden_size, config.hidden_size, adapter=adapter))
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob

    def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 5)
        q = split_heads(self.q(x, keys[0]), self.heads)
        k = split_heads(self.k(x, keys[1]), self.heads)
        v = split_heads(self.v(x, keys[2]), self.heads)
        mixed = attention(q, k, v, mask, bias=bias, rate=self.rate, dropout_key=keys[3])
        return self.o(join_heads(mixed), keys[4])


class Attention(nnx.Module):
    """The first half of a block: x [B, S, D] → [B, S, D]."""

    def __init__(self, config: MpnetConfig, adapters: Adapters):
        self.attn = SelfAttention(config, adapters)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.rate = config.hidden_dropout_prob

    def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 2)
        return self.LayerNorm(x + dropout(self.attn(x, mask, bias, keys[0]), self.rate, keys[1]))


class Layer(nnx.Module):
    """One post-LN block: x [B, S, D] → [B, S, D]."""

    def __init__(self, config: MpnetConfig, adapters: Adapters):
        self.attention = Attention(config, adapters)
        self.intermediate = Intermediate(config, adapters)
        self.output = Output(config.intermediate_size, config, adapters.get("output.dense"))

    def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array, key: Keys) -> jax.Array:
        keys = fork(key, 3)
        x = self.attention(x, mask, bias, keys[0])
        return self.output(self.intermediate(x, keys[1]), x, keys[2])


class Ends(BertEnds):
    """What lies outside the layers, the relative positions among it."""

    def __init__(self, config: MpnetConfig):
        super().__init__(config, Embeddings)
        self.relative_attention_bias = Embedding(
            config.relative_attention_num_buckets, config.num_attention_heads
        )

    def context(self, mask: jax.Array) -> tuple[Any, ...]:
        """What every layer is given besides x and its key: the mask, and the bias f32 [N, S, S] of its logits."""
        bias = self.relative_attention_bias(jnp.asarray(buckets(mask.shape[1])))  # [S, S, N]
        return mask, jnp.transpose(bias, (2, 0, 1))


def buckets(length: int) -> np.ndarray:
    """The bucket int32 [S, S] of (query place, key place) (Raffel et al. 2020, §2.1, as T5 computes it).

    Half of the buckets are for keys behind the query. Of each half the lower 8 hold one distance each, the upper 8
    grow in width as the logarithm does, and the last holds all that is beyond 128.
    """
    place = np.arange(length, dtype=np.int64)
    back = place[:, None] - place[None, :]
    half, exact = BUCKETS // 2, BUCKETS // 4
    distance = np.abs(back)
    # In f32, in torch's order: where a distance lies on a border the rounding decides.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    ratio = ratio / np.float32(np.log(MAX_DISTANCE / exact)) * np.float32(half - exact)
    wide = np.minimum(exact + ratio.astype(np.int64), half - 1)
    found = np.where(distance < exact, distance, wide) + np.where(back < 0, half, 0)
    return found.astype(np.int32)
