"""Rows with columns: the formats of their files, and which column is what."""

from dataclasses import field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record
from specrun.spec.words.difficulty import Difficulty
from specrun.spec.words.lengths import MaxLength
from specrun.spec.words.mining import MinedNegatives
from specrun.spec.words.validation import DatasetValidation, Validation

IMAGE_MODES = ("t2i", "i2t", "i2i", "m2t", "m2i")
"""The values of ``retrieval_mode`` that have images on some side."""


@record
class Columns:
    """Which column of the rows is what."""

    query: Annotated[str, Fact(doc="Column of the query text.")] = "query"
    query_image: Annotated[
        str | None,
        Fact(
            doc="Column of the query's image, a path below `image_root`; needed where `retrieval_mode` begins with `i` or `m`.",
            examples=("query_image",),
        ),
    ] = None
    positive: Annotated[
        str,
        Fact(
            doc="Column of what is to be found: a text, or the path of an image where `retrieval_mode` ends with `i`. In jsonl, parquet and huggingface it may be a list of them, which gives a row for each; `losses[].false_negatives` keeps them from being each other's negatives."
        ),
    ] = "positive"
    negatives: Annotated[
        str | None,
        Fact(
            doc="Column of what must not be found, of the kind of the positives: one or a list. In csv and tsv a cell that begins with `[` is a JSON list. Null is none.",
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
    score: Annotated[
        str | None,
        Fact(
            doc="Column of how similar the row's two texts are, a number; a row may lack one. Null is none.",
            examples=("score",),
        ),
    ] = None
    negative_scores: Annotated[
        str | None,
        Fact(
            doc="Column of how similar the query is to each of the row's negatives, as a teacher sees it: a list of as many numbers. In csv and tsv a JSON list. Null is none.",
            examples=("negative_scores",),
        ),
    ] = None


@record
class TableData:
    """What all rows with columns have in common, whatever their file's format."""

    kind: Annotated[str, Fact(doc="Format of the file.")]
    path: Annotated[str, Fact(doc="The file.")]
    columns: Annotated[Columns, Fact(doc="Which column is what.")] = field(default_factory=Columns)
    retrieval_mode: Annotated[
        Literal["t2t", "t2i", "i2t", "i2i", "m2t", "m2i"],
        Fact(
            doc="What finds what: the first letter is the query's, the last the positive's; t is text, i an image, m both together.",
            enum_docs=(
                "Texts find texts.",
                "Texts find images.",
                "Images find texts.",
                "Images find images.",
                "A text and an image together find texts.",
                "A text and an image together find images.",
            ),
        ),
    ] = "t2t"
    image_root: Annotated[
        str,
        Fact(
            doc="Folder that paths of images are relative to; `.` is the spec's own.",
            when=("retrieval_mode", IMAGE_MODES),
            examples=("images",),
        ),
    ] = "."
    max_image_pixels: Annotated[
        int,
        Fact(
            doc="An image of more pixels is a bad row: it is not decoded.",
            ge=1,
            le=1 << 32,
            unit="pixels",
            when=("retrieval_mode", IMAGE_MODES),
        ),
    ] = 50_000_000
    max_negatives: Annotated[
        int | None,
        Fact(
            doc="Explicit negatives kept of a training row, the first ones; null keeps all. Held-out rows keep all of theirs.",
            ge=1,
            le=65536,
        ),
    ] = None
    negatives: Annotated[
        MinedNegatives | None,
        Fact(doc="Negatives that are mined while training; null is none."),
    ] = None
    max_length: Annotated[MaxLength, Fact(doc="Longest token sequences.")] = field(
        default_factory=MaxLength
    )
    difficulty: Annotated[
        Difficulty | None,
        Fact(doc="Scores of the rows, for stages to select by; null computes none."),
    ] = None
    bad_rows: Annotated[
        Literal["skip", "error"],
        Fact(doc="What a bad row does: it is counted and shown, or it stops the compiling."),
    ] = "skip"


@record
class FileData(TableData):
    """Rows with columns that have no splits of their own."""

    validation: Annotated[
        Validation | None, Fact(doc="Rows held out for evaluation; null is none.")
    ] = None


@record
class JsonlData(FileData):
    """Pairs from a JSONL file: one object a line, its keys are the columns."""

    kind: Annotated[Literal["jsonl"], Fact(doc="Rows of a JSONL file.")] = "jsonl"
    path: Annotated[str, Fact(doc="JSONL file, one object a line.", examples=("train.jsonl",))]


@record
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


@record
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


@record
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


@record
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
