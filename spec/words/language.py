"""A masked language model from scratch: it says what stands at tokens that are hidden."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class MaskedLmModel:
    """A masked language model trained from scratch: embeddings, pre-LN blocks, a last norm, a score for every id.

    The defaults are the micro-diffusion guide's model of 125 million parameters.
    """

    kind: Annotated[
        Literal["masked_lm"], Fact(doc="A masked language model trained from scratch.")
    ] = "masked_lm"
    hidden_size: Annotated[
        int, Fact(doc="Width of the embeddings and blocks.", ge=1, le=65536, examples=(256, 768))
    ] = 768
    num_hidden_layers: Annotated[int, Fact(doc="Number of blocks.", ge=1, le=512)] = 12
    num_attention_heads: Annotated[
        int, Fact(doc="Attention heads; must divide `hidden_size`.", ge=1, le=1024)
    ] = 12
    intermediate_size: Annotated[int, Fact(doc="Width of the feed-forward.", ge=1)] = 2048
    hidden_act: Annotated[
        Literal["swiglu", "gelu", "relu"],
        Fact(
            doc="Feed-forward activation (SwiGLU with its own gate matrix, erf GELU, or ReLU).",
        ),
    ] = "swiglu"
    norm: Annotated[
        Literal["rmsnorm", "layernorm"],
        Fact(doc="Every norm: RMSNorm, which neither centres nor has a bias, or LayerNorm."),
    ] = "rmsnorm"
    bias: Annotated[
        bool,
        Fact(
            doc="Biases of the blocks' linear layers, of every LayerNorm, and of the head that is not tied."
        ),
    ] = False
    position_embedding: Annotated[
        Literal["rotary", "learned", "sinusoidal"],
        Fact(
            doc="How positions enter: by rotation of q and k, as a learned table, or as fixed sines and cosines."
        ),
    ] = "rotary"
    max_position_embeddings: Annotated[
        int,
        Fact(
            doc="Rows of the learned position table.",
            ge=1,
            le=1048576,
            unit="tokens",
            when=("position_embedding", ("learned",)),
        ),
    ] = 512
    rope_theta: Annotated[
        float,
        Fact(doc="Base of the rotary frequencies.", gt=0, when=("position_embedding", ("rotary",))),
    ] = 10000.0
    hidden_dropout_prob: Annotated[
        float, Fact(doc="Dropout on embeddings and block outputs.", ge=0, lt=1)
    ] = 0.1
    attention_probs_dropout_prob: Annotated[
        float, Fact(doc="Dropout on attention probabilities.", ge=0, lt=1)
    ] = 0.1
    layer_norm_eps: Annotated[float, Fact(doc="Epsilon of every norm.", gt=0, le=0.1)] = 1e-6
    initializer_range: Annotated[
        float, Fact(doc="Standard deviation of the normal initialisation.", gt=0, le=10)
    ] = 0.02
    tie_word_embeddings: Annotated[
        bool,
        Fact(
            doc="The token table scores the ids too; else the head has a matrix of its own, of as many numbers."
        ),
    ] = False
