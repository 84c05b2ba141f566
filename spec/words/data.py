"""The rows: what they are read from. Tables and texts have files of their own."""

from dataclasses import field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record
from specrun.spec.words.difficulty import Difficulty
from specrun.spec.words.lengths import MaxLength
from specrun.spec.words.mining import MinedNegatives
from specrun.spec.words.tables import CsvData, HuggingFaceData, JsonlData, ParquetData, TsvData
from specrun.spec.words.texts import TextData
from specrun.spec.words.validation import FractionValidation, Validation


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
