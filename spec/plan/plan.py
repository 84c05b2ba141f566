"""The plan: everything a run will do, complete, immutable and hashed."""

from __future__ import annotations

from typing import Annotated, Any

from specrun.spec.annotations import Fact, FieldClass
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.cost import CostPlan
from specrun.spec.plan.data import DataPlan, TokenizerPlan
from specrun.spec.plan.difficulty import DifficultyPlan
from specrun.spec.plan.evaluation import EvaluationPlan
from specrun.spec.plan.generation import GenerationPlan
from specrun.spec.plan.losses import LossPlan, MatryoshkaPlan
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.segments import Segment, Trace
from specrun.spec.plan.tracking import TrackerPlan
from specrun.spec.plan.training import (
    AdamWPlan,
    CheckpointPlan,
    HardwarePlan,
    PrecisionPlan,
    TrainPlan,
)
from specrun.spec.record import record

FORMAT_VERSION = "1.0"


@record
class Origin:
    """One level's say about a value."""

    level: Annotated[
        str,
        Fact(
            doc="default, environment, picked (a preset by the model's name), preset, spec or override."
        ),
    ]
    place: Annotated[str, Fact(doc="File with line and column, variable, or option.")]
    value: Annotated[Any, Fact(doc="The value there.")]


@record
class Value:
    """One leaf of the merged spec, with every level that spoke; the last one won."""

    path: Annotated[str, Fact(doc="Dotted path in the spec.")]
    value: Annotated[Any, Fact(doc="The value that holds.")]
    klass: Annotated[FieldClass, Fact(doc="How a change counts.")]
    origins: Annotated[tuple[Origin, ...], Fact(doc="From the weakest level to the one that won.")]


@record
class Warning:
    """A finding that did not stop the compiling."""

    code: Annotated[str, Fact(doc="Stable code.")]
    path: Annotated[str, Fact(doc="Path in the spec.")]
    message: Annotated[str, Fact(doc="What and how to mend it.")]


@record
class Plan:
    format_version: Annotated[
        str, Fact(doc="Major.minor of this format; another major is refused.")
    ]
    specrun_version: Annotated[str, Fact(doc="Version that compiled it.", klass="cosmetic")]
    name: Annotated[str, Fact(doc="Name of the run.", klass="cosmetic")]
    output_dir: Annotated[
        str, Fact(doc="Folder of the run, relative to the working directory.", klass="cosmetic")
    ]
    seed: Annotated[int, Fact(doc="Seed of everything random.")]
    model: Annotated[ModelPlan, Fact(doc="The network.")]
    tokenizer: Annotated[TokenizerPlan, Fact(doc="The tokenizer.")]
    data: Annotated[DataPlan, Fact(doc="The rows.")]
    difficulty: Annotated[
        DifficultyPlan | None, Fact(doc="How difficult the rows are; null is not scored.")
    ] = None
    losses: Annotated[tuple[LossPlan, ...], Fact(doc="Loss terms.")]
    matryoshka: Annotated[
        MatryoshkaPlan | None, Fact(doc="Widths of the losses; null is the whole.")
    ]
    train: Annotated[TrainPlan, Fact(doc="Batches.")]
    optimizer: Annotated[AdamWPlan, Fact(doc="The optimizer.")]
    segments: Annotated[tuple[Segment, ...], Fact(doc="Step ranges in order.")]
    traces: Annotated[
        tuple[Trace, ...], Fact(doc="The training traces promised.", klass="throughput")
    ]
    precision: Annotated[PrecisionPlan, Fact(doc="Number formats.")]
    evaluation: Annotated[EvaluationPlan | None, Fact(doc="Held-out metrics; null is none.")]
    checkpoint: Annotated[CheckpointPlan, Fact(doc="Saving.")]
    tracking: Annotated[
        tuple[TrackerPlan, ...], Fact(doc="Trackers besides metrics.jsonl.", klass="cosmetic")
    ]
    generation: Annotated[
        GenerationPlan | None,
        Fact(
            doc="How texts are written; null where the model predicts no tokens.", klass="cosmetic"
        ),
    ] = None
    hardware: Annotated[HardwarePlan, Fact(doc="Devices.")]
    cost: Annotated[CostPlan, Fact(doc="Estimated cost.", klass="cosmetic")]
    values: Annotated[
        tuple[Value, ...], Fact(doc="Every value of the spec and its history.", klass="cosmetic")
    ]
    warnings: Annotated[tuple[Warning, ...], Fact(doc="Findings.", klass="cosmetic")]

    @property
    def total_epochs(self) -> int:
        """Passes over the rows of all stages together."""
        return sum(segment.epochs for segment in self.segments)

    def stage_named(self, name: str) -> int:
        """The index of the segment of a stage. InputError where there is none of the name."""
        names = [segment.stage for segment in self.segments]
        if name in names:
            return names.index(name)
        hint = f"there {'is' if len(names) == 1 else 'are'} {', '.join(f'`{n}`' for n in names)}"
        raise InputError(f"the plan has no stage {name!r}", code="no-stage", hint=hint)

    def stage_of_epoch(self, epoch: int) -> tuple[int, int]:
        """The index of the segment that an epoch of the run is in, and its number in there, both from 0.

        InputError where the run has no such epoch.
        """
        left = epoch
        for index, segment in enumerate(self.segments):
            if 0 <= left < segment.epochs:
                return index, left
            left -= segment.epochs
        raise InputError(
            f"the plan has no epoch {epoch}",
            code="no-epoch",
            hint=f"epochs count from 0 to {self.total_epochs - 1}",
        )

    def mines_in(self, segment: int) -> bool:
        """Whether the rows of a segment carry mined negatives."""
        return self.data.mining is not None and self.segments[segment].mined

    def negatives_in(self, segment: int) -> int:
        """Explicit negatives of a row in the batches of a segment at most."""
        off = self.data.mining is not None and not self.segments[segment].mined
        return 0 if off else self.data.negatives


@record
class PlanFile:
    """plan.json as written."""

    digest: Annotated[str, Fact(doc="SHA-256 of the whole plan; a changed plan is refused.")]
    identity: Annotated[str, Fact(doc="SHA-256 of the semantic fields: the identity of a run.")]
    plan: Annotated[Plan, Fact(doc="The plan.")]
