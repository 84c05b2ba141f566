"""Negatives that the model finds while it trains."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


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
