"""Stages: which rows, which weights, what is trainable, and for how long."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class Select:
    """Rows whose field lies in a closed range."""

    field: Annotated[
        str,
        Fact(
            doc="`query_chars`, `positive_chars`, `positive_lines`, or a numeric column of the rows.",
            examples=("positive_chars",),
        ),
    ]
    min: Annotated[float | None, Fact(doc="Smallest value, included; null is no bound.")] = None
    max: Annotated[float | None, Fact(doc="Largest value, included; null is no bound.")] = None


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
    select: Annotated[Select | None, Fact(doc="Rows of the stage; null is all.")] = None
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
