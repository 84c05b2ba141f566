"""How many tokens are kept of a text."""

from typing import Annotated

from specrun.spec.annotations import Fact
from specrun.spec.record import record


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
