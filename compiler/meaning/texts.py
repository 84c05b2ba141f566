"""Checks of rows that are texts: how they are cut, and which formats the stages take."""

from __future__ import annotations

from collections.abc import Callable

from specrun.compiler.meaning.effects import level_of, no_effect
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.texts import TextData


def pieces_are_kept(spec: Experiment, report: Reporter) -> None:
    """What a text is cut to is not too short to be kept."""
    if isinstance(spec.data, TextData) and spec.data.min_chars > spec.data.max_chars:
        least, most = "data.min_chars", "data.max_chars"
        message = f"`{least}` {spec.data.min_chars} is above `max_chars` {spec.data.max_chars}: every text would be left out"
        if level_of(report, ("data", "min_chars")):
            report.error(least, "empty-range", message, hint="lower it", related=(most,))
        else:
            report.error(most, "empty-range", message, hint="raise it", related=(least,))


def formats_are_taken(spec: Experiment, report: Reporter) -> None:
    """Only texts have formats, and the data's own is that of some stage."""
    stages = spec.curriculum.stages if spec.curriculum else ()
    if isinstance(spec.data, TextData):
        if stages and all(stage.format is not None for stage in stages):
            switch = ("curriculum", "stages", 0, "format")
            message = "`data.format` has no effect: every stage has its own"
            no_effect(report, ("data", "format"), switch, message)
        return
    for index, stage in enumerate(stages):
        if stage.format is not None:
            path, related = f"curriculum.stages[{index}].format", ("data.kind",)
            message = f"`{path}` has no effect: only rows of `data.kind: text` have formats"
            hint = "remove it"
            report.error(path, "no-effect", message, hint=hint, blame="key", related=related)


TEXT_CHECKS: tuple[Callable[[Experiment, Reporter], None], ...] = (
    pieces_are_kept,
    formats_are_taken,
)
