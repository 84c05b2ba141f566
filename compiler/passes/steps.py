"""Passes that lay out the steps: rows and lengths of the stages, schedules, segments and traces."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

from specrun.compiler.draft import Context, Draft, StageDraft
from specrun.compiler.facts import StageLayout, StageRequest
from specrun.compiler.passes.difficulty import rows_to_select
from specrun.compiler.passes.lengths import most_tokens
from specrun.compiler.passes.masking import pseudo_of
from specrun.compiler.passes.stages import transition_path
from specrun.spec.plan.data import TableSource, texts_only
from specrun.spec.plan.losses import Late, LossPlan
from specrun.spec.plan.schedule import (
    Constant,
    ConstantWithWarmup,
    Cosine,
    CosineWithRestarts,
    Linear,
    Schedule,
)
from specrun.spec.plan.segments import Segment, Trace
from specrun.spec.words.optimizer import (
    ConstantSchedule,
    ConstantWithWarmupSchedule,
    CosineSchedule,
    CosineWithRestartsSchedule,
    LinearSchedule,
)
from specrun.spec.words.optimizer import Schedule as ScheduleWords
from specrun.spec.words.train import Train

LENGTH_MULTIPLE = 8
WHOLE_SCORES = 64 << 20
"""Bytes of an in-batch score matrix above which it is computed in tiles."""

UNROLLED = 12
"""Layers that are unrolled unless the spec says otherwise: MiniLM's six take 16 % less time so on a CPU."""


def lay_out_steps(draft: Draft, context: Context) -> Draft:
    """Rows, steps and padded lengths of every stage."""
    first = _layouts(draft, context, [1] * len(draft.stages))
    for stage, layout in zip(draft.stages, first, strict=True):
        if layout.rows == 0:
            where = f"{stage.path}.{_chosen_by(stage)}" if stage.selection else "data"
            context.report.error(
                where,
                "empty-stage",
                f"stage {stage.name!r} selects no training row",
                hint=_range_hint(stage, draft),
            )
        elif stage.selection is not None and layout.rows < draft.spec.train.batch_size:
            context.report.error(
                f"{stage.path}.{_chosen_by(stage)}",
                "stage-too-small",
                f"stage {stage.name!r} takes {layout.rows} rows, fewer than one batch of {draft.spec.train.batch_size}",
                hint=f"take more rows, or make the batch smaller; {_range_hint(stage, draft)}",
            )
        elif layout.steps_per_epoch == 0:
            context.report.error(
                stage.path,
                "stage-too-small",
                f"stage {stage.name!r} has {layout.rows} rows, fewer than one optimizer batch, and drop_last drops them",
                hint="set train.drop_last to false, or make the batch smaller",
            )
        if stage.pseudo is not None and layout.rows and not layout.pseudo:
            context.report.error(
                f"{stage.path}.pseudo_data.ratio",
                "no-pseudo-data",
                f"a share of {stage.pseudo.ratio:g} of the {layout.rows} rows of stage {stage.name!r} is no text",
                hint=f"the least that gives one is {1 / layout.rows:.2g}",
            )
    if any(layout.steps_per_epoch == 0 for layout in first):
        return draft
    _warn_of_few_to_mix(draft, first, context)
    epochs, steps = _durations(draft, first, context)
    layouts = _layouts(draft, context, epochs)
    cut = tuple(replace(x, lengths=x.lengths[:n]) for x, n in zip(layouts, steps, strict=True))
    stages = tuple(replace(s, epochs=e) for s, e in zip(draft.stages, epochs, strict=True))
    return replace(draft, stages=stages, layouts=cut)


def _warn_of_few_to_mix(draft: Draft, layouts: tuple[StageLayout, ...], context: Context) -> None:
    """Pairs stand once in a batch, so a small earlier stage cannot give a transition the share that it states."""
    if texts_only(draft.need("source")):
        return
    train = draft.spec.train
    batch = train.batch_size * train.accumulation_steps
    for (before, earlier), (stage, own) in pairwise(zip(draft.stages, layouts, strict=True)):
        n = stage.transition_epochs
        wanted = min(batch, own.rows) * n / (n + 1)
        if n and earlier.rows < wanted:
            context.report.warning(
                transition_path(stage, draft),
                "few-to-mix",
                f"stage {stage.name!r} begins with {wanted:.0f} rows of {before.name!r} in a batch of {batch}, "
                f"which has {earlier.rows}: a row stands once in a batch, and its own rows fill the places",
                hint="make the batch smaller, or leave the transition out",
            )


def resolve_schedules(draft: Draft, context: Context) -> Draft:
    """One schedule for each stretch between optimizer resets, its warm-up and end in steps."""
    resolved: list[tuple[Schedule, int]] = []
    for start, stop, count in _stretches(draft):
        first = draft.stages[len(resolved)]
        words, path = (
            (draft.spec.schedule, "schedule")
            if first.schedule is None
            else (first.schedule, f"{first.path}.schedule")
        )
        schedule = _schedule(words, path, stop - start, context)
        resolved.extend([(schedule, start)] * count)
    return replace(draft, schedules=tuple(resolved))


def choose_buckets(draft: Draft, context: Context) -> Draft:
    """Padded lengths: quantiles of what the steps need, as multiples of eight, never above the maximum."""
    needed = [pair for layout in draft.layouts for pair in layout.lengths]
    n = draft.spec.train.length_buckets
    query, positive = most_tokens(draft)
    queries = _edges([q for q, _ in needed], n, query)
    positives = _edges([p for _, p in needed], n, positive)
    pairs = sorted(set(zip(queries, positives, strict=True)))
    used = sorted({_bucket(pair, pairs) for pair in needed})
    return replace(draft, buckets=tuple(used))


def build_segments(draft: Draft, context: Context) -> Draft:
    """Segments with the traces they use; equal traces of different segments are one."""
    segments: list[Segment] = []
    found: dict[tuple[object, ...], Trace] = {}
    start = 0
    before: tuple[str, ...] = ()
    for index, (stage, layout) in enumerate(zip(draft.stages, draft.layouts, strict=True)):
        trained = tuple(p.path for p in draft.parameters if _leaf_trains(p.path, stage, draft))
        names = _traces(index, trained, stage, layout, draft, found)
        schedule, schedule_start = draft.schedules[index]
        segments.append(
            Segment(
                stage=stage.name,
                first_step=start,
                stop_step=start + len(layout.lengths),
                epochs=draft.need("stages")[index].epochs or 1,
                rows=layout.rows,
                steps_per_epoch=layout.steps_per_epoch,
                selection=stage.selection,
                loss_weights=_active(stage),
                masking=stage.masking,
                pseudo=pseudo_of(stage, layout, draft.generation),
                learning_rate_scale=stage.learning_rate_scale,
                schedule=schedule,
                schedule_start=schedule_start,
                trained=trained,
                reset_optimizer=stage.reset_optimizer,
                fresh=trained
                if index == 0 or stage.reset_optimizer
                else tuple(p for p in trained if p not in before),
                traces=names,
                transition_epochs=stage.transition_epochs,
                mined=stage.mined,
                advance=stage.advance,
            )
        )
        start, before = segments[-1].stop_step, trained
    return replace(draft, segments=tuple(segments), traces=tuple(found.values()))


def score_tile_rows(train: Train, candidates: int) -> int:
    """Rows of the scores of one forward pass against ``candidates`` that exist at a time."""
    fitting = max(1, WHOLE_SCORES // (4 * candidates))
    return min(train.score_tile_rows or fitting, train.batch_size)


def document_tile_rows(
    train: Train, losses: tuple[LossPlan, ...], tokens: tuple[int, int]
) -> int | None:
    """Documents whose tokens are compared with those of a pass's queries at a time: the longest ones fit.

    ``tokens`` are the most vectors of a query and of a document.
    """
    if not any(isinstance(loss, Late) for loss in losses):
        return None
    pairs = train.batch_size * tokens[0] * tokens[1]
    fitting = max(1, WHOLE_SCORES // (4 * pairs))
    return min(train.score_tile_rows or fitting, train.batch_size)


def unroll(draft: Draft) -> int:
    """Layers per turn of the scan: all of a short encoder, which is quickly compiled and keeps nothing twice."""
    train = draft.spec.train
    longest = max((group.count for group in draft.groups), default=1)
    fitting = longest if longest <= UNROLLED and not train.gradient_checkpointing else 1
    return train.unroll or fitting


def _layouts(draft: Draft, context: Context, epochs: list[int]) -> tuple[StageLayout, ...]:
    train, source = draft.spec.train, draft.need("source")
    query, positive = most_tokens(draft)
    return context.facts.layout(
        scan=draft.need("scan"),
        tokenizer=draft.need("tokenizer"),
        max_query_length=query,
        max_positive_length=positive,
        seed=draft.spec.seed,
        batch_size=train.batch_size,
        accumulation_steps=train.accumulation_steps,
        drop_last=train.drop_last,
        mode=source.retrieval_mode if isinstance(source, TableSource) else "t2t",
        scores=draft.difficulty.found.scores_digest if draft.difficulty else None,
        stages=tuple(
            StageRequest(
                selection=s.selection,
                epochs=e,
                transition_epochs=s.transition_epochs,
                mined=s.mined,
                pseudo=None if s.pseudo is None else (s.pseudo.ratio, s.pseudo.max_samples),
            )
            for s, e in zip(draft.stages, epochs, strict=True)
        ),
    )


def _durations(
    draft: Draft, first: tuple[StageLayout, ...], context: Context
) -> tuple[list[int], list[int]]:
    """Epochs and steps of each stage, with ``max_steps`` applied."""
    limit = draft.spec.train.max_steps
    if len(draft.stages) == 1 and draft.spec.curriculum is None and limit is not None:
        return [math.ceil(limit / first[0].steps_per_epoch)], [limit]
    epochs = [s.epochs or 1 for s in draft.stages]
    steps = [e * x.steps_per_epoch for e, x in zip(epochs, first, strict=True)]
    if limit is None or limit == sum(steps):
        return epochs, steps
    if limit > sum(steps) or limit <= sum(steps[:-1]):
        context.report.error(
            "train.max_steps",
            "steps-disagree",
            f"max_steps is {limit}, but the stages have {' + '.join(map(str, steps))} = {sum(steps)} steps",
            hint="remove max_steps, or cut within the last stage",
        )
        return epochs, steps
    steps[-1] = limit - sum(steps[:-1])
    epochs[-1] = math.ceil(steps[-1] / first[-1].steps_per_epoch)
    return epochs, steps


def _stretches(draft: Draft) -> list[tuple[int, int, int]]:
    """(first step, stop step, stages) of each stretch that shares one schedule; a stage with its own is one."""
    stretches: list[tuple[int, int, int]] = []
    start, alone = 0, False
    for i, (stage, layout) in enumerate(zip(draft.stages, draft.layouts, strict=True)):
        stop = start + len(layout.lengths)
        own = stage.schedule is not None
        if i == 0 or stage.reset_optimizer or own or alone:
            stretches.append((start, stop, 1))
        else:
            stretches[-1] = (stretches[-1][0], stop, stretches[-1][2] + 1)
        start, alone = stop, own
    return stretches


def _schedule(schedule: ScheduleWords, path: str, total: int, context: Context) -> Schedule:
    warmup = (
        0
        if isinstance(schedule, ConstantSchedule)
        else _warmup(schedule.warmup_ratio, schedule.warmup_steps, path, total, context)
    )
    match schedule:
        case ConstantSchedule():
            return Constant()
        case ConstantWithWarmupSchedule():
            return ConstantWithWarmup(warmup_steps=warmup)
        case LinearSchedule():
            return Linear(warmup_steps=warmup, total_steps=total)
        case CosineSchedule():
            return Cosine(
                warmup_steps=warmup, total_steps=total, min_learning_rate=schedule.min_learning_rate
            )
        case CosineWithRestartsSchedule():
            return CosineWithRestarts(
                warmup_steps=warmup,
                min_learning_rate=schedule.min_learning_rate,
                first_period_steps=schedule.first_period_steps,
                period_multiplier=schedule.period_multiplier,
            )


def _warmup(ratio: float | None, steps: int | None, path: str, total: int, context: Context) -> int:
    by_ratio = None if ratio is None else math.ceil(round(total * ratio, 9))
    if by_ratio is not None and steps is not None and by_ratio != steps:
        context.report.error(
            f"{path}.warmup_steps",
            "two-warmups",
            f"warmup_steps is {steps}, but warmup_ratio {ratio} of {total} steps is {by_ratio}",
            hint="give one of the two",
        )
    warmup = steps if steps is not None else (by_ratio or 0)
    if warmup > total:
        context.report.error(
            f"{path}.warmup_steps",
            "warmup-too-long",
            f"{warmup} steps of warm-up, but only {total} steps",
            hint="shorten it",
        )
    return min(warmup, total)


def _edges(values: list[int], n: int, limit: int) -> list[int]:
    ordered = sorted(values)
    edges: list[int] = []
    for i in range(1, n + 1):
        value = ordered[math.ceil(i / n * len(ordered)) - 1]
        edges.append(min(limit, -(-value // LENGTH_MULTIPLE) * LENGTH_MULTIPLE))
    return edges


def _bucket(
    pair: tuple[int, int], buckets: list[tuple[int, int]] | tuple[tuple[int, int], ...]
) -> tuple[int, int]:
    return next(b for b in buckets if pair[0] <= b[0] and pair[1] <= b[1])


def _active(stage: StageDraft) -> dict[str, float]:
    return {name: weight for name, weight in stage.loss_weights.items() if weight > 0}


def _leaf_trains(leaf: str, stage: StageDraft, draft: Draft) -> bool:
    return any(draft.stacked[path] == leaf for path in stage.trained)


def _traces(
    index: int,
    trained: tuple[str, ...],
    stage: StageDraft,
    layout: StageLayout,
    draft: Draft,
    found: dict[tuple[object, ...], Trace],
) -> tuple[str, ...]:
    names: list[str] = []
    losses = tuple(sorted(_active(stage)))
    for query, positive in draft.buckets:
        steps = sum(_bucket(pair, draft.buckets) == (query, positive) for pair in layout.lengths)
        if not steps:
            continue
        key = (trained, losses, query, positive, stage.mined)
        known = found.get(key)
        if known is None:
            name = f"t{len(found)}-q{query}-p{positive}"
            found[key] = Trace(
                name=name,
                query_length=query,
                positive_length=positive,
                losses=losses,
                segments=(index,),
                steps=steps,
            )
        else:
            found[key] = replace(
                known, segments=(*known.segments, index), steps=known.steps + steps
            )
        names.append(found[key].name)
    return tuple(names)


def _chosen_by(stage: StageDraft) -> str:
    """The key of a stage that says which rows it takes."""
    assert stage.selection is not None
    return "format" if stage.selection.field is None else "select"


def _range_hint(stage: StageDraft, draft: Draft) -> str:
    if stage.selection is None or draft.scan is None:
        return ""
    if stage.percentiles is not None or stage.selection.field is None:
        kind = f"{stage.selection.format}" if stage.selection.format else "rows"
        return f"there are {rows_to_select(stage, draft.scan)} training {kind}"
    computed = draft.difficulty.found.fields if draft.difficulty else ()
    fields = (*draft.scan.fields, *computed)
    found = next((f for f in fields if f.name == stage.selection.field), None)
    return "" if found is None else f"{found.name} runs from {found.minimum:g} to {found.maximum:g}"
