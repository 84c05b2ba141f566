"""The head of a masked language model: from the states of tokens to a score for every id of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from specrun.runtime.models.bert.model import VocabularyHead
from specrun.runtime.models.modules import Dense
from specrun.runtime.models.products import matmul
from specrun.runtime.models.shells import Shell, bind, shell
from specrun.spec.plan.networks import BertConfig, NetworkConfig, RobertaConfig, TextEncoderConfig
from specrun.spec.plan.parameters import VOCABULARY

Logits = Callable[[Mapping[str, Any], jax.Array], jax.Array]
"""``logits(parameters, states [..., D])``: f32 [..., V]."""


def head_of(config: NetworkConfig) -> Shell | None:
    """What belongs to the head alone; None where there is no head, or where the token table is the head."""
    match config:
        case TextEncoderConfig() if config.vocabulary_head == "own":
            return shell(lambda: Dense(config.hidden_size, config.vocab_size, bias=config.bias))
        case BertConfig() if config.vocabulary_head is not None:
            return shell(lambda: VocabularyHead(config, config.hidden_act))
        case RobertaConfig() if config.vocabulary_head is not None:
            return shell(lambda: VocabularyHead(config, "gelu"))
        case _:
            return None


def logits_of(config: NetworkConfig) -> Logits | None:
    """The scores under all parameters of the network; None where it is no language model."""
    head = head_of(config)

    def own(parameters: Mapping[str, Any], states: jax.Array) -> jax.Array:
        assert head is not None
        return bind(head, parameters[VOCABULARY])(states)

    def transformed(parameters: Mapping[str, Any], states: jax.Array) -> jax.Array:
        assert head is not None
        table = parameters["embeddings"]["word_embeddings"]["embedding"]
        return bind(head, parameters[VOCABULARY])(states, table)

    def tied(parameters: Mapping[str, Any], states: jax.Array) -> jax.Array:
        return matmul(states, parameters["embeddings"]["token"]["embedding"].T)

    if isinstance(config, TextEncoderConfig) and config.vocabulary_head == "tied":
        return tied
    if head is None:
        return None
    return own if isinstance(config, TextEncoderConfig) else transformed
