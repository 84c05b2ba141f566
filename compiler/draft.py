"""What the passes hand on: a draft of the plan that each pass completes by its part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from specrun.compiler.facts import Facts, Pretrained, PretrainedImage, StageLayout, Start
from specrun.spec.experiment import Experiment
from specrun.spec.record import record
from specrun.spec.words.optimizer import Schedule as ScheduleWords

if TYPE_CHECKING:
    from specrun.spec.plan.cost import CostPlan
    from specrun.spec.plan.data import (
        HeldOut,
        MiningPlan,
        Scan,
        Source,
        TokenizerPlan,
        TokenizerSource,
    )
    from specrun.spec.plan.difficulty import DifficultyPlan
    from specrun.spec.plan.evaluation import EvaluationPlan
    from specrun.spec.plan.generation import GenerationPlan
    from specrun.spec.plan.images import ImageProcessor
    from specrun.spec.plan.losses import TeacherPlan
    from specrun.spec.plan.model import AdapterMatch, AdapterStart
    from specrun.spec.plan.networks import EncoderConfig
    from specrun.spec.plan.parameters import Group, Parameter, TableRow
    from specrun.spec.plan.schedule import Schedule
    from specrun.spec.plan.segments import AdvancePlan, MaskingRange, Segment, Selection, Trace
    from specrun.spec.plan.training import CheckpointPlan
    from specrun.spec.words.curriculum import PseudoData


class Report(Protocol):
    """Where passes put what they find; paths are dotted spec paths, such as ``lora.target_modules[0]``."""

    def error(self, path: str, code: str, message: str, *, hint: str = "") -> None: ...
    def warning(self, path: str, code: str, message: str, *, hint: str = "") -> None: ...


@record
class Context:
    """What surrounds the passes: outside facts, the report, the folder that relative paths start from."""

    facts: Facts
    report: Report
    folder: Path
    local: Mapping[str, Path] = field(default_factory=dict[str, Path])


@record
class StageDraft:
    """A stage with all that it inherits filled in; ``trained`` holds logical parameter paths.

    ``percentiles`` of the rows' difficulty become a selection when the rows are scored; ``said`` is what the spec calls
    them.
    """

    name: str
    path: str
    epochs: int | None
    selection: Selection | None
    loss_weights: Mapping[str, float]
    learning_rate_scale: float
    trainable: tuple[str, ...] | None
    trainable_path: str
    reset_optimizer: bool
    schedule: ScheduleWords | None = None
    transition_epochs: int = 0
    mined: bool = True
    advance: AdvancePlan | None = None
    percentiles: tuple[float, float] | None = None
    said: str = ""
    masking: MaskingRange | None = None
    pseudo: PseudoData | None = None
    trained: frozenset[str] = frozenset()


@record
class Draft:
    """The plan in the making. A field is None until its pass has run."""

    spec: Experiment
    source: Source | None = None
    held_out: HeldOut | None = None
    model_directory: Path | None = None
    tokenizer_source: TokenizerSource | None = None
    pretrained: Pretrained | None = None
    pretrained_image: PretrainedImage | None = None
    start: Start | None = None
    teacher: TeacherPlan | None = None
    encoder: TeacherPlan | None = None
    image_processor: ImageProcessor | None = None
    fields: tuple[str, ...] | None = None
    scan: Scan | None = None
    difficulty: DifficultyPlan | None = None
    tokenizer: TokenizerPlan | None = None
    config: EncoderConfig | None = None
    rows: tuple[TableRow, ...] = ()
    matches: tuple[AdapterMatch, ...] = ()
    adapter: AdapterStart | None = None
    stages: tuple[StageDraft, ...] = ()
    groups: tuple[Group, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    stacked: Mapping[str, str] = field(default_factory=dict[str, str])
    layouts: tuple[StageLayout, ...] = ()
    schedules: tuple[tuple[Schedule, int], ...] = ()
    buckets: tuple[tuple[int, int], ...] = ()
    segments: tuple[Segment, ...] = ()
    traces: tuple[Trace, ...] = ()
    evaluation: EvaluationPlan | None = None
    checkpoint: CheckpointPlan | None = None
    mining: MiningPlan | None = None
    generation: GenerationPlan | None = None
    cost: CostPlan | None = None

    @property
    def output_dir(self) -> str:
        """The folder that the run writes to."""
        return self.spec.output_dir or f"runs/{self.spec.name}"

    def need(self, name: str) -> Any:
        """The part ``name``; a part that no earlier pass has made is a fault of specrun, and says so."""
        value = getattr(self, name)
        if value is None:
            raise AssertionError(
                f"specrun itself is at fault: a pass needs {name!r}, which no earlier pass made"
            )
        return value
