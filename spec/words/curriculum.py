"""Stages: which rows, which weights, what is trainable, and for how long."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record
from specrun.spec.words.evaluation import METRIC
from specrun.spec.words.optimizer import Schedule
from specrun.spec.words.texts import TextFormat


@record
class Select:
    """Rows whose field lies in a closed range, or rows between two percentiles of `data.difficulty`."""

    field: Annotated[
        str | None,
        Fact(
            doc="`query_chars`, `positive_chars`, `positive_lines` (of texts, `query_chars` alone), `difficulty` where it is computed, or a numeric column of the rows.",
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
class Advance:
    """End a stage before its last epoch when a metric no longer improves in it.

    Its steps that are left are skipped; `evaluation.early_stopping` begins to count anew with the next stage.
    """

    metric: Annotated[
        str | None,
        Fact(
            doc="Metric that must improve, named as `evaluation.select_best` is; null is that one.",
            pattern=METRIC,
            examples=("ndcg@10",),
        ),
    ] = None
    patience: Annotated[
        int,
        Fact(doc="Evaluations of the stage without improvement before it ends.", ge=1),
    ] = 3
    min_delta: Annotated[float, Fact(doc="Smallest change that counts as improvement.", ge=0)] = 0.0


@record
class PseudoData:
    """Texts that the model makes, when the stage begins, of the stage's own: some tokens hidden and filled in again."""

    ratio: Annotated[
        float, Fact(doc="So many texts for each row of the stage, rounded down.", gt=0, le=1)
    ] = 0.25
    max_samples: Annotated[int, Fact(doc="At most so many.", ge=1, le=1000000)] = 100
    masking_rate: Annotated[
        tuple[float, ...],
        Fact(
            doc="Least and greatest share of a text's tokens that are hidden; each text draws its own.",
            ge=0,
            le=1,
            min_items=2,
            examples=((0.2, 0.4),),
        ),
    ] = (0.2, 0.4)
    min_words: Annotated[int, Fact(doc="A text of fewer words is left out.", ge=1)] = 3
    max_words: Annotated[int, Fact(doc="A text of more words is left out.", ge=1)] = 512
    similarity: Annotated[
        tuple[float, ...],
        Fact(
            doc="Least and greatest Jaccard index of the sets of words of a text and of the one it was made of; others are left out.",
            ge=0,
            le=1,
            min_items=2,
            examples=((0.3, 0.95),),
        ),
    ] = (0.3, 0.95)
    min_unique_words: Annotated[
        float,
        Fact(doc="Least share of different words in a text; others are left out.", ge=0, le=1),
    ] = 0.5


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
    masking_rate: Annotated[
        tuple[float, ...] | None,
        Fact(
            doc="Least and greatest share of a text's tokens that `masked_diffusion` hides in this stage; null is the loss's.",
            ge=0,
            le=1,
            min_items=2,
            examples=((0.75, 0.9),),
        ),
    ] = None
    format: Annotated[
        TextFormat | None,
        Fact(
            doc="What a row of the stage is, for `data` of the kind `text`; null is `data.format`. `select` takes its classes and percentiles within it.",
            enum_docs=("Sentences.", "Pairs of sentences.", "Paragraphs."),
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
        bool | None,
        Fact(
            doc="Start the stage with fresh optimizer state, and the schedule with its warm-up from its start; null is `curriculum.reset_optimizer`."
        ),
    ] = None
    schedule: Annotated[
        Schedule | None,
        Fact(
            doc="The learning rate over this stage alone, its steps counted from the stage's start; null shares the spec's `schedule`, which starts anew after a stage with its own."
        ),
    ] = None
    transition_epochs: Annotated[
        int | None,
        Fact(
            doc="First epochs that mix in rows of the stage before; null is `curriculum.transition_epochs`.",
            ge=0,
            le=1000000,
            examples=(2,),
        ),
    ] = None
    mining: Annotated[
        bool | None,
        Fact(
            doc="Whether the losses take the negatives that `data.negatives` mines; null is yes where they are mined."
        ),
    ] = None
    pseudo_data: Annotated[
        PseudoData | None,
        Fact(
            doc="Texts that the model itself adds to the stage's rows, under `masked_diffusion`, as `generation` says; null adds none."
        ),
    ] = None
    advance: Annotated[
        Advance | None,
        Fact(
            doc="End the stage early, after an evaluation, when a metric no longer improves; its epochs are the bound. Null never does."
        ),
    ] = None


@record
class Curriculum:
    """Stages, one after the other."""

    transition_epochs: Annotated[
        int,
        Fact(
            doc="In the first n epochs of every stage but the first an example is of that stage with probability (j+1)/(n+1) in epoch j = 0, 1, …, and of the stage before it otherwise. At most the stage's own epochs; 0 is none.",
            ge=0,
            le=1000000,
            examples=(2,),
        ),
    ] = 0
    reset_optimizer: Annotated[
        bool,
        Fact(
            doc="Start every stage but the first with fresh optimizer state and the schedule from its start; a stage's own `reset_optimizer` wins."
        ),
    ] = False
    stages: Annotated[tuple[Stage, ...], Fact(doc="The stages in order.", min_items=1)]
