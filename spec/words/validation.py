"""What is held out of the rows."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


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
