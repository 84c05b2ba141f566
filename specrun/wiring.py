"""The joint of compiler and runtime: the compiler's facts, supplied by the runtime's readers that need no jax."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from specrun.compiler.facts import (
    Peek,
    Pretrained,
    PretrainedImage,
    StageLayout,
    StageRequest,
    Start,
)
from specrun.runtime.telling import Tell, silent

if TYPE_CHECKING:
    from specrun.runtime.models.image_directory import ImageDirectory
    from specrun.spec.plan.data import (
        HeldOut,
        RetrievalMode,
        Scan,
        Source,
        TokenizerPlan,
        TokenizerSource,
    )
    from specrun.spec.plan.difficulty import DifficultySettings, Scored
    from specrun.spec.plan.losses import TeacherPlan
    from specrun.spec.plan.model import AdapterStart, ModelPlan
    from specrun.spec.plan.networks import NetworkConfig
    from specrun.spec.plan.parameters import TableRow


class RuntimeFacts:
    """``compiler.facts.Facts`` from the files of this machine. Imports wait until a fact is asked for.

    ``tell`` hears how long jobs go.
    """

    def __init__(self, tell: Tell = silent):
        self._tell = tell

    def pretrained(self, directory: Path) -> Pretrained:
        from specrun.runtime.models.directory import inspect

        found = inspect(directory)
        return Pretrained(
            config=found.config,
            model_type=found.model_type,
            max_length=found.max_length,
            tokenizer=found.tokenizer,
            weights=found.weights,
            config_input=found.config_input,
            prompts=found.prompts,
            pools_prompts=found.pools_prompts,
            image=None if found.image is None else _image(found.image),
            lowercase=found.lowercase,
            vocabulary_head=found.vocabulary_head,
        )

    def model_type(self, directory: Path) -> str | None:
        from specrun.runtime.models.directory import model_type_of

        return model_type_of(directory)

    def pretrained_image(self, directory: Path) -> PretrainedImage:
        from specrun.runtime.models.image_directory import inspect_image

        return _image(inspect_image(directory))

    def font(self, name: str) -> Path:
        from specrun.runtime.data.emoji_font import find_font

        return find_font(name)

    def start(self, directory: Path) -> Start:
        from specrun.runtime.models.start import inspect_run

        found = inspect_run(directory)
        return Start(
            plan=found.plan,
            config=found.model.config,
            towers=found.model.towers,
            shapes=found.shapes,
            tokenizer=found.tokenizer,
            tokenizer_digest=found.tokenizer_digest,
        )

    def teacher(
        self, kind: Literal["pretrained", "run"], directory: Path, max_length: int | None
    ) -> TeacherPlan:
        from specrun.runtime.teacher.inspect import inspect_teacher

        return inspect_teacher(kind, directory, max_length)

    def encoder(
        self, kind: Literal["pretrained", "run"], directory: Path, max_length: int | None
    ) -> TeacherPlan:
        from specrun.runtime.teacher.inspect import inspect_teacher

        return inspect_teacher(kind, directory, max_length, "encoder")

    def adapter(self, directory: Path, model: ModelPlan) -> AdapterStart:
        from specrun.runtime.adapters.start import inspect_adapter

        return inspect_adapter(directory, model)

    def slow_bfloat16(self, platform: str) -> str:
        from specrun.runtime.machine import slow_bfloat16

        return slow_bfloat16(platform)

    def table(self, config: NetworkConfig) -> tuple[TableRow, ...]:
        from specrun.runtime.models.tables import rows

        return tuple(rows(config))

    def peek(self, source: Source, held_out: HeldOut | None) -> Peek:
        from specrun.runtime.data.peek import peek

        found = peek(source, held_out)
        return Peek(fields=tuple(found.fields), problems=tuple(found.problems))

    def scan(self, source: Source, held_out: HeldOut | None, bad_rows: str) -> Scan:
        from specrun.runtime.data.scan import scan

        return scan(source, held_out, bad_rows, self._tell)

    def difficulty(
        self, scan: Scan, settings: DifficultySettings, easy_below: float, hard_above: float
    ) -> Scored:
        from specrun.runtime.difficulty.scores import score

        return score(scan.rows_digest, settings, easy_below, hard_above, self._tell)

    def tokenizer(self, source: TokenizerSource, scan: Scan) -> TokenizerPlan:
        from specrun.runtime.data.tokenizer import prepare

        return prepare(source, scan.rows_digest, self._tell)

    def layout(
        self,
        *,
        scan: Scan,
        tokenizer: TokenizerPlan,
        max_query_length: int,
        max_positive_length: int,
        seed: int,
        batch_size: int,
        accumulation_steps: int,
        drop_last: bool,
        mode: RetrievalMode,
        scores: str | None,
        stages: tuple[StageRequest, ...],
    ) -> tuple[StageLayout, ...]:
        from specrun.runtime.data.layout import layout

        found = layout(
            scan=scan,
            tokenizer=tokenizer,
            max_query_length=max_query_length,
            max_positive_length=max_positive_length,
            seed=seed,
            batch_size=batch_size,
            accumulation_steps=accumulation_steps,
            drop_last=drop_last,
            mode=mode,
            scores=scores,
            stages=stages,
            tell=self._tell,
        )
        return tuple(
            StageLayout(
                rows=x.rows,
                steps_per_epoch=x.steps_per_epoch,
                lengths=tuple(x.lengths),
                pseudo=x.pseudo,
            )
            for x in found
        )


def _image(found: ImageDirectory) -> PretrainedImage:
    return PretrainedImage(
        config=found.config,
        processor=found.processor,
        weights=found.weights,
        config_input=found.config_input,
    )
