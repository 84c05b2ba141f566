"""Networks of texts: from scratch, or a family read from a Hugging Face directory."""

from dataclasses import field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record

_TOWERS = Fact(
    doc="One network for queries and positives, or a network of its own for each.",
    enum_docs=(
        "One network embeds both sides.",
        "Two networks: paths begin with `query.` and `positive.`, and what is new in them starts differently.",
    ),
)


DIRECTORY = "Directory with config.json and weights, or a name mapped in specrun.local.yaml or found in the Hugging Face cache."
"""What ``name_or_path`` takes."""


@record
class MultiVector:
    """A second output beside the pooled vector: one vector for every token, for late interaction."""

    dim: Annotated[
        int,
        Fact(
            doc="Width of the token vectors: a linear head without bias on the last layer's states.",
            ge=1,
            le=65536,
            examples=(128,),
        ),
    ] = 128


_MULTI_VECTOR = Fact(
    doc="Token vectors beside the pooled vector, for `colbert` and `dense_late_kl`; null is none. With `pooling: none` there are token vectors without it.",
)


@record
class TextEncoderModel:
    """A text encoder trained from scratch: embeddings, pre-LN blocks, pooling, optional head."""

    kind: Annotated[Literal["text_encoder"], Fact(doc="A text encoder trained from scratch.")] = (
        "text_encoder"
    )
    hidden_size: Annotated[
        int, Fact(doc="Width of the embeddings and blocks.", ge=1, le=65536, examples=(256, 768))
    ] = 256
    num_hidden_layers: Annotated[
        int, Fact(doc="Number of blocks; 0 is a bag of tokens.", ge=0, le=512)
    ] = 2
    num_attention_heads: Annotated[
        int,
        Fact(
            doc="Attention heads; must divide `hidden_size`.",
            ge=1,
            le=1024,
            when=("num_hidden_layers", "positive"),
        ),
    ] = 4
    intermediate_size: Annotated[
        int | None,
        Fact(
            doc="Width of the feed-forward; null is 4 × `hidden_size`.",
            ge=1,
            when=("num_hidden_layers", "positive"),
        ),
    ] = None
    hidden_act: Annotated[
        Literal["gelu", "swiglu", "relu"],
        Fact(
            doc="Feed-forward activation (erf GELU, SwiGLU with its own gate matrix, or ReLU).",
            when=("num_hidden_layers", "positive"),
        ),
    ] = "gelu"
    norm: Annotated[
        Literal["layernorm", "rmsnorm"],
        Fact(doc="Every norm: LayerNorm, or RMSNorm, which neither centres nor has a bias."),
    ] = "layernorm"
    bias: Annotated[
        bool, Fact(doc="Biases of the blocks' linear layers and of every LayerNorm.")
    ] = True
    position_embedding: Annotated[
        Literal["none", "learned", "rotary", "sinusoidal"],
        Fact(
            doc="How positions enter: not, as a learned table, by rotation of q and k, or as fixed sines and cosines."
        ),
    ] = "learned"
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
        float,
        Fact(
            doc="Dropout on attention probabilities.",
            ge=0,
            lt=1,
            when=("num_hidden_layers", "positive"),
        ),
    ] = 0.0
    layer_norm_eps: Annotated[float, Fact(doc="Epsilon of every norm.", gt=0, le=0.1)] = 1e-5
    initializer_range: Annotated[
        float, Fact(doc="Standard deviation of the normal initialisation.", gt=0, le=10)
    ] = 0.02
    pooling: Annotated[
        Literal["mean", "cls", "last", "none"],
        Fact(
            doc="Mean over valid tokens, the first token, the last valid token, or `none`: a vector for every token, for `colbert`."
        ),
    ] = "mean"
    final_layer_norm: Annotated[
        bool, Fact(doc="A norm on the pooled vector; with `pooling: none` on every token's.")
    ] = True
    projection_dim: Annotated[
        int | None,
        Fact(doc="Width of a linear head without bias; null is no head.", ge=1, le=65536),
    ] = None
    multi_vector: Annotated[MultiVector | None, _MULTI_VECTOR] = None
    towers: Annotated[Literal["shared", "separate"], _TOWERS] = "shared"


@record
class ModelPrompts:
    """Instructions put before the texts, in training, evaluation, mining and search; cut and pooled with them."""

    query: Annotated[
        str | None,
        Fact(
            doc="Before every query; null takes the directory's `query` prompt, else nothing.",
            examples=("query: ",),
        ),
    ] = None
    positive: Annotated[
        str | None,
        Fact(
            doc="Before every positive and negative; null takes the directory's `document`, `passage` or `corpus` prompt, else nothing.",
            examples=("passage: ",),
        ),
    ] = None


@record
class PretrainedModel:
    """What the encoders read from a Hugging Face directory have in common."""

    kind: Annotated[str, Fact(doc="The family.")]
    name_or_path: Annotated[str, Fact(doc=DIRECTORY, examples=("models/all-MiniLM-L6-v2",))]
    attention_probs_dropout_prob: Annotated[
        float | None,
        Fact(doc="Dropout on attention probabilities; null takes config.json's.", ge=0, lt=1),
    ] = None
    pooling: Annotated[
        Literal["mean", "cls", "last", "none"] | None,
        Fact(
            doc="Pooling (`last`: the last valid token; `none`: a vector for every token, for `colbert`); null takes the directory's sentence-transformers pooling, else mean."
        ),
    ] = None
    projection_dim: Annotated[
        int | None,
        Fact(
            doc="Width of a new linear head without bias; null takes the directory's own (sentence-transformers' Dense), else none.",
            ge=1,
            le=65536,
        ),
    ] = None
    multi_vector: Annotated[MultiVector | None, _MULTI_VECTOR] = None
    towers: Annotated[Literal["shared", "separate"], _TOWERS] = "shared"
    prompts: Annotated[ModelPrompts, Fact(doc="Instructions put before the texts.")] = field(
        default_factory=ModelPrompts
    )


@record
class PostNormModel(PretrainedModel):
    """What BERT and the families built like it have besides."""

    hidden_dropout_prob: Annotated[
        float | None,
        Fact(doc="Dropout on embeddings and block outputs; null takes config.json's.", ge=0, lt=1),
    ] = None


@record
class BertModel(PostNormModel):
    """A BERT-family encoder (BERT, MiniLM) read from a Hugging Face directory."""

    kind: Annotated[
        Literal["bert"], Fact(doc="A BERT encoder read from a Hugging Face directory.")
    ] = "bert"


@record
class RobertaModel(PostNormModel):
    """A RoBERTa-family encoder (RoBERTa, XLM-R, CamemBERT) read from a Hugging Face directory."""

    kind: Annotated[
        Literal["roberta"],
        Fact(doc="A RoBERTa or XLM-R encoder read from a Hugging Face directory."),
    ] = "roberta"
    name_or_path: Annotated[str, Fact(doc=DIRECTORY, examples=("models/xlm-roberta-base",))]


@record
class MpnetModel(PostNormModel):
    """An MPNet encoder (all-mpnet-base-v2) read from a Hugging Face directory."""

    kind: Annotated[
        Literal["mpnet"], Fact(doc="An MPNet encoder read from a Hugging Face directory.")
    ] = "mpnet"
    name_or_path: Annotated[str, Fact(doc=DIRECTORY, examples=("models/all-mpnet-base-v2",))]


@record
class Qwen3Model(PretrainedModel):
    """A Qwen3 decoder that embeds (Qwen3-Embedding) read from a Hugging Face directory."""

    kind: Annotated[
        Literal["qwen3"], Fact(doc="A Qwen3 decoder read from a Hugging Face directory.")
    ] = "qwen3"
    name_or_path: Annotated[str, Fact(doc=DIRECTORY, examples=("models/Qwen3-Embedding-0.6B",))]


@record
class ModernbertModel(PretrainedModel):
    """A ModernBERT encoder read from a Hugging Face directory."""

    kind: Annotated[
        Literal["modernbert"], Fact(doc="A ModernBERT encoder read from a Hugging Face directory.")
    ] = "modernbert"
    name_or_path: Annotated[str, Fact(doc=DIRECTORY, examples=("models/ModernBERT-base",))]
    embedding_dropout: Annotated[
        float | None, Fact(doc="Dropout on embeddings; null takes config.json's.", ge=0, lt=1)
    ] = None
    mlp_dropout: Annotated[
        float | None,
        Fact(doc="Dropout within the feed-forward; null takes config.json's.", ge=0, lt=1),
    ] = None


@record
class AutoModel(PretrainedModel):
    """An encoder read from a Hugging Face directory, of the family that its config.json names."""

    kind: Annotated[
        Literal["auto"],
        Fact(doc="The family that `model_type` in the directory's config.json names."),
    ] = "auto"
    hidden_dropout_prob: Annotated[
        float | None,
        Fact(
            doc="Dropout on embeddings and block outputs, refused for a family without; null takes config.json's.",
            ge=0,
            lt=1,
        ),
    ] = None


Text = (
    TextEncoderModel
    | BertModel
    | RobertaModel
    | MpnetModel
    | Qwen3Model
    | ModernbertModel
    | AutoModel
)
"""The networks that embed texts alone."""
