"""SigLIP as data: every parameter of its two networks, and their names in Hugging Face files. Imports no jax.

The blocks are CLIP's. Texts have a head with a bias, and images are pooled by an attention whose query is learned.
SigLIP 2 of a fixed resolution is the same; its files say ``siglip``. Images of any shape: ``siglip2``.
"""

from __future__ import annotations

from dataclasses import replace

from specrun.runtime.models.clip.table import layer_names, layer_rows, token_rows
from specrun.runtime.models.shapes import bare, check_heads, dense, embedding, norm, patches
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.towers import Siglip2VisionConfig, SiglipTextConfig, SiglipVisionConfig

TEXT_NAMES = (
    ("embeddings.token_embedding.embedding", "text_model.embeddings.token_embedding"),
    ("embeddings.position_embedding.embedding", "text_model.embeddings.position_embedding"),
    *layer_names("text_model"),
    ("final_layer_norm.scale", "text_model.final_layer_norm"),
    ("final_layer_norm.bias", "text_model.final_layer_norm"),
    ("head.kernel", "text_model.head"),
    ("head.bias", "text_model.head"),
)
"""Our leaf ↔ the module of ``SiglipModel`` that holds it; the leaf's name and orientation follow from its role."""

_HEAD = (
    ("attention.out_proj", "kernel"),
    ("attention.out_proj", "bias"),
    ("layernorm", "scale"),
    ("layernorm", "bias"),
    ("mlp.fc1", "kernel"),
    ("mlp.fc1", "bias"),
    ("mlp.fc2", "kernel"),
    ("mlp.fc2", "bias"),
)

VISION_NAMES = (
    ("embeddings.patch_embedding.kernel", "vision_model.embeddings.patch_embedding"),
    ("embeddings.patch_embedding.bias", "vision_model.embeddings.patch_embedding"),
    ("embeddings.position_embedding.embedding", "vision_model.embeddings.position_embedding"),
    *layer_names("vision_model"),
    ("post_layernorm.scale", "vision_model.post_layernorm"),
    ("post_layernorm.bias", "vision_model.post_layernorm"),
    *((f"head.{module}.{leaf}", f"vision_model.head.{module}") for module, leaf in _HEAD),
)

VISION_BARE = (
    ("head.probe.embedding", "vision_model.head.probe"),
    ("head.attention.in_proj.kernel", "vision_model.head.attention.in_proj_weight"),
    ("head.attention.in_proj.bias", "vision_model.head.attention.in_proj_bias"),
)
"""Our leaf ↔ the whole name of a tensor that no module holds."""

LOGIT_BARE = (("logit_scale", "logit_scale"), ("logit_bias", "logit_bias"))
"""What the file holds beside both networks, under the names of the network of texts."""

TEXT_UNUSED = ("vision_model.", "logit_scale", "logit_bias", "text_model.embeddings.position_ids")
"""Tensors that are known and take no part in the embedding of a text. A name that begins so is listed."""

VISION_UNUSED = (
    *("text_model.", "logit_scale", "logit_bias"),
    "vision_model.embeddings.position_ids",
)


def text_rows(config: SiglipTextConfig) -> tuple[TableRow, ...]:
    """Embeddings, pre-LN blocks, norm, head; in the order of the forward pass. All are read."""
    check_heads(config.hidden_size, config.num_attention_heads, config.num_hidden_layers)
    table = [
        *token_rows(config),
        *layer_rows(config),
        *norm("final_layer_norm", config.hidden_size),
        *dense("head", config.hidden_size, config.projection_dim),
    ]
    return tuple(replace(row, new=False) for row in table)


def vision_rows(config: SiglipVisionConfig) -> tuple[TableRow, ...]:
    """Patches and positions, pre-LN blocks, norm, the attention that pools; in the order of the forward pass."""
    # The head that pools is split as the blocks are, so their number of heads must fit even without blocks.
    check_heads(config.hidden_size, config.num_attention_heads, config.num_hidden_layers + 1)
    width = config.hidden_size
    table = [
        *patches("embeddings.patch_embedding", config.patch_size, config.num_channels, width),
        *embedding("embeddings.position_embedding", config.tokens, width),
        *layer_rows(config),
        *norm("post_layernorm", width),
        *head_rows(config),
    ]
    return tuple(replace(row, new=False) for row in table)


def head_rows(config: SiglipVisionConfig | Siglip2VisionConfig) -> tuple[TableRow, ...]:
    """The attention that pools an image, and the feed-forward beside it."""
    width, inner = config.hidden_size, config.intermediate_size
    return (
        *bare("head.probe", 1, width, (1, 1, width)),
        *dense("head.attention.in_proj", width, 3 * width),
        *dense("head.attention.out_proj", width, width),
        *norm("head.layernorm", width),
        *dense("head.mlp.fc1", width, inner),
        *dense("head.mlp.fc2", inner, width),
    )


def logit_rows() -> tuple[TableRow, ...]:
    """log(1 / τ) and the offset of the loss that SigLIP was trained with. Only who asks for them reads or writes them."""
    return (
        TableRow(path="logit_scale", shape=(), role="temperature", new=False, held=(1,)),
        TableRow(path="logit_bias", shape=(), role="offset", new=False, held=(1,)),
    )
