"""Checks of how stages follow one another: transitions, resets, schedules, mining, and what ends a stage early."""

from __future__ import annotations

from collections.abc import Callable

from specrun.compiler.meaning.effects import no_effect
from specrun.compiler.negatives import mined_of, negatives_of
from specrun.compiler.objective import best_of
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.curriculum import Stage


def first_stage_has_none_before(spec: Experiment, report: Reporter) -> None:
    """Nothing is reset or mixed on entering the first stage."""
    if spec.curriculum is None:
        return
    first = spec.curriculum.stages[0]
    for key, value, why in (
        ("reset_optimizer", first.reset_optimizer, "the optimizer is fresh when the run begins"),
        ("transition_epochs", first.transition_epochs, "no stage is before the first"),
    ):
        if value:
            path = f"curriculum.stages[0].{key}"
            message = f"`{path}` has no effect: {why}"
            report.error(path, "no-effect", message, hint="remove it", blame="key")


def shared_words_reach_a_stage(spec: Experiment, report: Reporter) -> None:
    """What is said for all stages holds for one of them at least."""
    if spec.curriculum is None:
        return
    curriculum, later = spec.curriculum, spec.curriculum.stages[1:]
    if curriculum.reset_optimizer and all(s.reset_optimizer is not None for s in later):
        _reaches_none("reset_optimizer", len(later), report)
    if curriculum.transition_epochs and all(s.transition_epochs is not None for s in later):
        _reaches_none("transition_epochs", len(later), report)
    if all(s.schedule is not None for s in curriculum.stages):
        message = "`schedule` has no effect: every stage of the curriculum has its own"
        no_effect(report, ("schedule",), ("curriculum", "stages", 0, "schedule"), message)


def _reaches_none(key: str, later: int, report: Reporter) -> None:
    why = "every stage after the first has its own" if later else "there is only one stage"
    message = f"`curriculum.{key}` has no effect: {why}"
    path = ("curriculum", key)
    no_effect(report, path, ("curriculum", "stages", min(later, 1), key), message)


def transitions_fit(spec: Experiment, report: Reporter) -> None:
    """A transition is at most all of its stage."""
    if spec.curriculum is None:
        return
    for index, stage in enumerate(spec.curriculum.stages):
        own = stage.transition_epochs is not None
        wanted = stage.transition_epochs if own else spec.curriculum.transition_epochs
        if index and wanted and wanted > stage.epochs:
            path = f"curriculum.stages[{index}].transition_epochs" if own else _SHARED
            message = (
                f"`{path}` is {wanted}, and stage {stage.name!r} has {_epochs(stage)}: "
                "all of them are the transition"
            )
            related = (f"curriculum.stages[{index}].epochs",)
            report.warning(path, "capped", message, hint="lower it", related=related)


_SHARED = "curriculum.transition_epochs"


def _epochs(stage: Stage) -> str:
    return f"{stage.epochs} epoch{'s' if stage.epochs > 1 else ''}"


def stages_advance(spec: Experiment, report: Reporter) -> None:
    """A stage that may end early is evaluated, and has a stage behind it."""
    stages = spec.curriculum.stages if spec.curriculum else ()
    for index, stage in enumerate(stages):
        if stage.advance is None:
            continue
        path = f"curriculum.stages[{index}].advance"
        if spec.evaluation is None:
            message = f"`{path}` has no effect: `evaluation` is missing, and nothing is measured"
            hint = "add `evaluation: {}` and `data.validation`, or remove it"
            related = ("evaluation",)
            report.error(path, "no-evaluation", message, hint=hint, blame="key", related=related)
        if index == len(stages) - 1:
            message = f"`{path}`: no stage is behind the last to advance to"
            hint = "remove it; `evaluation.early_stopping` ends a run early"
            related = ("evaluation.early_stopping",)
            report.error(path, "no-next-stage", message, hint=hint, blame="key", related=related)
        else:
            _stops_first(spec, index, report)


def _stops_first(spec: Experiment, index: int, report: Reporter) -> None:
    """Early stopping is asked before a stage is ended, and forgets when one is."""
    assert spec.curriculum is not None
    rule, evaluation = spec.curriculum.stages[index].advance, spec.evaluation
    stopping = evaluation.early_stopping if evaluation else None
    if rule is None or evaluation is None or stopping is None:
        return
    same = rule.metric in (None, best_of(spec, evaluation))
    if same and stopping.patience <= rule.patience and stopping.min_delta >= rule.min_delta:
        path = f"curriculum.stages[{index}].advance.patience"
        related = ("evaluation.early_stopping.patience",)
        message = (
            f"`{path}` is {rule.patience}, and `{related[0]}` {stopping.patience} of the same metric: "
            "the run stops before the stage advances"
        )
        hint = "lower it below early stopping's"
        report.warning(path, "stops-first", message, hint=hint, related=related)


def stages_mine(spec: Experiment, report: Reporter) -> None:
    """Stages switch on and off what the data mines, one at least takes it, and the losses can do without elsewhere."""
    if spec.curriculum is None:
        return
    stages = spec.curriculum.stages
    for index, stage in enumerate(stages):
        path = f"curriculum.stages[{index}].mining"
        if stage.mining is not None and mined_of(spec.data) is None:
            message = f"`{path}` has no effect: `data.negatives` mines nothing"
            hint = "add `data: {negatives: {kind: mined, refresh_every_steps: N}}`, or remove it"
            related = ("data.negatives",)
            report.error(path, "no-effect", message, hint=hint, blame="key", related=related)
        elif stage.mining is False:
            _own_are_mined(spec, stage, path, report)
    if mined_of(spec.data) is not None and all(s.mining is False for s in stages):
        message = "`data.negatives` has no effect: no stage mines (`mining: false`)"
        hint = "let a stage mine, or remove `data.negatives`"
        related = ("curriculum.stages[0].mining",)
        report.error(
            "data.negatives", "no-effect", message, hint=hint, blame="key", related=related
        )


def _own_are_mined(spec: Experiment, stage: Stage, path: str, report: Reporter) -> None:
    """A loss that compares a row with its own negatives alone has none where none are mined."""
    for index, loss in enumerate(spec.losses):
        weight = stage.loss_weights.get(loss.name or loss.kind, loss.weight)
        if weight > 0 and negatives_of(loss, spec.data) == "own":
            at = f"losses[{index}].negatives"
            message = (
                f"`{path}` is false, and `{loss.name or loss.kind}` takes only a row's own negatives, "
                "which are the mined ones"
            )
            hint = f"write `{at}: all`, or weigh the loss 0 in stage {stage.name!r}"
            report.error(path, "no-negatives", message, hint=hint, related=(at,))


CURRICULUM_CHECKS: tuple[Callable[[Experiment, Reporter], None], ...] = (
    first_stage_has_none_before,
    shared_words_reach_a_stage,
    transitions_fit,
    stages_advance,
    stages_mine,
)
