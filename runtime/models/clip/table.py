"""CLIP as data: every parameter of its two networks, and their names in Hugging Face files. Imports no jax.

Paths are those of one network; both networks and their heads lie in one file, so what belongs to the other one is
known there and not used.
"""

from __future__ import annotations

from dataclasses import replace

from specrun.runtime.models.shapes import bare, check_heads, dense, embedding, norm, patches
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.towers import (
    BlockShape,
    ClipTextConfig,
    ClipVisionConfig,
    SiglipTextConfig,
)

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish")
"""Values of ``hidden_act`` that are implemented."""

MATRICES = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    *("mlp.fc1", "mlp.fc2"),
)
"""Linear modules of a layer, which can carry adapters."""

_LAYER = tuple(
    (f"{module}.{leaf}", module)
    for modules, leaves in (
        (("layer_norm1", "layer_norm2"), ("scale", "bias")),
        (MATRICES, ("kernel", "bias")),
    )
    for module in modules
    for leaf in leaves
)


def layer_names(network: str) -> tuple[tuple[str, str], ...]:
    """Our leaves of a layer ↔ the modules of ``network`` (``text_model``) that hold them."""
    return tuple(
        (f"layers.{{i}}.{leaf}", f"{network}.encoder.layers.{{i}}.{module}")
        for leaf, module in _LAYER
    )


TEXT_NAMES = (
    ("embeddings.token_embedding.embedding", "text_model.embeddings.token_embedding"),
    ("embeddings.position_embedding.embedding", "text_model.embeddings.position_embedding"),
    *layer_names("text_model"),
    ("final_layer_norm.scale", "text_model.final_layer_norm"),
    ("final_layer_norm.bias", "text_model.final_layer_norm"),
    ("projection.kernel", "text_projection"),
)
"""Our leaf ↔ the module of ``CLIPModel`` that holds it; the leaf's name and orientation follow from its role."""

VISION_NAMES = (
    ("embeddings.patch_embedding.kernel", "vision_model.embeddings.patch_embedding"),
    ("embeddings.position_embedding.embedding", "vision_model.embeddings.position_embedding"),
    ("pre_layernorm.scale", "vision_model.pre_layrnorm"),
    ("pre_layernorm.bias", "vision_model.pre_layrnorm"),
    *layer_names("vision_model"),
    ("post_layernorm.scale", "vision_model.post_layernorm"),
    ("post_layernorm.bias", "vision_model.post_layernorm"),
    ("projection.kernel", "visual_projection"),
)
"""The same for images. Hugging Face writes ``pre_layrnorm``, without an e."""

VISION_BARE = (("embeddings.class_embedding.embedding", "vision_model.embeddings.class_embedding"),)
"""Our leaf ↔ the whole name of a tensor that no module holds."""

LOGIT_BARE = (("logit_scale", "logit_scale"),)
"""What the file holds beside both networks, under the names of the network of texts."""

TEXT_UNUSED = (
    *("vision_model.", "visual_projection.", "logit_scale"),
    "text_model.embeddings.position_ids",
)
"""Tensors that are known and take no part in the embedding of a text. A name that begins so is listed."""

VISION_UNUSED = (
    *("text_model.", "text_projection.", "logit_scale"),
    "vision_model.embeddings.position_ids",
)


def text_rows(config: ClipTextConfig) -> tuple[TableRow, ...]:
    """Embeddings, pre-LN blocks, norm, head; in the order of the forward pass. All are read."""
    _check(config)
    table = [*token_rows(config), *layer_rows(config)]
    table += norm("final_layer_norm", config.hidden_size)
    return _read(table, config)


def vision_rows(config: ClipVisionConfig) -> tuple[TableRow, ...]:
    """Class token, patches and positions, a norm, pre-LN blocks, a norm, head; in the order of the forward pass."""
    _check(config)
    width = config.hidden_size
    table = [
        *bare("embeddings.class_embedding", 1, width, (width,)),
        *patches(
            "embeddings.patch_embedding", config.patch_size, config.num_channels, width, bias=False
        ),
        *embedding("embeddings.position_embedding", config.tokens, width),
        *norm("pre_layernorm", width),
        *layer_rows(config),
        *norm("post_layernorm", width),
    ]
    return _read(table, config)


def logit_rows() -> tuple[TableRow, ...]:
    """log(1 / τ) of the loss that CLIP was trained with. Only who asks for it reads or writes it."""
    return (TableRow(path="logit_scale", shape=(), role="temperature", new=False),)


def token_rows(config: ClipTextConfig | SiglipTextConfig) -> tuple[TableRow, ...]:
    """Tables of tokens and of positions."""
    width = config.hidden_size
    return (
        *embedding("embeddings.token_embedding", config.vocab_size, width),
        *embedding("embeddings.position_embedding", config.max_position_embeddings, width),
    )


def layer_rows(config: BlockShape) -> tuple[TableRow, ...]:
    """Every block."""
    width, inner = config.hidden_size, config.intermediate_size
    table: list[TableRow] = []
    for i in range(config.num_hidden_layers):
        path = f"layers.{i}"
        table += norm(f"{path}.layer_norm1", width)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            table += dense(f"{path}.self_attn.{name}", width, width)
        table += norm(f"{path}.layer_norm2", width)
        table += dense(f"{path}.mlp.fc1", width, inner)
        table += dense(f"{path}.mlp.fc2", inner, width)
    return tuple(table)


def _check(config: BlockShape) -> None:
    check_heads(config.hidden_size, config.num_attention_heads, config.num_hidden_layers)


def _read(table: list[TableRow], config: ClipTextConfig | ClipVisionConfig) -> tuple[TableRow, ...]:
    if config.projection_dim is not None:
        table += dense("projection", config.hidden_size, config.projection_dim, bias=False)
    return tuple(replace(row, new=False) for row in table)
