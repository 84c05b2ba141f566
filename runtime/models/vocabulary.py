"""The head of a masked language model: from the states of tokens to a score for every id of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from specrun.runtime.models.modules import Dense, Shell, bind, matmul, shell
from specrun.runtime.models.tables import VOCABULARY
from specrun.spec.plan.model import TextEncoderConfig

Logits = Callable[[Mapping[str, Any], jax.Array], jax.Array]
"""``logits(parameters, states [..., D])``: f32 [..., V]."""


def head_of(config: TextEncoderConfig) -> Shell | None:
    """What belongs to the head alone; None where the token table is the head."""
    if config.vocabulary_head != "own":
        return None
    return shell(lambda: Dense(config.hidden_size, config.vocab_size, bias=config.bias))


def logits_of(config: TextEncoderConfig) -> Logits:
    """The scores under all parameters of the network."""
    head = head_of(config)

    def own(parameters: Mapping[str, Any], states: jax.Array) -> jax.Array:
        assert head is not None
        return bind(head, parameters[VOCABULARY])(states)

    def tied(parameters: Mapping[str, Any], states: jax.Array) -> jax.Array:
        return matmul(states, parameters["embeddings"]["token"]["embedding"].T)

    return tied if head is None else own
