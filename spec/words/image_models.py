"""Networks of images: from scratch, or read from a Hugging Face directory."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record
from specrun.spec.words.text_models import DIRECTORY


@record
class ImageEncoderModel:
    """An image encoder trained from scratch: patches, pre-LN blocks (ViT), pooling, optional head."""

    kind: Annotated[
        Literal["image_encoder"], Fact(doc="An image encoder trained from scratch.")
    ] = "image_encoder"
    image_size: Annotated[
        int,
        Fact(
            doc="Height and width that images are resized to.",
            ge=1,
            le=4096,
            unit="pixels",
            examples=(64, 224),
        ),
    ] = 224
    patch_size: Annotated[
        int,
        Fact(
            doc="Height and width of a patch; must divide `image_size`.",
            ge=1,
            le=4096,
            unit="pixels",
        ),
    ] = 16
    hidden_size: Annotated[int, Fact(doc="Width of the blocks.", ge=1, le=65536)] = 256
    num_hidden_layers: Annotated[int, Fact(doc="Number of blocks.", ge=1, le=512)] = 4
    num_attention_heads: Annotated[
        int, Fact(doc="Attention heads; must divide `hidden_size`.", ge=1, le=1024)
    ] = 4
    intermediate_size: Annotated[
        int | None, Fact(doc="Width of the feed-forward; null is 4 × `hidden_size`.", ge=1)
    ] = None
    hidden_dropout_prob: Annotated[
        float, Fact(doc="Dropout on embeddings and block outputs.", ge=0, lt=1)
    ] = 0.0
    attention_probs_dropout_prob: Annotated[
        float, Fact(doc="Dropout on attention probabilities.", ge=0, lt=1)
    ] = 0.0
    layer_norm_eps: Annotated[float, Fact(doc="Epsilon of every LayerNorm.", gt=0, le=0.1)] = 1e-6
    initializer_range: Annotated[
        float, Fact(doc="Standard deviation of the normal initialisation.", gt=0, le=10)
    ] = 0.02
    pooling: Annotated[
        Literal["cls", "mean"], Fact(doc="The class token, or the mean of the patches.")
    ] = "cls"
    final_layer_norm: Annotated[bool, Fact(doc="LayerNorm behind the last block.")] = True
    projection_dim: Annotated[
        int | None,
        Fact(doc="Width of a linear head without bias; null is no head.", ge=1, le=65536),
    ] = None


@record
class VitModel:
    """A ViT image encoder read from a Hugging Face directory."""

    kind: Annotated[Literal["vit"], Fact(doc="A ViT read from a Hugging Face directory.")] = "vit"
    name_or_path: Annotated[
        str, Fact(doc=DIRECTORY, examples=("models/vit-base-patch16-224-in21k",))
    ]
    hidden_dropout_prob: Annotated[
        float | None,
        Fact(doc="Dropout on embeddings and block outputs; null takes config.json's.", ge=0, lt=1),
    ] = None
    attention_probs_dropout_prob: Annotated[
        float | None,
        Fact(doc="Dropout on attention probabilities; null takes config.json's.", ge=0, lt=1),
    ] = None
    pooling: Annotated[
        Literal["cls", "mean"], Fact(doc="The class token, or the mean of the patches.")
    ] = "cls"
    projection_dim: Annotated[
        int | None,
        Fact(doc="Width of a new linear head without bias; null is no head.", ge=1, le=65536),
    ] = None


Image = ImageEncoderModel | VitModel
"""The networks that embed images alone."""
