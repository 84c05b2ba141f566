"""Passes for what is watched and saved, and what it costs by arithmetic."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.chunks import chunk_key
from specrun.compiler.cost.cost import NO_COST, cost_of
from specrun.compiler.cost.rule import rule_of, rule_of_thumb
from specrun.compiler.cost.work import work_of
from specrun.compiler.draft import Context, Draft
from specrun.compiler.fit import CODE, PATH, misfit
from specrun.compiler.objective import best_of, metrics_of, rates_of
from specrun.compiler.passes.lower import lower
from specrun.compiler.passes.widths import embedding_dim
from specrun.spec.plan.evaluation import TOKENS_PREFIX, EarlyStoppingPlan, EvaluationPlan
from specrun.spec.plan.networks import token_dim
from specrun.spec.plan.segments import Segment
from specrun.spec.plan.training import CheckpointPlan


def plan_evaluation(draft: Draft, context: Context) -> Draft:
    """When metrics are taken, at which widths, and which one chooses the best."""
    spec = draft.spec.evaluation
    if spec is None:
        return draft
    config = draft.need("config")
    width, tokens = embedding_dim(config), token_dim(config)
    dims = draft.spec.matryoshka.dims if draft.spec.matryoshka else ()
    stopping = spec.early_stopping
    plan = EvaluationPlan(
        after=((0,) if spec.at_start else ()) + _moments(draft, spec.every_steps),
        batch_size=spec.batch_size,
        metrics=metrics_of(draft.spec, spec),
        directions=spec.directions,
        dims=(width, *(d for d in dims if d != width)),
        token_dims=() if tokens is None else (tokens, *(d for d in dims if d != tokens)),
        select_best=_as_measured(best_of(draft.spec, spec), width, tokens),
        masking_rates=rates_of(draft.spec, spec),
        early_stopping=None
        if stopping is None
        else EarlyStoppingPlan(patience=stopping.patience, min_delta=stopping.min_delta),
    )
    draft = replace(draft, evaluation=plan, segments=_advancing(draft, width, tokens))
    _check_advances(draft, context)
    return draft


def _as_measured(name: str, width: int, tokens: int | None) -> str:
    """A metric as results name it: at the whole width it has no width."""
    metric, _, dim = name.partition(" at ")
    whole = tokens if metric.startswith(TOKENS_PREFIX) else width
    return metric if dim in ("", str(whole)) else name


def _advancing(draft: Draft, width: int, tokens: int | None) -> tuple[Segment, ...]:
    """The segments, the metrics that may end them named as results name them."""
    return tuple(
        s
        if s.advance is None
        else replace(
            s, advance=replace(s.advance, metric=_as_measured(s.advance.metric, width, tokens))
        )
        for s in draft.segments
    )


def _check_advances(draft: Draft, context: Context) -> None:
    """A stage has evaluations enough before its last step for its patience to run out."""
    for stage, segment in zip(draft.stages, draft.segments, strict=True):
        if segment.advance is None:
            continue
        inside = range(segment.first_step + 1, segment.stop_step)
        count = sum(a in inside for a in draft.need("evaluation").after)
        if count <= segment.advance.patience:
            context.report.error(
                f"{stage.path}.advance",
                "too-few-evaluations",
                f"stage {stage.name!r} is evaluated {count} times before its last step, and a patience of "
                f"{segment.advance.patience} needs {segment.advance.patience + 1}: the first sets what is to be beaten",
                hint="set evaluation.every_steps lower, or patience, or remove `advance`",
            )


def plan_checkpoints(draft: Draft, context: Context) -> Draft:
    """When state is saved."""
    spec = draft.spec.checkpoint
    return replace(
        draft, checkpoint=CheckpointPlan(after=_moments(draft, spec.every_steps), keep=spec.keep)
    )


def estimate_cost(draft: Draft, context: Context) -> Draft:
    """Bytes and floating-point operations by arithmetic; more bytes than the spec allows are an error."""
    work, batching = work_of(lower(replace(draft, cost=NO_COST), (), ()))
    batching = replace(batching, chunks=chunk_key(draft.spec.train))
    hardware = draft.spec.hardware
    asked = rule_of(draft.spec)
    rule = rule_of_thumb(work, batching, *asked) if asked else None
    if hardware.max_memory_gb is not None:
        found = misfit(work, batching, hardware.max_memory_gb, hardware.memory_margin, rule=rule)
        if found is not None:
            context.report.error(PATH, CODE, found[0], hint=found[1])
    return replace(draft, cost=replace(cost_of(work, batching), rule_bytes=rule))


def _moments(draft: Draft, every: int | None) -> tuple[int, ...]:
    """Numbers of finished steps: multiples of ``every``, or the ends of epochs; always the last step."""
    total = draft.segments[-1].stop_step
    if every is not None:
        return tuple(sorted({*range(every, total + 1, every), total}))
    ends: set[int] = {total}
    for s in draft.segments:
        ends.update(
            min(s.stop_step, s.first_step + s.steps_per_epoch * (e + 1)) for e in range(s.epochs)
        )
    return tuple(sorted(ends))
