"""The tokenizer: trained on the rows, or read from a file."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record

LEAST_VOCABULARY = 300
"""All bytes, the special tokens, and some pairs."""


@record
class TrainTokenizer:
    """A byte-level BPE trained on the training rows."""

    kind: Annotated[Literal["train"], Fact(doc="Train a BPE tokenizer on the training rows.")] = (
        "train"
    )
    vocab_size: Annotated[
        int,
        Fact(
            doc="Size of the vocabulary, special tokens included.", ge=LEAST_VOCABULARY, le=1000000
        ),
    ] = 8192
    min_frequency: Annotated[int, Fact(doc="A pair must occur this often to be merged.", ge=1)] = 2
    lowercase: Annotated[
        bool | None,
        Fact(
            doc="Lower-case the text first; null is false where a loss hides tokens, since what such a model writes keeps its capitals, and else true."
        ),
    ] = None
    split_identifiers: Annotated[
        bool | None,
        Fact(
            doc="Split snake_case and camelCase words before merging; null is false where a loss hides tokens, since what such a model writes keeps its words, and else true."
        ),
    ] = None


@record
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
