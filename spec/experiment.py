"""The typed spec: every word a user may write, with its type, range, default and meaning.

This file is the one source. The JSON Schemas in ``schemas/``, completion and hovers in the editor, defaults,
checks and ``specrun explain`` are all made from it. A union is closed and told apart by ``kind``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact

# --- model -----------------------------------------------------------------------------------------------------------

_TOWERS = Fact(
    doc="One network for queries and positives, or a network of its own for each.",
    enum_docs=(
        "One network embeds both sides.",
        "Two networks: paths begin with `query.` and `positive.`, and what is new in them starts differently.",
    ),
)

_DIRECTORY = "Directory with config.json and weights, or a name mapped in specrun.local.yaml or found in the Hugging Face cache."


@dataclass(frozen=True, kw_only=True)
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
        Literal["gelu", "swiglu"],
        Fact(
            doc="Feed-forward activation (erf GELU, or SwiGLU with its own gate matrix).",
            when=("num_hidden_layers", "positive"),
        ),
    ] = "gelu"
    position_embedding: Annotated[
        Literal["none", "learned", "rotary"],
        Fact(doc="How positions enter: not, as a learned table, or by rotation of q and k."),
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
    layer_norm_eps: Annotated[float, Fact(doc="Epsilon of every LayerNorm.", gt=0, le=0.1)] = 1e-5
    initializer_range: Annotated[
        float, Fact(doc="Standard deviation of the normal initialisation.", gt=0, le=10)
    ] = 0.02
    pooling: Annotated[
        Literal["mean", "cls"], Fact(doc="Mean over valid tokens, or the first token.")
    ] = "mean"
    final_layer_norm: Annotated[bool, Fact(doc="LayerNorm on the pooled vector.")] = True
    projection_dim: Annotated[
        int | None,
        Fact(doc="Width of a linear head without bias; null is no head.", ge=1, le=65536),
    ] = None
    towers: Annotated[Literal["shared", "separate"], _TOWERS] = "shared"


@dataclass(frozen=True, kw_only=True)
class PretrainedModel:
    """What the encoders read from a Hugging Face directory have in common."""

    kind: Annotated[str, Fact(doc="The family.")]
    name_or_path: Annotated[str, Fact(doc=_DIRECTORY, examples=("models/all-MiniLM-L6-v2",))]
    hidden_dropout_prob: Annotated[
        float | None,
        Fact(doc="Dropout on embeddings and block outputs; null takes config.json's.", ge=0, lt=1),
    ] = None
    attention_probs_dropout_prob: Annotated[
        float | None,
        Fact(doc="Dropout on attention probabilities; null takes config.json's.", ge=0, lt=1),
    ] = None
    pooling: Annotated[
        Literal["mean", "cls"] | None,
        Fact(doc="Pooling; null takes the directory's sentence-transformers pooling, else mean."),
    ] = None
    projection_dim: Annotated[
        int | None,
        Fact(doc="Width of a new linear head without bias; null is no head.", ge=1, le=65536),
    ] = None
    towers: Annotated[Literal["shared", "separate"], _TOWERS] = "shared"


@dataclass(frozen=True, kw_only=True)
class BertModel(PretrainedModel):
    """A BERT-family encoder (BERT, MiniLM) read from a Hugging Face directory."""

    kind: Annotated[
        Literal["bert"], Fact(doc="A BERT encoder read from a Hugging Face directory.")
    ] = "bert"


@dataclass(frozen=True, kw_only=True)
class RobertaModel(PretrainedModel):
    """A RoBERTa-family encoder (RoBERTa, XLM-R, CamemBERT) read from a Hugging Face directory."""

    kind: Annotated[
        Literal["roberta"],
        Fact(doc="A RoBERTa or XLM-R encoder read from a Hugging Face directory."),
    ] = "roberta"
    name_or_path: Annotated[str, Fact(doc=_DIRECTORY, examples=("models/xlm-roberta-base",))]


Model = TextEncoderModel | BertModel | RobertaModel

# --- tokenizer -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainTokenizer:
    """A byte-level BPE trained on the training rows."""

    kind: Annotated[Literal["train"], Fact(doc="Train a BPE tokenizer on the training rows.")] = (
        "train"
    )
    vocab_size: Annotated[
        int, Fact(doc="Size of the vocabulary, special tokens included.", ge=300, le=1000000)
    ] = 8192
    min_frequency: Annotated[int, Fact(doc="A pair must occur this often to be merged.", ge=1)] = 2
    lowercase: Annotated[bool, Fact(doc="Lower-case the text first.")] = True
    split_identifiers: Annotated[
        bool, Fact(doc="Split snake_case and camelCase words before merging.")
    ] = True


@dataclass(frozen=True, kw_only=True)
class FileTokenizer:
    """A ready ``tokenizer.json``."""

    kind: Annotated[Literal["file"], Fact(doc="A ready tokenizer.json.")] = "file"
    path: Annotated[
        str,
        Fact(
            doc="The tokenizer.json, or a directory that holds one.", examples=("tokenizer.json",)
        ),
    ]


Tokenizer = TrainTokenizer | FileTokenizer

# --- data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MaxLength:
    """Longest token sequences; longer texts are cut."""

    query: Annotated[int, Fact(doc="Tokens kept of a query.", ge=2, le=1048576, unit="tokens")] = 64
    positive: Annotated[
        int, Fact(doc="Tokens kept of a positive.", ge=2, le=1048576, unit="tokens")
    ] = 128


@dataclass(frozen=True, kw_only=True)
class FractionValidation:
    """A share of the rows, chosen by a hash of their content."""

    kind: Annotated[
        Literal["fraction"],
        Fact(doc="Hold out a share of the rows, chosen by a hash of their content."),
    ] = "fraction"
    fraction: Annotated[float, Fact(doc="Share of rows held out.", gt=0, lt=1, examples=(0.1,))]


@dataclass(frozen=True, kw_only=True)
class FileValidation:
    """Rows of another file. Training rows that repeat one of its texts are dropped and counted."""

    kind: Annotated[
        Literal["file"], Fact(doc="Rows of another file, in the format of the training data.")
    ] = "file"
    path: Annotated[
        str,
        Fact(
            doc="File or folder with the format and columns of the training data; JSONL with `query` and `positive` beside `python_source`.",
            examples=("val.jsonl",),
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class SplitValidation:
    """Another split of the same dataset. Training rows that repeat one of its texts are dropped and counted."""

    kind: Annotated[Literal["split"], Fact(doc="Rows of another split of the same dataset.")] = (
        "split"
    )
    split: Annotated[str, Fact(doc="Name of the split.", examples=("test",))]


Validation = FractionValidation | FileValidation
DatasetValidation = FractionValidation | FileValidation | SplitValidation


@dataclass(frozen=True, kw_only=True)
class PythonSourceData:
    """Pairs from Python source: first paragraph of a docstring → the function without its docstring."""

    kind: Annotated[
        Literal["python_source"], Fact(doc="Docstring → function pairs from Python source trees.")
    ] = "python_source"
    roots: Annotated[
        tuple[str, ...],
        Fact(
            doc="Folders or files to read; `stdlib` is the running interpreter's own library.",
            min_items=1,
            unique=True,
            examples=(("stdlib",), ("src",)),
        ),
    ]
    exclude: Annotated[
        tuple[str, ...],
        Fact(
            doc="Glob patterns, relative to a root, of files left out.",
            unique=True,
            examples=(("tests/**",),),
        ),
    ] = ()
    max_length: Annotated[MaxLength, Fact(doc="Longest token sequences.")] = field(
        default_factory=MaxLength
    )
    validation: Annotated[
        Validation | None, Fact(doc="Rows held out for evaluation; null is none.")
    ] = None
    bad_rows: Annotated[
        Literal["skip", "error"],
        Fact(
            doc="What an unreadable file does: it is counted and shown, or it stops the compiling."
        ),
    ] = "skip"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column of the rows is what."""

    query: Annotated[str, Fact(doc="Column of the query text.")] = "query"
    positive: Annotated[str, Fact(doc="Column of the text to be found.")] = "positive"
    negatives: Annotated[
        str | None,
        Fact(
            doc="Column of texts that must not be found: a text or a list of texts. In csv and tsv a cell that begins with `[` is a JSON list. Null is none.",
            examples=("negatives",),
        ),
    ] = None
    label: Annotated[
        str | None,
        Fact(
            doc="Column of the row's class, a whole number or a text; a row may lack one. Null is none.",
            examples=("label",),
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TableData:
    """What all rows with columns have in common, whatever their file's format."""

    kind: Annotated[str, Fact(doc="Format of the file.")]
    path: Annotated[str, Fact(doc="The file.")]
    columns: Annotated[Columns, Fact(doc="Which column is what.")] = field(default_factory=Columns)
    max_negatives: Annotated[
        int | None,
        Fact(
            doc="Explicit negatives kept of a training row, the first ones; null keeps all. Held-out rows keep all of theirs.",
            ge=1,
            le=65536,
        ),
    ] = None
    max_length: Annotated[MaxLength, Fact(doc="Longest token sequences.")] = field(
        default_factory=MaxLength
    )
    bad_rows: Annotated[
        Literal["skip", "error"],
        Fact(doc="What a bad row does: it is counted and shown, or it stops the compiling."),
    ] = "skip"


@dataclass(frozen=True, kw_only=True)
class FileData(TableData):
    """Rows with columns that have no splits of their own."""

    validation: Annotated[
        Validation | None, Fact(doc="Rows held out for evaluation; null is none.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class JsonlData(FileData):
    """Pairs from a JSONL file: one object a line, its keys are the columns."""

    kind: Annotated[Literal["jsonl"], Fact(doc="Rows of a JSONL file.")] = "jsonl"
    path: Annotated[str, Fact(doc="JSONL file, one object a line.", examples=("train.jsonl",))]


@dataclass(frozen=True, kw_only=True)
class CsvData(FileData):
    """Pairs from a CSV file in UTF-8 whose first row names the columns."""

    kind: Annotated[Literal["csv"], Fact(doc="Rows of a CSV file.")] = "csv"
    path: Annotated[
        str,
        Fact(doc="CSV file in UTF-8; its first row names the columns.", examples=("train.csv",)),
    ]
    delimiter: Annotated[
        str,
        Fact(
            doc="The character between fields.",
            pattern=r'^[^"\r\n\x00]$',
            examples=(";",),
        ),
    ] = ","


@dataclass(frozen=True, kw_only=True)
class TsvData(FileData):
    """Pairs from a file like CSV with tabs between the fields."""

    kind: Annotated[Literal["tsv"], Fact(doc="Rows of a file with tabs between the fields.")] = (
        "tsv"
    )
    path: Annotated[
        str,
        Fact(
            doc="TSV file in UTF-8, quoted as CSV is; its first row names the columns.",
            examples=("train.tsv",),
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class ParquetData(FileData):
    """Pairs from a Parquet file, or from all those in a folder."""

    kind: Annotated[
        Literal["parquet"], Fact(doc="Rows of a Parquet file, or of a folder of them.")
    ] = "parquet"
    path: Annotated[
        str,
        Fact(
            doc="Parquet file, or a folder whose `.parquet` files are read in the order of their names.",
            examples=("train.parquet",),
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class HuggingFaceData(TableData):
    """Pairs from a folder that ``save_to_disk`` of Hugging Face's datasets wrote."""

    kind: Annotated[
        Literal["huggingface"], Fact(doc="Rows of a folder written by datasets' save_to_disk.")
    ] = "huggingface"
    path: Annotated[
        str,
        Fact(
            doc="Folder that `save_to_disk` wrote, of a Dataset or a DatasetDict.",
            examples=("train_dataset",),
        ),
    ]
    split: Annotated[
        str | None,
        Fact(doc="Split of a DatasetDict; null for a Dataset.", examples=("train",)),
    ] = None
    validation: Annotated[
        DatasetValidation | None, Fact(doc="Rows held out for evaluation; null is none.")
    ] = None


Data = PythonSourceData | JsonlData | CsvData | TsvData | ParquetData | HuggingFaceData

# --- losses and combinators ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InfoNCELoss:
    """Cross-entropy of cosine similarities over temperature against the diagonal of the batch."""

    kind: Annotated[
        Literal["infonce"], Fact(doc="InfoNCE with in-batch and explicit negatives.")
    ] = "infonce"
    temperature: Annotated[
        float, Fact(doc="Divides the cosines; the start value when it is trained.", gt=0, le=100)
    ] = 0.07
    train_temperature: Annotated[
        bool, Fact(doc="Train the temperature as exp of a scalar, kept at 0.01 or above.")
    ] = False
    negatives: Annotated[
        Literal["in_batch", "own", "all"] | None,
        Fact(
            doc="What each query is told from: the other rows' positives (`in_batch`), its row's explicit negatives only (`own`), or these of every row and the other positives (`all`). Null is `all` where the data has negatives, else `in_batch`. Rows of one label are never each other's negatives."
        ),
    ] = None
    symmetric: Annotated[
        bool,
        Fact(
            doc="Mean of query→positive and positive→query.",
            when=("negatives", (None, "in_batch", "all")),
        ),
    ] = True
    name: Annotated[
        str | None,
        Fact(
            doc="Name for stages and metrics; null is the kind.",
            examples=("retrieval",),
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        ),
    ] = None
    weight: Annotated[float, Fact(doc="Factor in the weighted sum.", ge=0, le=1000000)] = 1.0


Loss = InfoNCELoss


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters on linear layers; the base model is frozen."""

    rank: Annotated[int, Fact(doc="Rank of the update.", ge=1, le=65536)] = 8
    alpha: Annotated[float, Fact(doc="Scale: the update is multiplied by alpha / rank.", gt=0)] = (
        16.0
    )
    dropout: Annotated[float, Fact(doc="Dropout on the adapter's input.", ge=0, lt=1)] = 0.0
    target_modules: Annotated[
        tuple[str, ...],
        Fact(
            doc="Linear layers by last name, dotted suffix or glob.",
            min_items=1,
            unique=True,
            examples=(("query", "value"),),
        ),
    ]
    rslora: Annotated[bool, Fact(doc="Rank-stabilised scale, alpha / √rank.")] = False


@dataclass(frozen=True, kw_only=True)
class Matryoshka:
    """The losses, summed over prefixes of the embedding."""

    dims: Annotated[
        tuple[int, ...],
        Fact(
            doc="Prefix widths; unique, at most the embedding's width.",
            ge=1,
            min_items=1,
            unique=True,
            examples=((256, 128, 64),),
        ),
    ]
    weights: Annotated[
        tuple[float, ...] | None,
        Fact(
            doc="One weight per entry of `dims`; null is 1 each.",
            ge=0,
            min_items=1,
            examples=((1, 0.5, 0.25),),
        ),
    ] = None
    reduce: Annotated[
        Literal["sum", "mean"],
        Fact(doc="Weighted sum over dims, or that sum over the number of dims."),
    ] = "sum"


# --- curriculum ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Select:
    """Rows whose field lies in a closed range."""

    field: Annotated[
        str,
        Fact(
            doc="`query_chars`, `positive_chars`, `positive_lines`, or a numeric column of the rows.",
            examples=("positive_chars",),
        ),
    ]
    min: Annotated[float | None, Fact(doc="Smallest value, included; null is no bound.")] = None
    max: Annotated[float | None, Fact(doc="Largest value, included; null is no bound.")] = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the curriculum."""

    name: Annotated[
        str,
        Fact(
            doc="Unique name of the stage.",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            examples=("short",),
        ),
    ]
    epochs: Annotated[
        int, Fact(doc="Passes over the stage's rows.", ge=1, le=1000000, klass="horizon")
    ] = 1
    select: Annotated[Select | None, Fact(doc="Rows of the stage; null is all.")] = None
    loss_weights: Annotated[
        Mapping[str, float], Fact(doc="Weights by loss name that replace those of `losses`.", ge=0)
    ] = field(default_factory=dict[str, float])
    learning_rate_scale: Annotated[
        float, Fact(doc="Multiplies the schedule's learning rate.", gt=0, le=1000)
    ] = 1.0
    trainable: Annotated[
        tuple[str, ...] | None,
        Fact(
            doc="Glob patterns of parameter paths trained in this stage; null is `train.trainable`.",
            min_items=1,
            unique=True,
            examples=(("embeddings.*",),),
        ),
    ] = None
    reset_optimizer: Annotated[
        bool,
        Fact(
            doc="Start the stage with fresh optimizer state and a schedule (with warm-up) of its own."
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """Stages, one after the other."""

    stages: Annotated[tuple[Stage, ...], Fact(doc="The stages in order.", min_items=1)]


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Train:
    """How long, in what batches, and with what memory."""

    batch_size: Annotated[
        int, Fact(doc="Rows in one forward pass over all devices.", ge=1, le=16777216, unit="rows")
    ] = 64
    accumulation_steps: Annotated[
        int, Fact(doc="Forward passes per optimizer step.", ge=1, le=65536)
    ] = 1
    epochs: Annotated[
        int | None,
        Fact(
            doc="Passes over the training rows; null with `max_steps` or a curriculum.",
            ge=1,
            le=1000000,
            klass="horizon",
        ),
    ] = None
    max_steps: Annotated[
        int | None,
        Fact(doc="Optimizer steps; overrides epochs.", ge=1, le=1000000000, klass="horizon"),
    ] = None
    drop_last: Annotated[
        bool, Fact(doc="Drop the short last batch of an epoch instead of padding it.")
    ] = False
    max_grad_norm: Annotated[
        float, Fact(doc="Clip the gradient to this global L2 norm; 0 is off.", ge=0)
    ] = 1.0
    trainable: Annotated[
        tuple[str, ...] | None,
        Fact(
            doc="Glob patterns of parameter paths that train; null is all, or with `lora` the adapters and new heads. Trained temperatures are not named here: they always train.",
            min_items=1,
            unique=True,
            examples=(("layers.*", "final_norm.*"),),
        ),
    ] = None
    micro_batch_size: Annotated[
        int | None,
        Fact(
            doc="Rows encoded at a time; the loss still sees the whole batch. Null is all at once.",
            ge=1,
            unit="rows",
            klass="throughput",
        ),
    ] = None
    score_tile_rows: Annotated[
        int | None,
        Fact(
            doc="Rows of the in-batch score matrix computed at a time, and again going backward. Null is all up to 64 MiB of scores, above it as many as fill 64 MiB.",
            ge=1,
            unit="rows",
            klass="throughput",
        ),
    ] = None
    gradient_checkpointing: Annotated[
        bool,
        Fact(
            doc="Recompute each layer in the backward pass instead of storing it.",
            klass="throughput",
        ),
    ] = False
    unroll: Annotated[
        int | None,
        Fact(
            doc="Layers per iteration of the scan over layers: more run faster and compile longer. Null is all of up to 12 layers, and 1 above or with `gradient_checkpointing`.",
            ge=1,
            le=512,
            klass="throughput",
        ),
    ] = None
    length_buckets: Annotated[
        int,
        Fact(
            doc="Padded lengths the plan may choose among; a batch takes the smallest that fits. One trace each.",
            ge=1,
            le=16,
            klass="throughput",
        ),
    ] = 1
    log_every_steps: Annotated[
        int, Fact(doc="Steps between rows of metrics.jsonl.", ge=1, unit="steps", klass="cosmetic")
    ] = 10


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay."""

    kind: Annotated[Literal["adamw"], Fact(doc="Adam with decoupled weight decay.")] = "adamw"
    learning_rate: Annotated[float, Fact(doc="Peak learning rate.", gt=0, le=100)] = 1e-4
    weight_decay: Annotated[
        float, Fact(doc="Decoupled decay, times the learning rate.", ge=0, le=100)
    ] = 0.01
    beta1: Annotated[float, Fact(doc="Decay of the first moment.", ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Fact(doc="Decay of the second moment.", ge=0, lt=1)] = 0.999
    eps: Annotated[float, Fact(doc="Added to the root of the second moment.", gt=0)] = 1e-8
    no_decay: Annotated[
        tuple[str, ...],
        Fact(
            doc="Glob patterns of parameter paths without decay, besides biases, norm scales and loss temperatures.",
            unique=True,
            examples=(("embeddings.*",),),
        ),
    ] = ()


Optimizer = AdamW

_RATIO = Fact(
    doc="Warm-up as a share of the total steps, rounded up.", ge=0, le=1, klass="semantic"
)
_STEPS = Fact(doc="Warm-up in steps.", ge=0, le=1000000000, unit="steps", klass="semantic")
_FLOOR = Fact(doc="Learning rate the decay ends at.", ge=0)


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule:
    """The peak learning rate throughout."""

    kind: Annotated[Literal["constant"], Fact(doc="The peak learning rate throughout.")] = (
        "constant"
    )


@dataclass(frozen=True, kw_only=True)
class ConstantWithWarmupSchedule:
    """Linear warm-up, then constant."""

    kind: Annotated[Literal["constant_with_warmup"], Fact(doc="Linear warm-up, then constant.")] = (
        "constant_with_warmup"
    )
    warmup_ratio: Annotated[float | None, _RATIO] = None
    warmup_steps: Annotated[int | None, _STEPS] = None


@dataclass(frozen=True, kw_only=True)
class LinearSchedule:
    """Linear warm-up, then linear decay to 0."""

    kind: Annotated[Literal["linear"], Fact(doc="Linear warm-up, then linear decay to 0.")] = (
        "linear"
    )
    warmup_ratio: Annotated[float | None, _RATIO] = None
    warmup_steps: Annotated[int | None, _STEPS] = None


@dataclass(frozen=True, kw_only=True)
class CosineSchedule:
    """Linear warm-up, then half a cosine down to the floor."""

    kind: Annotated[
        Literal["cosine"], Fact(doc="Linear warm-up, then half a cosine down to the floor.")
    ] = "cosine"
    warmup_ratio: Annotated[float | None, _RATIO] = None
    warmup_steps: Annotated[int | None, _STEPS] = None
    min_learning_rate: Annotated[float, _FLOOR] = 0.0


@dataclass(frozen=True, kw_only=True)
class CosineWithRestartsSchedule:
    """Linear warm-up, then cosine periods that restart, each longer by a factor."""

    kind: Annotated[
        Literal["cosine_with_restarts"],
        Fact(doc="Linear warm-up, then cosine periods that restart."),
    ] = "cosine_with_restarts"
    warmup_ratio: Annotated[float | None, _RATIO] = None
    warmup_steps: Annotated[int | None, _STEPS] = None
    min_learning_rate: Annotated[float, _FLOOR] = 0.0
    first_period_steps: Annotated[
        int, Fact(doc="Steps of the first period.", ge=1, unit="steps")
    ] = 1000
    period_multiplier: Annotated[
        float, Fact(doc="Each period is this many times the one before.", ge=1, le=1000)
    ] = 2.0


Schedule = (
    ConstantSchedule
    | ConstantWithWarmupSchedule
    | LinearSchedule
    | CosineSchedule
    | CosineWithRestartsSchedule
)


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Number formats."""

    compute: Annotated[
        Literal["float32", "bfloat16"],
        Fact(
            doc="Operands of products in the layers, and what these keep for the backward pass. Sums, norms, softmax, pooling, losses, parameters and optimizer state are float32 either way; bfloat16 has float32's range, so losses are not scaled."
        ),
    ] = "float32"
    matmul: Annotated[
        Literal["default", "high", "highest"],
        Fact(doc="Precision of float32 products on accelerators (`default` lets a GPU use TF32)."),
    ] = "highest"


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop when the selected metric no longer improves."""

    patience: Annotated[int, Fact(doc="Evaluations without improvement before stopping.", ge=1)] = 3
    min_delta: Annotated[float, Fact(doc="Smallest change that counts as improvement.", ge=0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Retrieval over all held-out rows."""

    every_steps: Annotated[
        int | None,
        Fact(
            doc="Steps between evaluations; null evaluates at the end of each epoch.",
            ge=1,
            unit="steps",
        ),
    ] = None
    at_start: Annotated[bool, Fact(doc="Evaluate before the first step too.")] = False
    batch_size: Annotated[
        int, Fact(doc="Rows encoded at a time.", ge=1, le=1048576, unit="rows", klass="throughput")
    ] = 256
    metrics: Annotated[
        tuple[str, ...],
        Fact(
            doc="mrr@k, ndcg@k and recall@k, for any k.",
            min_items=1,
            unique=True,
            pattern=r"^(mrr|ndcg|recall)@[1-9][0-9]{0,5}$",
            examples=(("mrr@10", "recall@10"),),
        ),
    ] = ("mrr@10", "ndcg@10", "recall@1", "recall@10")
    select_best: Annotated[
        str,
        Fact(
            doc="Metric of `metrics` that chooses the best checkpoint, ` at D` for a Matryoshka dimension.",
            pattern=r"^(mrr|ndcg|recall)@[1-9][0-9]{0,5}( at [1-9][0-9]*)?$",
            examples=("ndcg@10", "mrr@10 at 64"),
        ),
    ] = "mrr@10"
    early_stopping: Annotated[
        EarlyStopping | None, Fact(doc="Stop when `select_best` no longer improves; null is never.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """When state is saved and how much of it is kept."""

    every_steps: Annotated[
        int | None,
        Fact(
            doc="Steps between checkpoints; null is the end of each epoch.",
            ge=1,
            unit="steps",
            klass="throughput",
        ),
    ] = None
    keep: Annotated[
        int,
        Fact(doc="Newest checkpoints kept, besides the best one.", ge=2, le=1000, klass="cosmetic"),
    ] = 2


@dataclass(frozen=True, kw_only=True)
class TensorBoardTracking:
    """Event files for TensorBoard. Needs the extra `tensorboard` where the run happens."""

    kind: Annotated[Literal["tensorboard"], Fact(doc="Event files for TensorBoard.")] = (
        "tensorboard"
    )
    log_dir: Annotated[
        str | None,
        Fact(
            doc="Folder of the event files, relative to the working directory; null is `tensorboard` in the run's folder.",
            examples=("logs/first",),
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class WandbTracking:
    """A run of Weights & Biases. Needs the extra `wandb` where the run happens."""

    kind: Annotated[Literal["wandb"], Fact(doc="A run of Weights & Biases.")] = "wandb"
    project: Annotated[
        str,
        Fact(
            doc="Project that the run belongs to.",
            pattern=r"^[^/\\#?%:]{1,128}$",
            examples=("search",),
        ),
    ]
    entity: Annotated[
        str | None, Fact(doc="User or team that owns the project; null is the account's default.")
    ] = None
    mode: Annotated[
        Literal["offline", "online"],
        Fact(doc="`offline` writes to the run's folder, for `wandb sync`; `online` sends."),
    ] = "offline"
    tags: Annotated[tuple[str, ...], Fact(doc="Tags of the run.", unique=True)] = ()


Tracking = TensorBoardTracking | WandbTracking


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where the plan runs."""

    platform: Annotated[
        Literal["auto", "cpu", "gpu"],
        Fact(doc="Device kind; `auto` takes a GPU where there is one.", klass="throughput"),
    ] = "auto"
    devices: Annotated[
        int, Fact(doc="Devices the batch is split over.", ge=1, le=65536, klass="throughput")
    ] = 1
    deterministic: Annotated[
        bool,
        Fact(doc="Forbid GPU kernels whose result varies from run to run.", klass="throughput"),
    ] = True
    max_memory_gb: Annotated[
        float | None,
        Fact(
            doc="Memory of each device, in GB of 2^30 bytes (GiB); a plan that needs more is refused. Null checks nothing.",
            gt=0,
            le=1000000,
            unit="GB",
            klass="throughput",
            examples=(16, 80),
        ),
    ] = None
    memory_margin: Annotated[
        float,
        Fact(
            doc="Share of `max_memory_gb` kept free.",
            ge=0,
            lt=1,
            klass="throughput",
            when=("max_memory_gb", "positive"),
        ),
    ] = 0.1


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A specrun spec: what to train, on what, and how."""

    version: Annotated[Literal[1], Fact(doc="Version of the spec's language.", klass="cosmetic")]
    name: Annotated[
        str, Fact(doc="Name of the run.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", klass="cosmetic")
    ] = "run"
    extends: Annotated[
        tuple[str, ...],
        Fact(
            doc="Presets by name, or YAML files by path, merged in order below this file.",
            unique=True,
            klass="cosmetic",
            examples=(("search_small",),),
        ),
    ] = ()
    seed: Annotated[
        int, Fact(doc="Seed of initialisation, shuffling and dropout.", ge=0, le=2**32 - 1)
    ] = 0
    output_dir: Annotated[
        str | None,
        Fact(
            doc="Folder of the run, relative to the working directory; null is runs/NAME.",
            klass="cosmetic",
            examples=("runs/first",),
        ),
    ] = None
    model: Annotated[Model, Fact(doc="The network.")]
    tokenizer: Annotated[
        Tokenizer | None, Fact(doc="The tokenizer; null is the pretrained model's own.")
    ] = None
    data: Annotated[Data, Fact(doc="The rows.")]
    losses: Annotated[
        tuple[Loss, ...], Fact(doc="Loss terms; their weighted sum is minimised.", min_items=1)
    ]
    lora: Annotated[Lora | None, Fact(doc="Low-rank adapters; null is none.")] = None
    matryoshka: Annotated[
        Matryoshka | None,
        Fact(doc="Losses over prefixes of the embedding; null is the whole width only."),
    ] = None
    curriculum: Annotated[
        Curriculum | None, Fact(doc="Stages; null is one stage over all rows.")
    ] = None
    train: Annotated[Train, Fact(doc="Length, batches and memory.")] = field(default_factory=Train)
    optimizer: Annotated[Optimizer, Fact(doc="The optimizer.")] = field(default_factory=AdamW)
    schedule: Annotated[Schedule, Fact(doc="The learning rate over the steps.")] = field(
        default_factory=ConstantSchedule
    )
    precision: Annotated[Precision, Fact(doc="Number formats.")] = field(default_factory=Precision)
    evaluation: Annotated[
        Evaluation | None, Fact(doc="Retrieval metrics on held-out rows; null is none.")
    ] = None
    checkpoint: Annotated[Checkpoint, Fact(doc="Saving.")] = field(default_factory=Checkpoint)
    tracking: Annotated[
        tuple[Tracking, ...],
        Fact(
            doc="Where metrics go besides metrics.jsonl; each kind once. A tracker that fails never stops the run.",
            klass="cosmetic",
        ),
    ] = ()
    hardware: Annotated[Hardware, Fact(doc="Where it runs.")] = field(default_factory=Hardware)
