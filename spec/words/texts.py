"""Texts alone, without another side."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record
from specrun.spec.words.difficulty import Difficulty
from specrun.spec.words.validation import Validation

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
