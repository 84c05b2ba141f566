"""MPNet as data: defaults of config.json, every parameter, and its names in Hugging Face files. Imports no jax.

Built like BERT, with two differences in the parameters: no token types, and one table of relative positions, which all
layers share. transformers never had it in Flax, so its files are torch's; the flax layout is ours by the same rules.
"""

from __future__ import annotations

from dataclasses import replace

from specrun.runtime.models.bert import table as bert
from specrun.runtime.models.shapes import check_heads, dense, embedding, norm
from specrun.spec.plan.networks import MpnetConfig
from specrun.spec.plan.parameters import TableRow

MODEL_TYPES = {"mpnet": "MPNetModel"}
"""Values of ``model_type`` in config.json that this family reads, with transformers' class of the bare network."""

BUCKETS = 32
MAX_DISTANCE = 128
"""transformers sorts distances into 32 buckets up to 128, whatever config.json says."""

DEFAULTS: dict[str, int | float | str | bool] = {
    **{key: value for key, value in bert.DEFAULTS.items() if key != "type_vocab_size"},
    "vocab_size": 30527,
    "pad_token_id": 1,
    "relative_attention_num_buckets": BUCKETS,
}
"""What transformers takes where config.json is silent."""

FIXED: dict[str, object] = {
    **bert.FIXED,
    "pad_token_id": 1,
    "relative_attention_num_buckets": BUCKETS,
}
"""Keys of config.json that change the arithmetic, with the only value implemented.

transformers' class counts positions behind id 1 and uses 32 buckets without looking at either key.
"""

ACTIVATIONS = bert.ACTIVATIONS

PREFIXES = ("mpnet.",)
"""Prefix under which a head model keeps the encoder."""

UNUSED = (
    "pooler.",
    "lm_head.",
    "classifier.",
    "qa_outputs.",
    "embeddings.position_ids",
)
"""Tensors that are known and take no part in an embedding: heads and buffers. A name that begins so is listed."""

_LAYER = (
    ("attention.attn.q", "kernel", "bias"),
    ("attention.attn.k", "kernel", "bias"),
    ("attention.attn.v", "kernel", "bias"),
    ("attention.attn.o", "kernel", "bias"),
    ("attention.LayerNorm", "scale", "bias"),
    ("intermediate.dense", "kernel", "bias"),
    ("output.dense", "kernel", "bias"),
    ("output.LayerNorm", "scale", "bias"),
)

NAMES = (
    ("embeddings.word_embeddings.embedding", "embeddings.word_embeddings"),
    ("embeddings.position_embeddings.embedding", "embeddings.position_embeddings"),
    ("embeddings.LayerNorm.scale", "embeddings.LayerNorm"),
    ("embeddings.LayerNorm.bias", "embeddings.LayerNorm"),
    ("relative_attention_bias.embedding", "encoder.relative_attention_bias"),
    *(
        (f"layers.{{i}}.{module}.{leaf}", f"encoder.layer.{{i}}.{module}")
        for module, *leaves in _LAYER
        for leaf in leaves
    ),
)
"""Our leaf ↔ the module of ``MPNetModel`` that holds it; the leaf's name and orientation follow from its role."""

POOLER = bert.POOLER


def rows(config: MpnetConfig) -> tuple[TableRow, ...]:
    """Embeddings, relative positions, post-LN blocks, a new head. Only the head is new."""
    check_heads(config.hidden_size, config.num_attention_heads, config.num_hidden_layers)
    width = config.hidden_size
    table = [
        *embedding("embeddings.word_embeddings", config.vocab_size, width),
        *embedding("embeddings.position_embeddings", config.max_position_embeddings, width),
        *norm("embeddings.LayerNorm", width),
        *embedding(
            "relative_attention_bias",
            config.relative_attention_num_buckets,
            config.num_attention_heads,
        ),
    ]
    for i in range(config.num_hidden_layers):
        table += _layer(f"layers.{i}", config)
    read = [replace(row, new=False) for row in table]
    if config.projection_dim is not None:
        read += dense("projection", width, config.projection_dim, bias=False)
    return tuple(read)


def _layer(path: str, config: MpnetConfig) -> list[TableRow]:
    width, inner = config.hidden_size, config.intermediate_size
    table: list[TableRow] = []
    for name in ("q", "k", "v", "o"):
        table += dense(f"{path}.attention.attn.{name}", width, width)
    table += norm(f"{path}.attention.LayerNorm", width)
    table += dense(f"{path}.intermediate.dense", width, inner)
    table += dense(f"{path}.output.dense", inner, width)
    table += norm(f"{path}.output.LayerNorm", width)
    return table
