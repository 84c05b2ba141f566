"""The numbers of the text and image networks that CLIP, SigLIP and ViT are made of."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record

ImagePooling = Literal["cls", "mean", "none"]
"""``none`` has no pooled vector: the model gives token vectors alone."""


@record
class BlockShape:
    """The numbers of pre-norm blocks, which every network here has."""

    kind: Annotated[str, Fact(doc="Family and what it embeds.")]
    hidden_size: Annotated[int, Fact(doc="Width.")]
    num_hidden_layers: Annotated[int, Fact(doc="Blocks.")]
    num_attention_heads: Annotated[int, Fact(doc="Heads.")]
    intermediate_size: Annotated[int, Fact(doc="Feed-forward width.")]
    hidden_act: Annotated[str, Fact(doc="Activation, as in config.json.")]
    hidden_dropout_prob: Annotated[float, Fact(doc="Dropout.")]
    attention_probs_dropout_prob: Annotated[float, Fact(doc="Attention dropout.")]
    layer_norm_eps: Annotated[float, Fact(doc="LayerNorm epsilon.")]
    initializer_range: Annotated[float, Fact(doc="Standard deviation of new parameters.")]


@record
class TextShape(BlockShape):
    """What the text networks add."""

    vocab_size: Annotated[int, Fact(doc="Rows of the token table.")]
    max_position_embeddings: Annotated[int, Fact(doc="Rows of the position table.")]

    @property
    def longest(self) -> int:
        """The most tokens of a row: one for every row of the position table."""
        return self.max_position_embeddings


@record
class ImageShape(BlockShape):
    """What the image networks add. Images are square, and so are their patches."""

    image_size: Annotated[int, Fact(doc="Height and width of an image.", unit="pixels")]
    patch_size: Annotated[int, Fact(doc="Height and width of a patch.", unit="pixels")]
    num_channels: Annotated[int, Fact(doc="Numbers of a pixel.")]

    @property
    def patches(self) -> int:
        """Whole patches of an image. What is left at its right and lower edge is not looked at."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def tokens(self) -> int:
        """Tokens of an image in the blocks: its patches, and the class token where there is one."""
        return self.patches

    @property
    def longest(self) -> int:
        """As ``tokens``: every image has as many."""
        return self.tokens

    @property
    def numbers(self) -> int:
        """Numbers of an image as the network reads it."""
        return self.num_channels * self.image_size**2


@record
class ClipTextConfig(TextShape):
    kind: Annotated[Literal["clip_text"], Fact(doc="CLIP, texts.")] = "clip_text"
    eos_token_id: Annotated[
        int,
        Fact(doc="Id whose first place is pooled; 2 stands for the place of the greatest id."),
    ]
    projection_dim: Annotated[int | None, Fact(doc="Width of the head; null is none.")]

    @property
    def embedding_dim(self) -> int:
        return self.projection_dim or self.hidden_size


@record
class ClipVisionConfig(ImageShape):
    kind: Annotated[Literal["clip_vision"], Fact(doc="CLIP, images.")] = "clip_vision"
    projection_dim: Annotated[int | None, Fact(doc="Width of the head; null is none.")]

    @property
    def tokens(self) -> int:
        return self.patches + 1

    @property
    def embedding_dim(self) -> int:
        return self.projection_dim or self.hidden_size


@record
class SiglipTextConfig(TextShape):
    kind: Annotated[Literal["siglip_text"], Fact(doc="SigLIP, texts.")] = "siglip_text"
    pad_token_id: Annotated[
        int, Fact(doc="Id that every text is padded with up to the last position, which is pooled.")
    ]
    projection_dim: Annotated[int, Fact(doc="Width of the head.")]

    @property
    def embedding_dim(self) -> int:
        return self.projection_dim


@record
class SiglipVisionConfig(ImageShape):
    kind: Annotated[Literal["siglip_vision"], Fact(doc="SigLIP, images.")] = "siglip_vision"

    @property
    def embedding_dim(self) -> int:
        """The attention that pools keeps the width."""
        return self.hidden_size


@record
class Siglip2VisionConfig(BlockShape):
    """Images keep their shape: each is as many patches as it has, up to ``max_num_patches``."""

    kind: Annotated[
        Literal["siglip2_vision"], Fact(doc="SigLIP 2 (NaFlex), images of any shape.")
    ] = "siglip2_vision"
    patch_size: Annotated[int, Fact(doc="Height and width of a patch.", unit="pixels")]
    num_channels: Annotated[int, Fact(doc="Numbers of a pixel.")]
    num_patches: Annotated[
        int, Fact(doc="Rows of the position table, a square grid resized to each image.")
    ]
    max_num_patches: Annotated[int, Fact(doc="Most patches of an image; shorter ones are padded.")]

    @property
    def grid(self) -> int:
        """Height and width of the grid of positions."""
        return math.isqrt(self.num_patches)

    @property
    def tokens(self) -> int:
        """Tokens of every image in the blocks, padding counted."""
        return self.max_num_patches

    @property
    def longest(self) -> int:
        """As ``tokens``."""
        return self.tokens

    @property
    def numbers(self) -> int:
        """Numbers of an image as the network reads it."""
        return self.max_num_patches * self.num_channels * self.patch_size**2

    @property
    def embedding_dim(self) -> int:
        """The attention that pools keeps the width."""
        return self.hidden_size


@record
class VitConfig(ImageShape):
    kind: Annotated[Literal["vit"], Fact(doc="ViT, read or from scratch.")] = "vit"
    pooling: Annotated[
        ImagePooling, Fact(doc="The class token, or the mean of the patches without it.")
    ]
    final_layer_norm: Annotated[bool, Fact(doc="LayerNorm on every token behind the last block.")]
    projection_dim: Annotated[int | None, Fact(doc="Width of the new head; null is none.")]

    @property
    def tokens(self) -> int:
        return self.patches + 1

    @property
    def embedding_dim(self) -> int:
        return self.projection_dim or self.hidden_size


TextTower = ClipTextConfig | SiglipTextConfig
ImageTower = ClipVisionConfig | SiglipVisionConfig | Siglip2VisionConfig | VitConfig
TowerConfig = TextTower | ImageTower
