"""Checks of losses and of the stages that weigh them."""

from __future__ import annotations

from collections.abc import Sequence

from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.curriculum import Select, Stage
from specrun.spec.words.losses import (
    InfoNCELoss,
    Loss,
)
from specrun.spec.words.texts import TextData


def loss_name(loss: Loss) -> str:
    """The name by which stages and metrics call a loss."""
    return loss.name or loss.kind


def names_unique(spec: Experiment, report: Reporter) -> None:
    losses = [(loss_name(x), f"losses[{i}]", x.name) for i, x in enumerate(spec.losses)]
    _unique([(name, f"{at}.name" if given else at) for name, at, given in losses], "losses", report)
    stages = spec.curriculum.stages if spec.curriculum else ()
    paths = [(s.name, f"curriculum.stages[{i}].name") for i, s in enumerate(stages)]
    _unique(paths, "stages", report)


def _unique(names: Sequence[tuple[str, str]], what: str, report: Reporter) -> None:
    first: dict[str, str] = {}
    for name, path in names:
        other = first.setdefault(name, path)
        if other != path:
            message = f"two {what} have the name `{name}`"
            hint = "give each a `name` of its own"
            report.error(path, "duplicate-name", message, hint=hint, related=(path, other))


def weights_leave_something(spec: Experiment, report: Reporter) -> None:
    own = {loss_name(loss): loss.weight for loss in spec.losses}
    related = tuple(f"losses[{i}].weight" for i in range(len(spec.losses)))
    if not spec.curriculum and not any(own.values()):
        message = "all losses have weight 0, so nothing would be trained"
        report.error("losses[0].weight", "all-weights-zero", message, related=related)
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        path = f"curriculum.stages[{index}].loss_weights"
        if not any((own | dict(stage.loss_weights)).values()):
            message = f"all losses have weight 0 in stage `{stage.name}`"
            report.error(path, "all-weights-zero", message, related=(path, *related))


def weights_name_losses(spec: Experiment, report: Reporter) -> None:
    names = [loss_name(loss) for loss in spec.losses]
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        for name in stage.loss_weights:
            if name not in names:
                path = ("curriculum", "stages", index, "loss_weights", name)
                message = f"no loss has the name `{name}`"
                hint = f"there is {', '.join(f'`{n}`' for n in names)}"
                related = ("losses",)
                report.error(path, "unknown-loss", message, hint=hint, blame="key", related=related)


def stages_select(spec: Experiment, report: Reporter) -> None:
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        field = "query_chars" if isinstance(spec.data, TextData) else "positive_chars"
        _select(stage, f"curriculum.stages[{index}]", field, report)


def _select(stage: Stage, path: str, field: str, report: Reporter) -> None:
    select = stage.select
    if not isinstance(select, Select) or select.percentile is not None:
        return
    if select.field is None:
        message = f"`{path}.select` names neither a `field` nor a `percentile`"
        hint = f"write `field: {field}`, or a class of the rows' difficulty: `select: easy`"
        related = (f"{path}.select",)
        report.error(f"{path}.select", "no-field", message, hint=hint, related=related)
    elif select.min is None and select.max is None:
        message = f"`{path}.select` has neither `min` nor `max`"
        hint = "give one, or remove `select` to take all rows"
        related = (f"{path}.select.min", f"{path}.select.max")
        report.error(f"{path}.select", "no-bounds", message, hint=hint, related=related)
    elif select.min is not None and select.max is not None and select.min > select.max:
        message = f"`{path}.select.min` {select.min} is above `max` {select.max}"
        related = (f"{path}.select.max",)
        report.error(f"{path}.select.min", "empty-range", message, related=related)


def temperature_in_range(spec: Experiment, report: Reporter) -> None:
    """A trained temperature is held at 0.01 or above, so it cannot start below."""
    for index, loss in enumerate(spec.losses):
        if not isinstance(loss, InfoNCELoss):
            continue
        if loss.train_temperature and loss.temperature < 0.01:
            path = f"losses[{index}].temperature"
            message = (
                f"a trained temperature is held at 0.01 or above, and {loss.temperature} is below"
            )
            related = (path, f"losses[{index}].train_temperature")
            hint = "start at 0.01 or above, or fix it with `train_temperature: false`"
            report.error(path, "out-of-range", message, hint=hint, related=related)
