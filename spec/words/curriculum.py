"""Stages: which rows, which weights, what is trainable, and for how long."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class Select:
    """Rows whose field lies in a closed range, or rows between two percentiles of `data.difficulty`."""

    field: Annotated[
        str | None,
        Fact(
            doc="`query_chars`, `positive_chars`, `positive_lines`, `difficulty` where it is computed, or a numeric column of the rows.",
            examples=("positive_chars",),
        ),
    ] = None
    min: Annotated[
        float | None, Fact(doc="Smallest value of the field, included; null is no bound.")
    ] = None
    max: Annotated[
        float | None, Fact(doc="Largest value of the field, included; null is no bound.")
    ] = None
    percentile: Annotated[
        tuple[float, ...] | None,
        Fact(
            doc="Instead of a field: from which to which percentile of `data.difficulty`, the second not included.",
            ge=0,
            le=100,
            unit="%",
            examples=((20, 80),),
        ),
    ] = None


SelectClass = Literal["all", "easy", "medium", "hard"]


@record
class Stage:
    """One stage of the curriculum."""

    name: Annotated[
        str,
        Fact(
            doc="Unique name of the stage.",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            examples=("short",),
        ),
    ]
    epochs: Annotated[
        int, Fact(doc="Passes over the stage's rows.", ge=1, le=1000000, klass="horizon")
    ] = 1
    select: Annotated[
        SelectClass | Select | None,
        Fact(
            doc="Rows of the stage: a class of `data.difficulty`, a range, or null, which is all as `all` is.",
            enum_docs=(
                "All rows.",
                "Rows below the percentile `data.difficulty.easy_below`.",
                "Rows between the two percentiles.",
                "Rows above the percentile `data.difficulty.hard_above`.",
            ),
        ),
    ] = None
    loss_weights: Annotated[
        Mapping[str, float], Fact(doc="Weights by loss name that replace those of `losses`.", ge=0)
    ] = field(default_factory=dict[str, float])
    learning_rate_scale: Annotated[
        float, Fact(doc="Multiplies the schedule's learning rate.", gt=0, le=1000)
    ] = 1.0
    trainable: Annotated[
        tuple[str, ...] | None,
        Fact(
            doc="Glob patterns of parameter paths trained in this stage; null is `train.trainable`.",
            min_items=1,
            unique=True,
            examples=(("embeddings.*",),),
        ),
    ] = None
    reset_optimizer: Annotated[
        bool,
        Fact(
            doc="Start the stage with fresh optimizer state and a schedule (with warm-up) of its own."
        ),
    ] = False


@record
class Curriculum:
    """Stages, one after the other."""

    stages: Annotated[tuple[Stage, ...], Fact(doc="The stages in order.", min_items=1)]
