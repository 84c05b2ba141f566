"""Networks from scratch: their configurations are what the spec says, and the size of the vocabulary."""

from __future__ import annotations

from dataclasses import replace

from specrun.spec.plan.networks import TextEncoderConfig
from specrun.spec.plan.towers import VitConfig
from specrun.spec.words.image_models import ImageEncoderModel
from specrun.spec.words.language import MaskedLmModel
from specrun.spec.words.model import TextFromScratch
from specrun.spec.words.text_models import TextEncoderModel


def masked_lm(model: MaskedLmModel, vocab_size: int) -> TextEncoderConfig:
    """The encoder that gives every token's state behind the last norm, and the head that scores ids by it."""
    head = "tied" if model.tie_word_embeddings else "own"
    return replace(_blocks(model, vocab_size), vocabulary_head=head)


def text_encoder(model: TextEncoderModel, vocab_size: int) -> TextEncoderConfig:
    """The encoder with the pooling and the heads that the spec asks for."""
    return replace(
        _blocks(model, vocab_size),
        pooling=model.pooling,
        final_layer_norm=model.final_layer_norm,
        projection_dim=model.projection_dim,
        multi_vector_dim=None if model.multi_vector is None else model.multi_vector.dim,
    )


def _blocks(model: TextFromScratch, vocab_size: int) -> TextEncoderConfig:
    """Embeddings, blocks and the last norm, without pooling or a head."""
    return TextEncoderConfig(
        vocab_size=vocab_size,
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        intermediate_size=model.intermediate_size or 4 * model.hidden_size,
        hidden_act=model.hidden_act,
        norm=model.norm,
        bias=model.bias,
        position_embedding=model.position_embedding,
        max_position_embeddings=model.max_position_embeddings,
        rope_theta=model.rope_theta,
        hidden_dropout_prob=model.hidden_dropout_prob,
        attention_probs_dropout_prob=model.attention_probs_dropout_prob,
        layer_norm_eps=model.layer_norm_eps,
        initializer_range=model.initializer_range,
        pooling="none",
        final_layer_norm=True,
        projection_dim=None,
    )


def image_encoder(model: ImageEncoderModel) -> VitConfig:
    """The Vision Transformer that the spec says."""
    return VitConfig(
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        intermediate_size=model.intermediate_size or 4 * model.hidden_size,
        hidden_act="gelu",
        hidden_dropout_prob=model.hidden_dropout_prob,
        attention_probs_dropout_prob=model.attention_probs_dropout_prob,
        layer_norm_eps=model.layer_norm_eps,
        initializer_range=model.initializer_range,
        image_size=model.image_size,
        patch_size=model.patch_size,
        num_channels=3,
        pooling=model.pooling,
        final_layer_norm=model.final_layer_norm,
        projection_dim=model.projection_dim,
    )
