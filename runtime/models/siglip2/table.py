"""SigLIP 2's network of images as data: every parameter, and its name in Hugging Face files. Imports no jax.

The names are SigLIP's. The patches are a matrix in the file too, not a convolution, and the positions are a square
grid, whatever the shape of an image. Texts go through SigLIP's network, which has a table of its own.
"""

from __future__ import annotations

from dataclasses import replace

from specrun.runtime.models.clip.table import layer_rows
from specrun.runtime.models.shapes import check_heads, dense, embedding, norm
from specrun.runtime.models.siglip.table import head_rows
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.towers import Siglip2VisionConfig


def vision_rows(config: Siglip2VisionConfig) -> tuple[TableRow, ...]:
    """Patches and positions, pre-LN blocks, norm, the attention that pools; in the order of the forward pass."""
    check_heads(config.hidden_size, config.num_attention_heads, config.num_hidden_layers + 1)
    width = config.hidden_size
    patch = config.patch_size**2 * config.num_channels
    table = [
        *dense("embeddings.patch_embedding", patch, width),
        *embedding("embeddings.position_embedding", config.num_patches, width),
        *layer_rows(config),
        *norm("post_layernorm", width),
        *head_rows(config),
    ]
    return tuple(replace(row, new=False) for row in table)
