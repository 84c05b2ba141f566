"""The configuration of every network, complete."""

from __future__ import annotations

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.plan.towers import ImageTower, TextTower
from specrun.spec.record import record

Pooling = Literal["mean", "cls", "last", "none"]
"""``none`` has no pooled vector: the model gives token vectors alone."""


@record
class TextEncoderConfig:
    kind: Annotated[Literal["text_encoder"], Fact(doc="From scratch.")] = "text_encoder"
    vocab_size: Annotated[int, Fact(doc="Rows of the token table.")]
    hidden_size: Annotated[int, Fact(doc="Width.")]
    num_hidden_layers: Annotated[int, Fact(doc="Blocks.")]
    num_attention_heads: Annotated[int, Fact(doc="Heads.")]
    intermediate_size: Annotated[int, Fact(doc="Feed-forward width.")]
    hidden_act: Annotated[Literal["gelu", "swiglu", "relu"], Fact(doc="Activation.")]
    norm: Annotated[Literal["layernorm", "rmsnorm"], Fact(doc="Every norm.")] = "layernorm"
    bias: Annotated[bool, Fact(doc="Biases of linear layers and LayerNorms.")] = True
    position_embedding: Annotated[
        Literal["none", "learned", "rotary", "sinusoidal"], Fact(doc="Positions.")
    ]
    max_position_embeddings: Annotated[int, Fact(doc="Rows of the position table.")]
    rope_theta: Annotated[float, Fact(doc="Rotary base.")]
    hidden_dropout_prob: Annotated[float, Fact(doc="Dropout.")]
    attention_probs_dropout_prob: Annotated[float, Fact(doc="Attention dropout.")]
    layer_norm_eps: Annotated[float, Fact(doc="Epsilon of every norm.")]
    initializer_range: Annotated[float, Fact(doc="Standard deviation at the start.")]
    pooling: Annotated[Pooling, Fact(doc="Pooling.")]
    final_layer_norm: Annotated[bool, Fact(doc="Norm on the pooled vector.")]
    projection_dim: Annotated[int | None, Fact(doc="Width of the head.")]
    multi_vector_dim: Annotated[
        int | None, Fact(doc="Width of the token vectors beside the pooled one; null is none.")
    ] = None
    vocabulary_head: Annotated[
        Literal["own", "tied"] | None,
        Fact(
            doc="Scores of every id for every token, by a matrix of its own or the token table; null is none."
        ),
    ] = None

    @property
    def longest(self) -> int | None:
        """The most tokens of a row; None is no limit."""
        return self.max_position_embeddings if self.position_embedding == "learned" else None


@record
class PretrainedShape:
    """The numbers that all families read from Hugging Face directories have."""

    kind: Annotated[str, Fact(doc="Family.")]
    vocab_size: Annotated[int, Fact(doc="Rows of the token table.")]
    hidden_size: Annotated[int, Fact(doc="Width.")]
    num_hidden_layers: Annotated[int, Fact(doc="Blocks.")]
    num_attention_heads: Annotated[int, Fact(doc="Heads.")]
    intermediate_size: Annotated[int, Fact(doc="Feed-forward width.")]
    hidden_act: Annotated[str, Fact(doc="Activation, as in config.json.")]
    max_position_embeddings: Annotated[int, Fact(doc="Rows of the position table.")]
    attention_probs_dropout_prob: Annotated[float, Fact(doc="Attention dropout.")]
    initializer_range: Annotated[float, Fact(doc="Standard deviation of new parameters.")]
    pooling: Annotated[Pooling, Fact(doc="Pooling.")]
    projection_dim: Annotated[int | None, Fact(doc="Width of the new head.")]
    multi_vector_dim: Annotated[
        int | None, Fact(doc="Width of the token vectors beside the pooled one; null is none.")
    ] = None

    @property
    def longest(self) -> int:
        """The most tokens of a row: one for every row of the position table."""
        return self.max_position_embeddings


@record
class PostNormShape(PretrainedShape):
    """The numbers of BERT, RoBERTa and MPNet."""

    hidden_dropout_prob: Annotated[float, Fact(doc="Dropout.")]
    layer_norm_eps: Annotated[float, Fact(doc="LayerNorm epsilon.")]


@record
class BertShape(PostNormShape):
    """The numbers of BERT and of RoBERTa."""

    type_vocab_size: Annotated[int, Fact(doc="Rows of the token-type table.")]
    vocabulary_head: Annotated[
        Literal["tied"] | None,
        Fact(
            doc="Scores of every id for every token, by a dense layer, its activation, a LayerNorm, the token table and a bias; null is none."
        ),
    ] = None


@record
class BertConfig(BertShape):
    kind: Annotated[Literal["bert"], Fact(doc="BERT family.")] = "bert"


@record
class RobertaConfig(BertShape):
    kind: Annotated[Literal["roberta"], Fact(doc="RoBERTa family.")] = "roberta"
    pad_token_id: Annotated[int, Fact(doc="Id that pads, which the positions are counted from.")]

    @property
    def longest(self) -> int:
        """Positions begin behind the padding id, so the rows up to it hold no token's position."""
        return self.max_position_embeddings - self.pad_token_id - 1


@record
class MpnetConfig(PostNormShape):
    kind: Annotated[Literal["mpnet"], Fact(doc="MPNet family.")] = "mpnet"
    pad_token_id: Annotated[int, Fact(doc="Id that pads, which the positions are counted from.")]
    relative_attention_num_buckets: Annotated[
        int, Fact(doc="Rows of the table of relative positions, which all layers share.")
    ]

    @property
    def longest(self) -> int:
        """As RoBERTa's."""
        return self.max_position_embeddings - self.pad_token_id - 1


@record
class Qwen3Config(PretrainedShape):
    kind: Annotated[Literal["qwen3"], Fact(doc="Qwen3 decoder, causal.")] = "qwen3"
    num_key_value_heads: Annotated[int, Fact(doc="Heads of keys and values, shared by queries'.")]
    head_dim: Annotated[int, Fact(doc="Width of a head.")]
    rms_norm_eps: Annotated[float, Fact(doc="Epsilon of every RMS norm.")]
    rope_theta: Annotated[float, Fact(doc="Rotary base.")]

    @property
    def hidden_dropout_prob(self) -> float:
        """There is dropout on attention probabilities alone."""
        return 0.0


@record
class ModernbertConfig(PretrainedShape):
    kind: Annotated[Literal["modernbert"], Fact(doc="ModernBERT family.")] = "modernbert"
    embedding_dropout: Annotated[float, Fact(doc="Dropout on embeddings.")]
    mlp_dropout: Annotated[float, Fact(doc="Dropout within the feed-forward.")]
    norm_eps: Annotated[float, Fact(doc="Epsilon of every norm.")]
    norm_bias: Annotated[bool, Fact(doc="Norms have a bias.")]
    attention_bias: Annotated[bool, Fact(doc="Attention's linear layers have a bias.")]
    mlp_bias: Annotated[bool, Fact(doc="The feed-forward's linear layers have a bias.")]
    local_attention: Annotated[
        int, Fact(doc="Width of the window around a token: half of it on either side.")
    ]
    global_layers: Annotated[
        tuple[int, ...], Fact(doc="Layers whose tokens see all; those of the others a window.")
    ]
    global_rope_theta: Annotated[float, Fact(doc="Rotary base of the global layers.")]
    local_rope_theta: Annotated[float, Fact(doc="Rotary base of the others.")]

    @property
    def hidden_dropout_prob(self) -> float:
        """The larger of the shares that are dropped outside of attention."""
        return max(self.embedding_dropout, self.mlp_dropout)


PretrainedConfig = BertConfig | RobertaConfig | MpnetConfig | Qwen3Config | ModernbertConfig
"""The families read from Hugging Face directories."""

TextConfig = (
    TextEncoderConfig | BertConfig | RobertaConfig | MpnetConfig | Qwen3Config | ModernbertConfig
)
"""The networks that embed texts alone."""

NetworkConfig = TextConfig | TextTower | ImageTower
"""Every single network."""


@record
class TextImageConfig:
    """Two networks that embed into one space, and what is new on top of them."""

    kind: Annotated[Literal["text_image"], Fact(doc="Texts and images.")] = "text_image"
    text: Annotated[TextConfig | TextTower, Fact(doc="The network of texts.")]
    image: Annotated[ImageTower, Fact(doc="The network of images.")]
    head_dim: Annotated[
        int | None,
        Fact(doc="Width of a new head Linear, GELU, Linear on each network; null is none."),
    ]
    multi_vector_dim: Annotated[
        int | None, Fact(doc="Width of the token vectors beside the pooled one; null is none.")
    ] = None
    pooled: Annotated[
        bool, Fact(doc="Whether there is a pooled vector; else token vectors alone.")
    ] = True

    @property
    def longest(self) -> int | None:
        """The most tokens of a text."""
        return self.text.longest


EncoderConfig = TextConfig | TextImageConfig


def is_language_model(config: object) -> bool:
    """Whether it scores the ids of its vocabulary."""
    return isinstance(config, TextEncoderConfig | BertShape) and config.vocabulary_head is not None


def token_dim(config: EncoderConfig | NetworkConfig) -> int | None:
    """Width of the token vectors beside the pooled one; None where there are none."""
    whole = isinstance(config, TextConfig | TextImageConfig)
    return config.multi_vector_dim if whole else None
