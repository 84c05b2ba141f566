"""ViT as data: every parameter, and its names in Hugging Face files. Imports no jax.

The names are those of the files, which transformers 5 still writes, though its modules are called otherwise now.
"""

from __future__ import annotations

from dataclasses import replace

from specrun.runtime.models.shapes import bare, check_heads, dense, norm, patches
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.towers import VitConfig

PREFIXES = ("vit.",)
"""Prefix under which a head model keeps the encoder."""

UNUSED = ("pooler.", "classifier.", "decoder.", "embeddings.mask_token")
"""Tensors that are known and take no part in an embedding: heads, and the token of masked patches."""

MATRICES = (
    *("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
)
"""Linear modules of a layer, which can carry adapters."""

NAMES = (
    ("embeddings.patch_embeddings.projection.kernel", "embeddings.patch_embeddings.projection"),
    ("embeddings.patch_embeddings.projection.bias", "embeddings.patch_embeddings.projection"),
    *(
        (f"layers.{{i}}.{module}.{leaf}", f"encoder.layer.{{i}}.{module}")
        for modules, leaves in (
            (("layernorm_before", "layernorm_after"), ("scale", "bias")),
            (MATRICES, ("kernel", "bias")),
        )
        for module in modules
        for leaf in leaves
    ),
    ("layernorm.scale", "layernorm"),
    ("layernorm.bias", "layernorm"),
)
"""Our leaf ↔ the module of ``ViTModel``'s files that holds it; the leaf's name and orientation follow from its role."""

BARE = (
    ("embeddings.cls_token.embedding", "embeddings.cls_token"),
    ("embeddings.position_embeddings.embedding", "embeddings.position_embeddings"),
)
"""Our leaf ↔ the whole name of a tensor that no module holds."""


def rows(config: VitConfig) -> tuple[TableRow, ...]:
    """Class token, patches and positions, pre-LN blocks, norm, a new head. Only the head is new where weights are read."""
    check_heads(config.hidden_size, config.num_attention_heads, config.num_hidden_layers)
    width = config.hidden_size
    table = [
        *bare("embeddings.cls_token", 1, width, (1, 1, width)),
        *patches(
            "embeddings.patch_embeddings.projection", config.patch_size, config.num_channels, width
        ),
        *bare("embeddings.position_embeddings", config.tokens, width, (1, config.tokens, width)),
    ]
    for i in range(config.num_hidden_layers):
        table += _layer(f"layers.{i}", config)
    if config.final_layer_norm:
        table += norm("layernorm", width)
    read = [replace(row, new=False) for row in table]
    if config.projection_dim is not None:
        read += dense("projection", width, config.projection_dim, bias=False)
    return tuple(read)


def _layer(path: str, config: VitConfig) -> list[TableRow]:
    width, inner = config.hidden_size, config.intermediate_size
    table = list(norm(f"{path}.layernorm_before", width))
    for name in ("query", "key", "value"):
        table += dense(f"{path}.attention.attention.{name}", width, width)
    table += dense(f"{path}.attention.output.dense", width, width)
    table += norm(f"{path}.layernorm_after", width)
    table += dense(f"{path}.intermediate.dense", width, inner)
    table += dense(f"{path}.output.dense", inner, width)
    return table
