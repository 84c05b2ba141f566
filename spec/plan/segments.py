"""The plan's steps: a segment for each stage, and the traces that they use."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Annotated

from specrun.spec.annotations import Fact
from specrun.spec.plan.data import TextFormat
from specrun.spec.plan.generation import GenerationPlan
from specrun.spec.plan.schedule import Schedule
from specrun.spec.record import record


@record
class Selection:
    """Rows of a format with ``minimum <= field <= maximum``; null is no bound. Rows without the field are not selected."""

    field: Annotated[str | None, Fact(doc="Numeric field; null is no range.")] = None
    minimum: Annotated[float | None, Fact(doc="Smallest value.")] = None
    maximum: Annotated[float | None, Fact(doc="Largest value.")] = None
    format: Annotated[
        TextFormat | None, Fact(doc="What a row is, where rows are texts; null is all rows.")
    ] = None
    said: Annotated[
        str,
        Fact(
            doc="What the spec calls these rows; empty where it names the field.", klass="cosmetic"
        ),
    ] = ""

    @property
    def words(self) -> str:
        """For people: ``easy``, ``positive_chars up to 400``, ``sentences``, or ``easy sentences``."""
        chosen = self.said or (f"{self.field} {self.bounds}" if self.field else "")
        if not self.format:
            return chosen
        return f"{chosen} {self.format}" if self.said else f"{self.format} {chosen}".strip()

    @property
    def bounds(self) -> str:
        """``up to 400``, ``2 and more``, ``2 to 400``."""
        if self.minimum is None:
            return "" if self.maximum is None else f"up to {self.maximum:g}"
        high = self.maximum
        return f"{self.minimum:g} and more" if high is None else f"{self.minimum:g} to {high:g}"


@record
class AdvancePlan:
    """A segment ends after an evaluation when the metric has not improved for so many of its evaluations."""

    metric: Annotated[str, Fact(doc="Metric, as named in results.")]
    patience: Annotated[int, Fact(doc="Evaluations without improvement.")]
    min_delta: Annotated[float, Fact(doc="Smallest improvement.")]


@record
class MaskingRange:
    """Share of tokens hidden: in epoch e of E it is ``maximum − (e / E) · (maximum − minimum)``."""

    minimum: Annotated[float, Fact(doc="Share that the last epochs come near.")]
    maximum: Annotated[float, Fact(doc="Share in the first epoch.")]


def masking_rate(span: MaskingRange, epoch: int, epochs: int) -> float:
    """Share of tokens hidden in the 0-based epoch of so many, where counts are exact."""
    return span.maximum - epoch / epochs * (span.maximum - span.minimum)


@record
class PseudoPlan:
    """Texts that the model makes of a segment's rows before its first step."""

    count: Annotated[int, Fact(doc="Rows that they take at the end of the segment's.")]
    hidden: Annotated[tuple[float, float], Fact(doc="Least and greatest share of tokens hidden.")]
    words: Annotated[tuple[int, int], Fact(doc="Least and greatest number of words.")]
    similarity: Annotated[
        tuple[float, float], Fact(doc="Least and greatest Jaccard index with the source's words.")
    ]
    unique_words: Annotated[float, Fact(doc="Least share of different words.")]
    generation: Annotated[GenerationPlan, Fact(doc="How tokens are filled in.")]


def pseudo_count(rows: int, ratio: float, most: int) -> int:
    """How many texts a model adds to so many rows: min(most, ⌊ratio · rows⌋)."""
    return min(most, floor(ratio * rows + 1e-9))  # so that 0.29 of 100 are 29, as on paper


@record
class Segment:
    """A range of optimizer steps with one set of traces. Steps are global, 0-based, half open."""

    stage: Annotated[str, Fact(doc="Name of the stage.")]
    first_step: Annotated[int, Fact(doc="First step.", klass="horizon")]
    stop_step: Annotated[int, Fact(doc="Step after the last.", klass="horizon")]
    epochs: Annotated[
        int, Fact(doc="Passes over the rows, the last possibly cut by max_steps.", klass="horizon")
    ]
    rows: Annotated[int, Fact(doc="Rows selected.")]
    steps_per_epoch: Annotated[int, Fact(doc="Optimizer steps in an epoch.")]
    selection: Annotated[Selection | None, Fact(doc="Which rows; null is all.")]
    loss_weights: Annotated[
        Mapping[str, float], Fact(doc="Weight by loss; losses of weight 0 are left out.")
    ]
    masking: Annotated[
        MaskingRange | None, Fact(doc="Share of tokens hidden; null where no loss hides any.")
    ] = None
    learning_rate_scale: Annotated[float, Fact(doc="Multiplies the rate.")]
    schedule: Annotated[Schedule, Fact(doc="The rate; its step counts from schedule_start.")]
    schedule_start: Annotated[
        int, Fact(doc="Global step at which the schedule's step is 0.", klass="horizon")
    ]
    trained: Annotated[tuple[str, ...], Fact(doc="Paths of the parameters that train.")]
    reset_optimizer: Annotated[bool, Fact(doc="Fresh optimizer state for all that trains.")]
    fresh: Annotated[tuple[str, ...], Fact(doc="Paths that get fresh optimizer state on entering.")]
    traces: Annotated[tuple[str, ...], Fact(doc="Names of the traces it uses.", klass="throughput")]
    transition_epochs: Annotated[
        int,
        Fact(
            doc="n: in epoch j of the first n an example is of this segment with probability (j+1)/(n+1), else of the one before."
        ),
    ] = 0
    mined: Annotated[
        bool, Fact(doc="Whether its losses take mined negatives, where the plan mines any.")
    ] = True
    pseudo: Annotated[
        PseudoPlan | None, Fact(doc="Texts that the model adds to its rows; null is none.")
    ] = None
    advance: Annotated[
        AdvancePlan | None, Fact(doc="What ends it before stop_step; null is nothing.")
    ] = None


@record
class Trace:
    """One traced training step: everything here is static in it."""

    name: Annotated[str, Fact(doc="Name.")]
    query_length: Annotated[int, Fact(doc="Padded length of queries.", unit="tokens")]
    positive_length: Annotated[int, Fact(doc="Padded length of positives.", unit="tokens")]
    losses: Annotated[tuple[str, ...], Fact(doc="Losses computed.")]
    segments: Annotated[tuple[int, ...], Fact(doc="Segments that use it.")]
    steps: Annotated[int, Fact(doc="Steps that use it.")]
