"""The plan's network: configuration, layer groups, every parameter, adapters, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.plan.data import Input
from specrun.spec.plan.images import ImageProcessor
from specrun.spec.plan.towers import ImageTower, TextTower
from specrun.spec.record import record

Role = Literal["kernel", "bias", "scale", "embedding", "lora_a", "lora_b", "temperature", "offset"]

Pooling = Literal["mean", "cls", "last", "none"]
"""``none`` has no pooled vector: the model gives token vectors alone."""

Side = Literal["query", "positive"]
SIDES: tuple[Side, ...] = ("query", "positive")
"""What is embedded. Separate towers are called by their side, and their parameters' paths begin with it."""

Tower = Literal["query", "positive", "text", "image"]
"""A network of several: of a side, or of what it reads."""

Towers = Literal["shared", "separate", "text_image"]
_TOWERS: Mapping[str, tuple[Tower, ...]] = {
    "shared": (),
    "separate": ("query", "positive"),
    "text_image": ("text", "image"),
}


def tower_names(towers: Towers) -> tuple[Tower, ...]:
    """What the networks of a model are called; none where there is one."""
    return _TOWERS[towers]


def tower_of(path: str) -> tuple[Tower | None, str]:
    """``query.layers.0.x`` → (``query``, ``layers.0.x``); (None, the path) where there is one network."""
    head, _, rest = path.partition(".")
    match head:
        case "query" | "positive" | "text" | "image":
            return head, rest
        case _:
            return None, path


def inside_layer(path: str) -> str:
    """``query.layers.3.attention.query.kernel`` → ``attention.query.kernel``; so too for groups."""
    return tower_of(path)[1].split(".", 2)[2]


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


VOCABULARY = "vocabulary"
"""What the paths of the parameters begin with that belong to the head of a language model alone."""


def is_language_model(config: object) -> bool:
    """Whether it scores the ids of its vocabulary."""
    return isinstance(config, TextEncoderConfig | BertShape) and config.vocabulary_head is not None


def token_dim(config: EncoderConfig | NetworkConfig) -> int | None:
    """Width of the token vectors beside the pooled one; None where there are none."""
    whole = isinstance(config, TextConfig | TextImageConfig)
    return config.multi_vector_dim if whole else None


@record
class Group:
    """A run of consecutive layers equal in structure, adapters and freezing; stacked and scanned."""

    first: Annotated[int, Fact(doc="Index of the first layer.")]
    count: Annotated[int, Fact(doc="Number of layers.")]
    adapted: Annotated[
        tuple[str, ...], Fact(doc="Linear modules of a layer that carry an adapter.")
    ] = ()
    tower: Annotated[Tower | None, Fact(doc="Whose layers; null where there is one network.")] = (
        None
    )


@record
class Parameter:
    """One leaf of the parameter tree. ``path`` is dotted; ``groups.0.…`` leaves have the layers as axis 0.

    With separate towers a path begins with the side: ``query.groups.0.…``, groups being counted in each tower.
    """

    path: Annotated[str, Fact(doc="Dotted path in the tree.")]
    shape: Annotated[tuple[int, ...], Fact(doc="Shape, the stack axis first where there is one.")]
    role: Annotated[Role, Fact(doc="What it is.")]
    stacked: Annotated[
        int | None, Fact(doc="First layer of its stack; null outside the layers.")
    ] = None
    new: Annotated[
        bool, Fact(doc="Initialised by the seed rather than read from weights or another run.")
    ] = True
    decay: Annotated[bool, Fact(doc="Weight decay applies.")] = False
    trained: Annotated[bool, Fact(doc="Trained in at least one segment.")] = True

    @property
    def size(self) -> int:
        total = 1
        for n in self.shape:
            total *= n
        return total


@record
class TableRow:
    """One parameter of an architecture before layers are stacked: ``layers.3.attention.self.query.kernel``.

    ``held`` is the shape in torch's files where it is not the one of the role: a convolution's (out, in, height,
    width), or a table with axes of one.
    """

    path: str
    shape: tuple[int, ...]
    role: Role
    new: bool = True
    held: tuple[int, ...] | None = None

    @property
    def layer(self) -> int | None:
        """Index of the layer it belongs to; None outside the layers."""
        head, _, rest = tower_of(self.path)[1].partition(".")
        return int(rest.partition(".")[0]) if head == "layers" else None

    @property
    def tower(self) -> Tower | None:
        """The tower it belongs to; None where one network is shared."""
        return tower_of(self.path)[0]


@record
class AdapterMatch:
    """A linear layer that carries an adapter, and the pattern that chose it."""

    module: Annotated[str, Fact(doc="Logical path, such as layers.3.attention.self.query.")]
    target: Annotated[str, Fact(doc="The entry of target_modules.")]
    shape: Annotated[tuple[int, int], Fact(doc="(in, out).")]


@record
class AdapterStart:
    """The adapters that a run's own start from."""

    folder: Annotated[str, Fact(doc="Absolute folder.", klass="cosmetic")]
    base: Annotated[
        str | None,
        Fact(doc="The base model that adapter_config.json names; null is none.", klass="cosmetic"),
    ]
    files: Annotated[tuple[Input, ...], Fact(doc="adapter_config.json and its weights.")]


@record
class LoraPlan:
    rank: Annotated[int, Fact(doc="Rank.")]
    alpha: Annotated[float, Fact(doc="Alpha.")]
    dropout: Annotated[float, Fact(doc="Dropout on the adapter's input.")]
    scale: Annotated[float, Fact(doc="alpha / rank, or alpha / √rank.")]
    matches: Annotated[tuple[AdapterMatch, ...], Fact(doc="What matched what.")]
    init_from: Annotated[
        AdapterStart | None,
        Fact(doc="The adapters that these start from; null is the seed."),
    ] = None


@record
class WeightsPlan:
    """Files that the parameters are read from."""

    directory: Annotated[str, Fact(doc="Absolute directory.", klass="cosmetic")]
    layout: Annotated[Literal["torch", "flax"], Fact(doc="Names and orientation in the files.")]
    files: Annotated[tuple[Input, ...], Fact(doc="The files.")]

    @property
    def head(self) -> Input | None:
        """The file of the directory's own head (sentence-transformers' Dense); None where it has none."""
        return next((file for file in self.files if file.role == "head"), None)


@record
class StartPlan:
    """The run whose parameters the model starts from. Its optimizer and its losses' parameters take no part."""

    run: Annotated[str, Fact(doc="Absolute folder of the run.", klass="cosmetic")]
    name: Annotated[str, Fact(doc="Name of the run.", klass="cosmetic")]
    which: Annotated[
        Literal["best", "final"], Fact(doc="Which of its parameters.", klass="cosmetic")
    ]
    step: Annotated[int, Fact(doc="Steps after which they were saved.", klass="cosmetic")]
    file: Annotated[Input, Fact(doc="Their file.")]
    parameters_sha256: Annotated[str, Fact(doc="Digest of all their leaves.")]
    identity: Annotated[str, Fact(doc="Identity of the run's plan.")]


Reduce = Literal["mean", "sum"]
"""How MaxSim folds the query's tokens."""


@record
class MultiVectorPlan:
    """The vectors that the model gives for every token, and how texts are compared by them."""

    width: Annotated[int, Fact(doc="Width of a token vector.")]
    reduce: Annotated[Literal["mean", "sum"], Fact(doc="How MaxSim folds the query's tokens.")]
    alone: Annotated[bool, Fact(doc="Whether there is no pooled vector beside them.")]
    head: Annotated[
        Literal["projection", "own"],
        Fact(
            doc="What makes a vector of a state behind the last norm: what makes the pooled vector, or the matrix `multi_vector.kernel` of each network."
        ),
    ]
    image_vectors: Annotated[
        int | None, Fact(doc="Vectors of an image; null where texts alone are embedded.")
    ] = None
    top_k_patches: Annotated[
        int | None,
        Fact(
            doc="Patches kept of an image beside its class token, the nearest to it; null is all."
        ),
    ] = None


def token_vectors(late: MultiVectorPlan) -> str:
    """The token vectors of a model in a few words."""
    if late.image_vectors is None:
        return f"token vectors {late.width}"
    nearest = "" if late.top_k_patches is None else ", the nearest to its class token"
    return f"token vectors {late.width} ({late.image_vectors} of an image{nearest})"


@record
class ModuleCount:
    """Parameters of one top module."""

    module: Annotated[str, Fact(doc="Dotted path.")]
    total: Annotated[int, Fact(doc="Parameters.")]
    trainable: Annotated[int, Fact(doc="Of these, trained in some segment.")]


@record
class ModelPlan:
    config: Annotated[EncoderConfig, Fact(doc="The configuration, complete.")]
    groups: Annotated[tuple[Group, ...], Fact(doc="Layers, stacked.")]
    parameters: Annotated[
        tuple[Parameter, ...], Fact(doc="Every parameter, adapters and loss parameters included.")
    ]
    modules: Annotated[tuple[ModuleCount, ...], Fact(doc="Counts by module.")]
    total_parameters: Annotated[int, Fact(doc="All parameters.")]
    trainable_parameters: Annotated[int, Fact(doc="Trained in some segment.")]
    embedding_dim: Annotated[int, Fact(doc="Width of the embedding.")]
    multi_vector: Annotated[
        MultiVectorPlan | None, Fact(doc="Token vectors; null where there are none.")
    ] = None
    towers: Annotated[
        Towers,
        Fact(
            doc="One network, one for queries and one for positives, or one for texts and one for images."
        ),
    ] = "shared"
    image_processor: Annotated[
        ImageProcessor | None, Fact(doc="How images become pixels; null embeds no images.")
    ] = None
    image_weights: Annotated[
        WeightsPlan | None,
        Fact(doc="Where the weights of the image network come from; null is the seed."),
    ] = None
    decided_by: Annotated[
        str | None,
        Fact(
            doc="`model_type` of config.json where the spec leaves the family to it (`kind: auto`); else null.",
            klass="cosmetic",
        ),
    ] = None
    lora: Annotated[LoraPlan | None, Fact(doc="Adapters.")] = None
    weights: Annotated[
        WeightsPlan | None, Fact(doc="Where weights come from; null is the seed.")
    ] = None
    init_from: Annotated[
        StartPlan | None,
        Fact(doc="The run that parameters start from, instead of weights or seed; null is none."),
    ] = None


def networks(model: ModelPlan, after: str = "") -> str:
    """The networks of a model in a few words, ``after`` standing behind the first name."""
    config = model.config
    if isinstance(config, TextImageConfig):
        parts = (f"{x.kind} of {x.num_hidden_layers} layers" for x in (config.text, config.image))
        return f"{' and '.join(parts)}{after}"
    towers = "two towers of " if model.towers == "separate" else ""
    scratch = isinstance(config, TextEncoderConfig) and is_language_model(config)
    kind = "masked_lm" if scratch else config.kind
    return f"{kind}{after}, {towers}{config.num_hidden_layers} layers"
