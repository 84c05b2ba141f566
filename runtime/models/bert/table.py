"""BERT as data: defaults of config.json, every parameter, and its names in Hugging Face files. Imports no jax.

The module paths are Hugging Face's own (``BertModel``), so one table of names serves both directions.
"""

from __future__ import annotations

from dataclasses import replace

from specrun.runtime.models.shapes import check_heads, dense, embedding, norm
from specrun.spec.plan.networks import BertShape, PretrainedShape
from specrun.spec.plan.parameters import TableRow

MODEL_TYPES = {"bert": "BertModel"}
"""Values of ``model_type`` in config.json that this family reads, with transformers' class of the bare network."""

DEFAULTS: dict[str, int | float | str | bool] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
}
"""What transformers takes where config.json is silent."""

FIXED: dict[str, object] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": None,
    "embedding_size": None,
}
"""Keys of config.json that change the arithmetic, with the only value implemented."""

ACTIVATIONS = ("gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish")
"""Values of ``hidden_act`` that are implemented."""

PREFIXES = ("bert.",)
"""Prefixes under which a head model keeps the encoder."""

UNUSED = (
    "pooler.",
    "cls.",
    "classifier.",
    "qa_outputs.",
    "embeddings.position_ids",
    "embeddings.token_type_ids",
)
"""Tensors that are known and take no part in an embedding: heads and buffers. A name that begins so is listed."""

NAMES = (
    ("embeddings.word_embeddings.embedding", "embeddings.word_embeddings"),
    ("embeddings.position_embeddings.embedding", "embeddings.position_embeddings"),
    ("embeddings.token_type_embeddings.embedding", "embeddings.token_type_embeddings"),
    ("embeddings.LayerNorm.scale", "embeddings.LayerNorm"),
    ("embeddings.LayerNorm.bias", "embeddings.LayerNorm"),
    ("layers.{i}.attention.self.query.kernel", "encoder.layer.{i}.attention.self.query"),
    ("layers.{i}.attention.self.query.bias", "encoder.layer.{i}.attention.self.query"),
    ("layers.{i}.attention.self.key.kernel", "encoder.layer.{i}.attention.self.key"),
    ("layers.{i}.attention.self.key.bias", "encoder.layer.{i}.attention.self.key"),
    ("layers.{i}.attention.self.value.kernel", "encoder.layer.{i}.attention.self.value"),
    ("layers.{i}.attention.self.value.bias", "encoder.layer.{i}.attention.self.value"),
    ("layers.{i}.attention.output.dense.kernel", "encoder.layer.{i}.attention.output.dense"),
    ("layers.{i}.attention.output.dense.bias", "encoder.layer.{i}.attention.output.dense"),
    ("layers.{i}.attention.output.LayerNorm.scale", "encoder.layer.{i}.attention.output.LayerNorm"),
    ("layers.{i}.attention.output.LayerNorm.bias", "encoder.layer.{i}.attention.output.LayerNorm"),
    ("layers.{i}.intermediate.dense.kernel", "encoder.layer.{i}.intermediate.dense"),
    ("layers.{i}.intermediate.dense.bias", "encoder.layer.{i}.intermediate.dense"),
    ("layers.{i}.output.dense.kernel", "encoder.layer.{i}.output.dense"),
    ("layers.{i}.output.dense.bias", "encoder.layer.{i}.output.dense"),
    ("layers.{i}.output.LayerNorm.scale", "encoder.layer.{i}.output.LayerNorm"),
    ("layers.{i}.output.LayerNorm.bias", "encoder.layer.{i}.output.LayerNorm"),
)
"""Our leaf ↔ the module of ``BertModel`` that holds it; the leaf's name and orientation follow from its role."""

POOLER = (
    ("pooler.dense.kernel", "pooler.dense"),
    ("pooler.dense.bias", "pooler.dense"),
)
"""The pooler's names. It belongs to the class and takes no part in an embedding."""


VOCABULARY = (
    ("vocabulary.dense.kernel", "cls.predictions.transform.dense"),
    ("vocabulary.dense.bias", "cls.predictions.transform.dense"),
    ("vocabulary.LayerNorm.scale", "cls.predictions.transform.LayerNorm"),
    ("vocabulary.LayerNorm.bias", "cls.predictions.transform.LayerNorm"),
)
"""The head of ``BertForMaskedLM``, whose matrix is the token table."""

VOCABULARY_BARE = (("vocabulary.bias", "cls.predictions.bias"),)

MASKED_LM = {"bert": "BertForMaskedLM"}
"""Values of ``model_type`` with transformers' class of the network with that head."""


def vocabulary_rows(config: BertShape) -> tuple[TableRow, ...]:
    """The parameters of the head that scores ids; new where the weights have none."""
    return (
        *dense("vocabulary.dense", config.hidden_size, config.hidden_size),
        *norm("vocabulary.LayerNorm", config.hidden_size),
        TableRow(path="vocabulary.bias", shape=(config.vocab_size,), role="bias"),
    )


def pooler_rows(config: PretrainedShape) -> tuple[TableRow, ...]:
    """The parameters of the pooler, which only writing asks for."""
    made = dense("pooler.dense", config.hidden_size, config.hidden_size)
    return tuple(replace(row, new=False) for row in made)


def rows(config: BertShape) -> tuple[TableRow, ...]:
    """Embeddings, post-LN blocks, a new head; in the order of the forward pass. Only the head is new."""
    check_heads(config.hidden_size, config.num_attention_heads, config.num_hidden_layers)
    width = config.hidden_size
    table = [
        *embedding("embeddings.word_embeddings", config.vocab_size, width),
        *embedding("embeddings.position_embeddings", config.max_position_embeddings, width),
        *embedding("embeddings.token_type_embeddings", config.type_vocab_size, width),
        *norm("embeddings.LayerNorm", width),
    ]
    for i in range(config.num_hidden_layers):
        table += _layer(f"layers.{i}", config)
    read = [replace(row, new=False) for row in table]
    if config.projection_dim is not None:
        read += dense("projection", width, config.projection_dim, bias=False)
    return tuple(read)


def _layer(path: str, config: BertShape) -> list[TableRow]:
    width, inner = config.hidden_size, config.intermediate_size
    table: list[TableRow] = []
    for name in ("query", "key", "value"):
        table += dense(f"{path}.attention.self.{name}", width, width)
    table += dense(f"{path}.attention.output.dense", width, width)
    table += norm(f"{path}.attention.output.LayerNorm", width)
    table += dense(f"{path}.intermediate.dense", width, inner)
    table += dense(f"{path}.output.dense", inner, width)
    table += norm(f"{path}.output.LayerNorm", width)
    return table
