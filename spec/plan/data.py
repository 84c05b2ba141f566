"""The plan's data, tokenizer and inputs."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class Input:
    """A file or a set of files that shaped the plan."""

    role: Annotated[str, Fact(doc="What it is for: data, validation, tokenizer, config, weights.")]
    path: Annotated[str, Fact(doc="Absolute path when compiled.", klass="cosmetic")]
    digest: Annotated[str, Fact(doc="SHA-256 of the content (of names and contents for a folder).")]
    bytes: Annotated[int, Fact(doc="Size.", unit="bytes", klass="cosmetic")]
    files: Annotated[int, Fact(doc="Number of files read.", klass="cosmetic")] = 1


@record
class PythonSource:
    kind: Annotated[Literal["python_source"], Fact(doc="Docstring and function pairs.")] = (
        "python_source"
    )
    roots: Annotated[tuple[str, ...], Fact(doc="Absolute folders or files.", klass="cosmetic")]
    exclude: Annotated[tuple[str, ...], Fact(doc="Glob patterns left out.")] = ()


RetrievalMode = Literal["t2t", "t2i", "i2t", "i2i", "m2t", "m2i"]

Modality = Literal["text", "image", "both"]
MODALITIES: dict[str, Modality] = {"t": "text", "i": "image", "m": "both"}


@record
class ImageSource:
    """Where the rows' images lie, and the most pixels that one may have."""

    root: Annotated[str, Fact(doc="Absolute folder.", klass="cosmetic")]
    max_pixels: Annotated[int, Fact(doc="Most pixels of an image.", unit="pixels")]


@record
class TableSource:
    """What all sources of rows with columns have in common."""

    kind: Annotated[str, Fact(doc="Format.")]
    path: Annotated[str, Fact(doc="Absolute path.", klass="cosmetic")]
    query: Annotated[str, Fact(doc="Column of the query.")] = "query"
    query_image: Annotated[str | None, Fact(doc="Column of the query's image; null is none.")] = (
        None
    )
    positive: Annotated[str, Fact(doc="Column of the positive.")] = "positive"
    negatives: Annotated[str | None, Fact(doc="Column of the negatives; null is none.")] = None
    label: Annotated[str | None, Fact(doc="Column of the label; null is none.")] = None
    score: Annotated[str | None, Fact(doc="Column of the score; null is none.")] = None
    negative_scores: Annotated[
        str | None, Fact(doc="Column of the negatives' scores; null is none.")
    ] = None
    max_negatives: Annotated[
        int | None, Fact(doc="Negatives kept of a training row; null is all.")
    ] = None
    retrieval_mode: Annotated[RetrievalMode, Fact(doc="What finds what.")] = "t2t"
    images: Annotated[ImageSource | None, Fact(doc="The rows' images; null is none.")] = None


@record
class JsonlSource(TableSource):
    kind: Annotated[Literal["jsonl"], Fact(doc="JSON rows.")] = "jsonl"


@record
class CsvSource(TableSource):
    kind: Annotated[Literal["csv"], Fact(doc="A CSV file.")] = "csv"
    delimiter: Annotated[str, Fact(doc="Between fields.")] = ","


@record
class TsvSource(TableSource):
    kind: Annotated[Literal["tsv"], Fact(doc="A file with tabs between fields.")] = "tsv"


@record
class ParquetSource(TableSource):
    kind: Annotated[Literal["parquet"], Fact(doc="A Parquet file or a folder of them.")] = "parquet"


@record
class HuggingFaceSource(TableSource):
    kind: Annotated[Literal["huggingface"], Fact(doc="A folder of datasets' save_to_disk.")] = (
        "huggingface"
    )
    split: Annotated[str | None, Fact(doc="Split of a DatasetDict; null for a Dataset.")] = None


@record
class EmojiSource(TableSource):
    """The pictures of a font, which are drawn into the cache when they are needed."""

    kind: Annotated[Literal["emoji"], Fact(doc="A font's emoji.")] = "emoji"
    path: Annotated[str, Fact(doc="Absolute path of the font.", klass="cosmetic")]
    size: Annotated[int, Fact(doc="Height and width of a picture.", unit="pixels")]
    sequences: Annotated[bool, Fact(doc="Those of several characters too.")]


TextFormat = Literal["sentences", "pairs", "paragraphs"]
TEXT_FORMATS: tuple[TextFormat, ...] = ("sentences", "pairs", "paragraphs")
FORMAT = "format"
"""The numeric field of such rows that says what they are, by its place among ``TEXT_FORMATS``."""


@record
class TextSource:
    """Plain text files, and how their paragraphs become rows."""

    kind: Annotated[Literal["text"], Fact(doc="Texts alone.")] = "text"
    path: Annotated[str, Fact(doc="Absolute file or folder.", klass="cosmetic")]
    pattern: Annotated[str, Fact(doc="Files of a folder.")]
    formats: Annotated[
        tuple[TextFormat, ...], Fact(doc="What rows are made, in the order of their numbers.")
    ]
    min_chars: Annotated[int, Fact(doc="Shorter texts are left out.", unit="characters")]
    max_chars: Annotated[int, Fact(doc="Longer texts are cut.", unit="characters")]
    paragraph_max_sentences: Annotated[
        int, Fact(doc="Longer paragraphs are cut.", unit="sentences")
    ]
    chunk_overlap: Annotated[int, Fact(doc="Words that pieces of a text share.", unit="words")]


Table = JsonlSource | CsvSource | TsvSource | ParquetSource | HuggingFaceSource
Source = (
    PythonSource
    | JsonlSource
    | CsvSource
    | TsvSource
    | ParquetSource
    | HuggingFaceSource
    | EmojiSource
    | TextSource
)


def texts_only(source: Source) -> bool:
    """Whether a row is one text, and not a pair of something."""
    return isinstance(source, TextSource)


def modality(source: Source | TableSource, side: Literal["query", "positive"]) -> Modality:
    """What one side of the rows is made of."""
    if not isinstance(source, TableSource):
        return "text"
    letter = source.retrieval_mode[0 if side == "query" else -1]
    return MODALITIES[letter]


def has_images(source: Source) -> bool:
    """Whether some side of the rows has images."""
    return isinstance(source, TableSource) and source.images is not None


@record
class HeldOutFraction:
    kind: Annotated[
        Literal["fraction"], Fact(doc="Rows whose content hash falls below the fraction.")
    ] = "fraction"
    fraction: Annotated[float, Fact(doc="Share held out.")]


@record
class HeldOutFile:
    kind: Annotated[Literal["file"], Fact(doc="Rows of another file.")] = "file"
    source: Annotated[Table | TextSource, Fact(doc="The file and its columns, or the texts.")]


@record
class HeldOutSplit:
    kind: Annotated[Literal["split"], Fact(doc="Rows of another split.")] = "split"
    source: Annotated[HuggingFaceSource, Fact(doc="The split and its columns.")]


HeldOut = HeldOutFraction | HeldOutFile | HeldOutSplit


@record
class BadRows:
    """Rows or files of one kind of fault, left out."""

    reason: Annotated[str, Fact(doc="Class of the fault.")]
    count: Annotated[int, Fact(doc="How many.")]
    places: Annotated[tuple[str, ...], Fact(doc="The first few places.", klass="cosmetic")]


@record
class FieldRange:
    """A numeric field of the training rows that a stage may select by."""

    name: Annotated[str, Fact(doc="Name of the field.")]
    count: Annotated[int, Fact(doc="Rows that have it.")]
    minimum: Annotated[float, Fact(doc="Smallest value.")]
    maximum: Annotated[float, Fact(doc="Largest value.")]


@record
class FormatCount:
    """What became of the texts of one format. Rows read are those of training and held out, repeated ones and dropped ones."""

    format: Annotated[TextFormat, Fact(doc="What a row is.")]
    rows_read: Annotated[int, Fact(doc="Rows made of the texts.")]
    cut: Annotated[int, Fact(doc="Texts longer than the most characters, which are several rows.")]
    too_short: Annotated[int, Fact(doc="Texts left out: shorter than the least characters.")]
    alone: Annotated[int, Fact(doc="Paragraphs of one sentence, which give no pair.")]
    duplicates: Annotated[int, Fact(doc="Rows that repeat another of the format.")]
    dropped_by_split: Annotated[int, Fact(doc="Training rows that repeat a held-out one.")]
    training_rows: Annotated[int, Fact(doc="Rows trained on.")]
    validation_rows: Annotated[int, Fact(doc="Rows held out.")]


@record
class Scan:
    """What a full read of the data found. Rows are canonical: de-duplicated, split, in a fixed order."""

    inputs: Annotated[tuple[Input, ...], Fact(doc="Files read.")]
    rows_digest: Annotated[str, Fact(doc="SHA-256 of the canonical rows artefact.")]
    rows_read: Annotated[int, Fact(doc="Rows read, the bad ones included.")]
    bad: Annotated[tuple[BadRows, ...], Fact(doc="Rows left out, by class.")]
    duplicates: Annotated[
        int, Fact(doc="Rows that repeat both texts of another; it takes over their negatives.")
    ]
    dropped_by_split: Annotated[
        int, Fact(doc="Rows left out because they share a text across the split.")
    ]
    training_rows: Annotated[int, Fact(doc="Rows trained on.")]
    validation_rows: Annotated[int, Fact(doc="Rows held out.")]
    fields: Annotated[tuple[FieldRange, ...], Fact(doc="Numeric fields.")]
    negatives: Annotated[
        int, Fact(doc="Most explicit negatives of a training row; 0 is none anywhere.")
    ] = 0
    labels: Annotated[int, Fact(doc="Different labels of training rows; 0 is none.")] = 0
    scores: Annotated[int, Fact(doc="Different scores of training rows; 0 is none.")] = 0
    negative_scores: Annotated[
        int, Fact(doc="Explicit negatives of training rows that have a score; 0 is none.")
    ] = 0
    repeated: Annotated[
        int,
        Fact(
            doc="Training rows that have their query or their positive with another row in common, and not its label: each other's false negatives."
        ),
    ] = 0
    formats: Annotated[
        tuple[FormatCount, ...], Fact(doc="Counts of rows that are texts, by format.")
    ] = ()


@record
class MiningPlan:
    """Negatives that the run finds itself, each time with the weights after the steps named."""

    kind: Annotated[Literal["mined"], Fact(doc="Found by the model.")] = "mined"
    after: Annotated[
        tuple[int, ...], Fact(doc="Numbers of finished steps; the first is 0.", klass="horizon")
    ]
    num_negatives: Annotated[int, Fact(doc="Negatives of each row.")]
    top_k: Annotated[int, Fact(doc="Nearest texts looked at.")]
    skip_top: Annotated[int, Fact(doc="Nearest texts left out.")]
    relative_margin: Annotated[float, Fact(doc="Share of the positive's cosine kept free.")]
    backend: Annotated[Literal["exact", "faiss"], Fact(doc="How the nearest are found.")]
    batch_size: Annotated[int, Fact(doc="Texts encoded at a time.", unit="rows")]


@record
class DataPlan:
    source: Annotated[Source, Fact(doc="Where rows come from.")]
    validation: Annotated[HeldOut | None, Fact(doc="What is held out.")]
    bad_rows: Annotated[Literal["skip", "error"], Fact(doc="Policy for bad rows.")]
    scan: Annotated[Scan, Fact(doc="What was found.")]
    max_query_length: Annotated[int, Fact(doc="Tokens kept of a query.", unit="tokens")]
    max_positive_length: Annotated[int, Fact(doc="Tokens kept of a positive.", unit="tokens")]
    mining: Annotated[MiningPlan | None, Fact(doc="Mined negatives; null is none.")] = None

    @property
    def negatives(self) -> int:
        """Explicit negatives of a row at most, mined or of the data; 0 is none anywhere."""
        return self.scan.negatives if self.mining is None else self.mining.num_negatives


@record
class TrainedTokenizer:
    kind: Annotated[Literal["train"], Fact(doc="BPE trained on the training rows.")] = "train"
    vocab_size: Annotated[int, Fact(doc="Largest vocabulary.")]
    min_frequency: Annotated[int, Fact(doc="Least count of a merged pair.")]
    lowercase: Annotated[bool, Fact(doc="Lower-cased first.")]
    split_identifiers: Annotated[bool, Fact(doc="Identifiers split first.")]
    masks: Annotated[
        bool, Fact(doc="Whether `[MASK]` and `[SEP]` are among its special tokens.")
    ] = False


@record
class TokenizerFile:
    kind: Annotated[Literal["file"], Fact(doc="A ready tokenizer.json.")] = "file"
    path: Annotated[str, Fact(doc="Absolute path of the tokenizer.json.", klass="cosmetic")]
    lowercase: Annotated[
        bool, Fact(doc="Texts are lower-cased first, as the model's own class of tokenizer does.")
    ] = False


TokenizerSource = TrainedTokenizer | TokenizerFile


@record
class Prompts:
    """What is put before every text of a side, and tokenised with it."""

    query: Annotated[str, Fact(doc="Before queries; empty is nothing.")] = ""
    positive: Annotated[str, Fact(doc="Before positives, and negatives.")] = ""

    @property
    def any(self) -> bool:
        """Whether a side has one."""
        return bool(self.query or self.positive)


@record
class TokenizerPlan:
    source: Annotated[TokenizerSource, Fact(doc="How it came to be.")]
    digest: Annotated[str, Fact(doc="SHA-256 of the tokenizer.json text.")]
    vocab_size: Annotated[int, Fact(doc="Number of ids (largest id + 1).")]
    pad_id: Annotated[int, Fact(doc="Id that pads.")]
    mask_id: Annotated[
        int | None, Fact(doc="Id shown where a token is hidden; null where there is no such token.")
    ] = None
    around: Annotated[
        tuple[int, ...], Fact(doc="Ids that it puts around every text, which are never hidden.")
    ] = ()
    prompts: Annotated[Prompts, Fact(doc="What is put before the texts.")] = field(
        default_factory=Prompts
    )
