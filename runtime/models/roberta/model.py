"""RoBERTa in NNX (Liu et al. 2019; XLM-R: Conneau et al. 2020): BERT with positions counted behind the padding id."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from specrun.runtime.models.bert import model as bert
from specrun.spec.plan.networks import RobertaConfig

Layer = bert.Layer
context = bert.context


class Embeddings(bert.Embeddings):
    """ids [B, S] → [B, S, D]: word + position + type 0, norm, dropout."""

    def __init__(self, config: RobertaConfig):
        super().__init__(config)
        self.pad_id = config.pad_token_id

    def positions(self, ids: jax.Array) -> jax.Array:
        """Embeddings of the places behind the padding id."""
        return self.position_embeddings(places(ids, self.pad_id))


def places(ids: jax.Array, pad_id: int) -> jax.Array:
    """Token k that is not padding is at place pad_id + k, counted from 1; padding is at pad_id: [B, S]."""
    token = (ids != pad_id).astype(jnp.int32)
    return jnp.cumsum(token, axis=1) * token + pad_id


class Ends(bert.Ends):
    """What lies outside the layers."""

    def __init__(self, config: RobertaConfig):
        super().__init__(config, Embeddings)
