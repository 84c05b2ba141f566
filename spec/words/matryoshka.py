"""Prefixes of the embedding that train as embeddings of their own."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
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
