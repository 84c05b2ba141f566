"""Models of two networks, one for texts and one for images."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record
from specrun.spec.words.image_models import Image
from specrun.spec.words.text_models import DIRECTORY, Text


@record
class TextImageMultiVector:
    """A second output beside the pooled vector: one vector for every token of a text and every patch of an image."""

    dim: Annotated[
        int | None,
        Fact(
            doc="Width of a new linear head without bias on each network's last norm; null takes the projection (and `head_dim`'s head) that makes the pooled vector, and no new parameters.",
            ge=1,
            le=65536,
            examples=(128,),
        ),
    ] = None


_TOP_K_PATCHES = Fact(
    doc="Token vectors of an image: its class token and as many patches, those of the highest cosine to it at the whole width, of equal ones the first. At most the network's patches; SigLIP, whose images have no class token, has no such key. Null is the class token, where there is one, and all patches.",
    ge=1,
    le=1048576,
    examples=(16,),
)

_TEXT_IMAGE_VECTORS = Fact(
    doc="Token vectors beside the pooled vectors, for `colbert` and `dense_late_kl`; null is none. With `pooling: none` there are token vectors without it."
)

_NO_POOLING = Fact(
    doc="`none` leaves the pooled vectors out: every token of a text and every patch of an image has a vector for `colbert`, the state behind the last norm through the projection of the pooled vector (and `head_dim`'s head). Null pools as the networks do."
)


@record
class ClipModel:
    """A CLIP read from a Hugging Face directory: texts and images embedded into one space."""

    kind: Annotated[Literal["clip"], Fact(doc="A CLIP read from a Hugging Face directory.")] = (
        "clip"
    )
    name_or_path: Annotated[str, Fact(doc=DIRECTORY, examples=("models/clip-vit-base-patch32",))]
    pooling: Annotated[Literal["none"] | None, _NO_POOLING] = None
    multi_vector: Annotated[TextImageMultiVector | None, _TEXT_IMAGE_VECTORS] = None
    top_k_patches: Annotated[int | None, _TOP_K_PATCHES] = None


@record
class SiglipModel:
    """A SigLIP or SigLIP2, of one resolution or of any (NaFlex), read from a Hugging Face directory.

    Its images have no class token, so there is no ``top_k_patches``; and they are pooled by a network of its own,
    which ``pooling: none`` would leave untrained.
    """

    kind: Annotated[
        Literal["siglip"], Fact(doc="A SigLIP or SigLIP2 read from a Hugging Face directory.")
    ] = "siglip"
    name_or_path: Annotated[
        str,
        Fact(
            doc=DIRECTORY,
            examples=("models/siglip2-base-patch16-224", "models/siglip2-base-patch16-naflex"),
        ),
    ]
    multi_vector: Annotated[TextImageMultiVector | None, _TEXT_IMAGE_VECTORS] = None


@record
class ComposedModel:
    """Any text encoder and any image encoder, with heads into one space."""

    kind: Annotated[
        Literal["composed"], Fact(doc="A text encoder and an image encoder with heads.")
    ] = "composed"
    text: Annotated[Text, Fact(doc="The network of texts.")]
    image: Annotated[Image, Fact(doc="The network of images.")]
    head_dim: Annotated[
        int | None,
        Fact(
            doc="Width of a head Linear, GELU, Linear on each network; null is none, and both must be of one width.",
            ge=1,
            le=65536,
        ),
    ] = 512
    pooling: Annotated[Literal["none"] | None, _NO_POOLING] = None
    multi_vector: Annotated[TextImageMultiVector | None, _TEXT_IMAGE_VECTORS] = None
    top_k_patches: Annotated[int | None, _TOP_K_PATCHES] = None


TextImage = ClipModel | SiglipModel | ComposedModel
"""The models of two networks, one for texts and one for images."""
