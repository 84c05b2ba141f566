"""Passes for the curriculum: what each stage is, and whether the data has what it selects by."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, assert_never, get_args

from specrun.compiler.draft import Context, Draft, StageDraft
from specrun.compiler.negatives import mined_of
from specrun.compiler.objective import best_of
from specrun.compiler.passes.difficulty import expected_fields
from specrun.compiler.passes.masking import masking_of
from specrun.spec.experiment import Experiment
from specrun.spec.words.curriculum import Curriculum, Select, SelectClass, Stage
from specrun.spec.words.data import EmojiData
from specrun.spec.words.texts import TextData, TextFormat

if TYPE_CHECKING:
    from specrun.spec.plan.segments import AdvancePlan, Selection


def draft_stages(draft: Draft, context: Context) -> Draft:
    """The curriculum's stages with everything they inherit, or the one stage of a spec without a curriculum."""
    weights = {loss.name or loss.kind: loss.weight for loss in draft.spec.losses}
    train = draft.spec.train
    curriculum = draft.spec.curriculum
    if curriculum is None:
        only = StageDraft(
            name="train",
            path="train",
            epochs=train.epochs,
            selection=None,
            loss_weights=weights,
            learning_rate_scale=1.0,
            trainable=train.trainable,
            trainable_path="train.trainable",
            reset_optimizer=False,
            masking=masking_of(draft.spec, None),
            mined=mined_of(draft.spec.data) is not None,
        )
        return replace(draft, stages=(only,))
    stages: list[StageDraft] = []
    several = len(stage_formats(draft.spec)) > 1
    for i, stage in enumerate(curriculum.stages):
        path = f"curriculum.stages[{i}]"
        own = stage.trainable is not None
        stages.append(
            StageDraft(
                name=stage.name,
                path=path,
                epochs=stage.epochs,
                selection=_selection(stage, _format(stage, draft.spec) if several else None),
                percentiles=_percentiles(stage.select, draft.spec),
                said=_said(stage.select),
                loss_weights={**weights, **stage.loss_weights},
                learning_rate_scale=stage.learning_rate_scale,
                trainable=stage.trainable if own else train.trainable,
                trainable_path=f"{path}.trainable" if own else "train.trainable",
                reset_optimizer=i > 0
                and _own_or(stage.reset_optimizer, curriculum.reset_optimizer),
                schedule=stage.schedule,
                transition_epochs=_transition(i, stage, curriculum),
                mined=mined_of(draft.spec.data) is not None and stage.mining is not False,
                advance=_advance(stage, draft),
                masking=masking_of(draft.spec, stage.masking_rate),
                pseudo=stage.pseudo_data,
            )
        )
    return replace(draft, stages=tuple(stages))


def check_fields(draft: Draft, context: Context) -> Draft:
    """Every field that a stage selects by is in the data."""
    if draft.fields is None:
        return draft
    fields = {*draft.fields, *expected_fields(draft)}
    if isinstance(draft.spec.data, TextData):  # one text each, whose format has a key of its own
        fields -= {"positive_chars", "positive_lines", "format"}
    for stage in draft.stages:
        field = stage.selection.field if stage.selection else None
        if field is not None and field not in fields:
            context.report.error(
                f"{stage.path}.select.field",
                "unknown-field",
                f"no row has a numeric field {field!r}",
                hint=f"there are: {', '.join(sorted(fields))}",
            )
    return draft


def check_transitions(draft: Draft, context: Context) -> Draft:
    """Stages whose rows are mixed compute the same losses, train the same parameters and take the same negatives."""
    for before, stage in pairwise(draft.stages):
        if not stage.transition_epochs:
            continue
        differing = [
            name
            for name, same in (
                ("losses", active(before) == active(stage)),
                ("trained parameters", before.trained == stage.trained),
                ("mined negatives", before.mined == stage.mined),
            )
            if not same
        ]
        if differing:
            context.report.error(
                transition_path(stage, draft),
                "cannot-mix",
                f"stage {stage.name!r} cannot mix in rows of {before.name!r}: mixing joins only stages with the "
                f"same traces, and their {' and '.join(differing)} differ",
                hint=f"write `transition_epochs: 0` at stage {stage.name!r}",
            )
    return draft


def active(stage: StageDraft) -> set[str]:
    """The losses that a stage computes."""
    return {name for name, weight in stage.loss_weights.items() if weight > 0}


def transition_path(stage: StageDraft, draft: Draft) -> str:
    """Where the transition of a stage is written: at the stage, or for all of them."""
    curriculum = draft.spec.curriculum
    assert curriculum is not None
    own = next(s for s in curriculum.stages if s.name == stage.name).transition_epochs is not None
    return f"{stage.path}.transition_epochs" if own else "curriculum.transition_epochs"


def _own_or(own: bool | None, shared: bool) -> bool:
    return shared if own is None else own


def _transition(index: int, stage: Stage, curriculum: Curriculum) -> int:
    """Epochs of the transition into a stage, at most all of its own; the first stage has none before it."""
    shared = curriculum.transition_epochs
    wanted = shared if stage.transition_epochs is None else stage.transition_epochs
    return min(wanted, stage.epochs) if index else 0


def _advance(stage: Stage, draft: Draft) -> AdvancePlan | None:
    rule, evaluation = stage.advance, draft.spec.evaluation
    if rule is None or evaluation is None:
        return None
    from specrun.spec.plan.segments import AdvancePlan  # as for a selection

    metric = rule.metric or best_of(draft.spec, evaluation)
    return AdvancePlan(metric=metric, patience=rule.patience, min_delta=rule.min_delta)


def _selection(stage: Stage, kind: TextFormat | None) -> Selection | None:
    """The range of a field, and the format, that the stage names; percentiles come when the rows are scored."""
    select = stage.select if isinstance(stage.select, Select) else Select()
    if select.field is None and kind is None:
        return None
    from specrun.spec.plan.segments import Selection  # 10 ms that most specs need not pay

    if select.field is None:
        return Selection(format=kind)
    return Selection(field=select.field, minimum=select.min, maximum=select.max, format=kind)


def stage_formats(spec: Experiment) -> tuple[TextFormat, ...]:
    """What rows of texts the stages take, or the data's where there are none. Empty where rows are no texts."""
    data = spec.data
    if not isinstance(data, TextData):
        return ()
    stages = spec.curriculum.stages if spec.curriculum else ()
    wanted = {stage.format or data.format for stage in stages} or {data.format}
    return tuple(name for name in get_args(TextFormat) if name in wanted)


def _format(stage: Stage, spec: Experiment) -> TextFormat | None:
    """What a row of the stage is; None where rows are pairs."""
    return (stage.format or spec.data.format) if isinstance(spec.data, TextData) else None


def _percentiles(
    select: SelectClass | Select | None, spec: Experiment
) -> tuple[float, float] | None:
    """From which to which percentile of the rows' difficulty; None where the stage does not go by it."""
    scored = None if isinstance(spec.data, EmojiData) else spec.data.difficulty
    if isinstance(select, Select):
        found = select.percentile
        return None if found is None or len(found) != 2 else (found[0], found[1])
    if scored is None:  # which the checks of meaning tell
        return None
    match select:
        case None | "all":
            return None
        case "easy":
            return 0.0, scored.easy_below
        case "medium":
            return scored.easy_below, scored.hard_above
        case "hard":
            return scored.hard_above, 100.0
        case _:
            assert_never(select)


def _said(select: SelectClass | Select | None) -> str:
    """What the spec calls the rows of a stage that goes by percentiles."""
    if isinstance(select, Select):
        return "percentiles {:g} to {:g}".format(*select.percentile) if select.percentile else ""
    return "" if select is None or select == "all" else select
