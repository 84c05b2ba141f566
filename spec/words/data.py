"""The rows: formats, columns, lengths and what is held out."""

from dataclasses import field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record
from specrun.spec.words.difficulty import Difficulty

IMAGE_MODES = ("t2i", "i2t", "i2i", "m2t", "m2i")
"""The values of ``retrieval_mode`` that have images on some side."""


@record
class MaxLength:
    """Longest token sequences; longer texts are cut."""

    query: Annotated[
        int | None,
        Fact(
            doc="Tokens kept of a query; null is 64, or the model's positions where these are fewer.",
            ge=2,
            le=1048576,
            unit="tokens",
            examples=(64,),
        ),
    ] = None
    positive: Annotated[
        int | None,
        Fact(
            doc="Tokens kept of a positive; null is 128, or the model's positions where these are fewer.",
            ge=2,
            le=1048576,
            unit="tokens",
            examples=(128,),
        ),
    ] = None


@record
class FractionValidation:
    """A share of the rows, chosen by a hash of their content, or of the paragraph that a text comes from."""

    kind: Annotated[
        Literal["fraction"],
        Fact(
            doc="Hold out a share of the rows, chosen by a hash of their content; of `kind: text` a share of the paragraphs, with their rows of every format."
        ),
    ] = "fraction"
    fraction: Annotated[float, Fact(doc="Share of rows held out.", gt=0, lt=1, examples=(0.1,))]


@record
class FileValidation:
    """Rows of another file. Training rows that repeat one of its texts are dropped and counted."""

    kind: Annotated[
        Literal["file"], Fact(doc="Rows of another file, in the format of the training data.")
    ] = "file"
    path: Annotated[
        str,
        Fact(
            doc="File or folder with the format and columns of the training data; JSONL with `query` and `positive` beside `python_source`; texts beside `text`, cut as these are.",
            examples=("val.jsonl",),
        ),
    ]


@record
class SplitValidation:
    """Another split of the same dataset. Training rows that repeat one of its texts are dropped and counted."""

    kind: Annotated[Literal["split"], Fact(doc="Rows of another split of the same dataset.")] = (
        "split"
    )
    split: Annotated[str, Fact(doc="Name of the split.", examples=("test",))]


Validation = FractionValidation | FileValidation


DatasetValidation = FractionValidation | FileValidation | SplitValidation


@record
class MinedNegatives:
    """Hard negatives found among the training positives with the weights as they stand, anew every so many steps."""

    kind: Annotated[
        Literal["mined"],
        Fact(
            doc="Negatives found by the model itself: before the first step, and again every `refresh_every_steps`."
        ),
    ] = "mined"
    refresh_every_steps: Annotated[
        int, Fact(doc="Steps between two searches.", ge=1, unit="steps", examples=(500,))
    ]
    num_negatives: Annotated[
        int, Fact(doc="Negatives of each row, the hardest that are left.", ge=1, le=1024)
    ] = 4
    top_k: Annotated[
        int,
        Fact(
            doc="Nearest positives looked at for each query, those of its own rows not counted.",
            ge=1,
            le=16384,
        ),
    ] = 50
    skip_top: Annotated[
        int, Fact(doc="How many of the nearest are left out: likely answers.", ge=0, le=16383)
    ] = 0
    relative_margin: Annotated[
        float,
        Fact(
            doc="A text whose cosine reaches that of the row's positive × (1 − margin) is taken for an answer and left out.",
            ge=0,
            lt=1,
        ),
    ] = 0.05
    backend: Annotated[
        Literal["exact", "faiss"],
        Fact(
            doc="How the nearest are found: on the device, or by FAISS on the CPU (`pip install 'specrun[faiss]'`). Both are exact."
        ),
    ] = "exact"


@record
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
    validation: Annotated[
        Validation | None, Fact(doc="Rows held out for evaluation; null is none.")
    ] = None
    bad_rows: Annotated[
        Literal["skip", "error"],
        Fact(
            doc="What an unreadable file does: it is counted and shown, or it stops the compiling."
        ),
    ] = "skip"


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


@record
class EmojiData:
    """The emoji of a colour font, each found by its Unicode name: pictures that every machine can have."""

    kind: Annotated[
        Literal["emoji"], Fact(doc="Unicode names → the pictures of a colour font's emoji.")
    ] = "emoji"
    font: Annotated[
        str,
        Fact(
            doc="Font file with bitmaps (CBDT), or `noto-color-emoji`, which Debian's package fonts-noto-color-emoji installs.",
            examples=("noto-color-emoji",),
        ),
    ] = "noto-color-emoji"
    size: Annotated[
        int, Fact(doc="Height and width of a picture.", ge=8, le=2048, unit="pixels")
    ] = 64
    sequences: Annotated[
        bool, Fact(doc="Skin tones, professions and families too, which are several characters.")
    ] = True
    negatives: Annotated[
        MinedNegatives | None,
        Fact(doc="Negatives that are mined while training; null is none."),
    ] = None
    max_length: Annotated[MaxLength, Fact(doc="Longest token sequences.")] = field(
        default_factory=MaxLength
    )
    validation: Annotated[
        FractionValidation | None, Fact(doc="Rows held out for evaluation; null is none.")
    ] = None


TextFormat = Literal["sentences", "pairs", "paragraphs"]


@record
class TextData:
    """Texts alone: sentences, pairs of them, or paragraphs of text files, or of the docstrings of Python files."""

    kind: Annotated[
        Literal["text"], Fact(doc="Sentences or paragraphs of text files, for masked diffusion.")
    ] = "text"
    path: Annotated[
        str,
        Fact(
            doc="Text file in UTF-8, or a folder of them; blank lines are between paragraphs. Of files `*.py` the prose of the docstrings is read. `stdlib` is the running interpreter's own library.",
            examples=("corpus", "stdlib"),
        ),
    ]
    pattern: Annotated[
        str | None,
        Fact(
            doc="Which files below a folder are read; null is `**/*.txt`, and `**/*.py` of `stdlib`. Links to folders are not followed, and what begins with a dot is left out.",
            examples=("**/*.md",),
        ),
    ] = None
    format: Annotated[
        TextFormat,
        Fact(
            doc="What a row is; a stage may have its own.",
            enum_docs=(
                "A sentence.",
                "Two consecutive sentences of a paragraph, the tokenizer's separator between them.",
                "A paragraph.",
            ),
        ),
    ] = "sentences"
    min_chars: Annotated[
        int, Fact(doc="A shorter text is left out and counted.", ge=1, unit="characters")
    ] = 10
    max_chars: Annotated[
        int,
        Fact(
            doc="A longer text is cut at word bounds into consecutive pieces, a row each.",
            ge=1,
            le=1048576,
            unit="characters",
        ),
    ] = 512
    paragraph_max_sentences: Annotated[
        int,
        Fact(
            doc="A paragraph of more sentences is cut into consecutive ones of so many, whatever the format: pairs are made, and rows held out, within these.",
            ge=1,
            unit="sentences",
        ),
    ] = 10
    chunk_overlap: Annotated[
        int,
        Fact(
            doc="Words that consecutive pieces of a text that is too long share; at most half of a piece's.",
            ge=0,
            unit="words",
        ),
    ] = 50
    max_length: Annotated[
        int | None,
        Fact(
            doc="Tokens kept of a row; null is the model's positions, or 512 where these have no end.",
            ge=2,
            le=1048576,
            unit="tokens",
            examples=(256,),
        ),
    ] = None
    difficulty: Annotated[
        Difficulty | None,
        Fact(doc="Scores of the rows, for stages to select by; null computes none."),
    ] = None
    validation: Annotated[
        Validation | None, Fact(doc="Rows held out for evaluation; null is none.")
    ] = None
    bad_rows: Annotated[
        Literal["skip", "error"],
        Fact(
            doc="What an unreadable file does: it is counted and shown, or it stops the compiling."
        ),
    ] = "skip"


Data = (
    PythonSourceData
    | JsonlData
    | CsvData
    | TsvData
    | ParquetData
    | HuggingFaceData
    | EmojiData
    | TextData
)
