"""Checks of how long to train, of batches and of their chunks, and of the schedule."""

from __future__ import annotations

from specrun.compiler.chunks import CACHE, MICRO, chunk_key, chunk_rows
from specrun.compiler.cost.rule import rule_of
from specrun.compiler.meaning.effects import level_of, no_effect
from specrun.compiler.meaning.numbers import divisors, multiple, nearest
from specrun.compiler.negatives import (
    SCORED,
    negatives_of,
)
from specrun.compiler.objective import hides_tokens
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.optimizer import CosineSchedule, CosineWithRestartsSchedule


def length_given(spec: Experiment, report: Reporter) -> None:
    train = spec.train
    if train.epochs is None and train.max_steps is None and spec.curriculum is None:
        message = "nothing says how long to train"
        hint = "add `train: {epochs: 10}`, `train: {max_steps: 1000}`, or a `curriculum`"
        related = ("train.epochs", "train.max_steps", "curriculum")
        report.error("train", "missing-key", message, hint=hint, blame="key", related=related)
    if train.epochs is not None and train.max_steps is not None:
        message = "`train.epochs` has no effect: `train.max_steps` overrides it"
        if level_of(report, ("train", "epochs")) >= level_of(report, ("train", "max_steps")):
            hint = "keep one of them"
            path, related = "train.epochs", ("train.max_steps",)
            report.warning(path, "no-effect", message, hint=hint, blame="key", related=related)


def epochs_agree(spec: Experiment, report: Reporter) -> None:
    if spec.curriculum is None or spec.train.epochs is None:
        return
    if level_of(report, ("train", "epochs")) < level_of(report, ("curriculum", "stages")):
        return  # as with `max_steps`, what a preset says gives way
    total = sum(stage.epochs for stage in spec.curriculum.stages)
    if spec.train.epochs != total:
        place = report.place(("curriculum", "stages"), "key")
        where = f" ({place.file}:{place.line})" if place.line else ""
        message = (
            f"`train.epochs` is {spec.train.epochs}, and the stages{where} have {total} in all"
        )
        hint = f"remove `train.epochs`, or set it to {total}"
        related = ("curriculum",)
        report.error("train.epochs", "epochs-disagree", message, hint=hint, related=related)


def batch_divides(spec: Experiment, report: Reporter) -> None:
    rows, devices, micro = spec.train.batch_size, spec.hardware.devices, chunk_rows(spec.train)
    if rows % devices:
        message = f"`train.batch_size` {rows} is not a multiple of `hardware.devices` {devices}"
        hint = f"write {multiple(rows, devices)}"
        path, related = "train.batch_size", ("hardware.devices",)
        report.error(path, "does-not-divide", message, hint=hint, related=related)
    if micro is None:
        return
    path, related = chunk_key(spec.train), ("train.batch_size", "hardware.devices")
    fitting = [d for d in divisors(rows) if d % devices == 0]
    hint = f"sizes that fit: {', '.join(map(str, nearest(fitting, micro)))}" if fitting else ""
    if rows % micro:
        message = f"`{path}` {micro} does not divide `train.batch_size` {rows}"
        report.error(path, "does-not-divide", message, hint=hint, related=related)
    elif micro % devices:
        message = f"`{path}` {micro} is not a multiple of `hardware.devices` {devices}"
        report.error(path, "does-not-divide", message, hint=hint, related=related)


def chunks_agree(spec: Experiment, report: Reporter) -> None:
    """Gradient caching has two names, and one value."""
    cache, micro = spec.train.gradient_cache, spec.train.micro_batch_size
    if cache is None or micro is None or cache.chunk_size == micro:
        return
    message = f"`{CACHE}` is {cache.chunk_size} and `{MICRO}` is {micro}: both are the rows encoded at a time"
    hint = "keep one of them"
    report.error(CACHE, "chunks-disagree", message, hint=hint, related=(CACHE, MICRO))


def tile_fits(spec: Experiment, report: Reporter) -> None:
    rows, tile = spec.train.batch_size, spec.train.score_tile_rows
    if tile is None:
        return
    scored = any(negatives_of(loss, spec.data) in SCORED for loss in spec.losses)
    if not scored and not hides_tokens(spec):
        message = "`train.score_tile_rows` has no effect: no loss compares the rows of a batch"
        no_effect(report, ("train", "score_tile_rows"), ("losses", 0, "negatives"), message)
    if tile > rows:
        path, related = "train.score_tile_rows", ("train.batch_size",)
        message = f"`{path}` {tile} is above `train.batch_size` {rows}"
        report.error(path, "tile-too-large", message, hint="remove it", related=related)


def bytes_have_a_rule(spec: Experiment, report: Reporter) -> None:
    """The bytes of a number are of a rule of thumb, which must be one that is shown."""
    if spec.hardware.bytes_per_parameter is not None and rule_of(spec) is None:
        path, switch = ("hardware", "bytes_per_parameter"), ("hardware", "memory_multiplier")
        message = "`hardware.bytes_per_parameter` has no effect unless `memory_multiplier` is above 0; it is null"
        no_effect(report, path, switch, message)


def floor_below_peak(spec: Experiment, report: Reporter) -> None:
    peak, stages = spec.optimizer.learning_rate, spec.curriculum.stages if spec.curriculum else ()
    own = [(f"curriculum.stages[{i}].schedule", s.schedule) for i, s in enumerate(stages)]
    for where, schedule in (("schedule", spec.schedule), *own):
        floored = isinstance(schedule, (CosineSchedule, CosineWithRestartsSchedule))
        if floored and schedule.min_learning_rate > peak:
            path, related = f"{where}.min_learning_rate", ("optimizer.learning_rate",)
            message = f"`{path}` {schedule.min_learning_rate} is above the peak {peak}"
            report.error(path, "floor-above-peak", message, related=related)
