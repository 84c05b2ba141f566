"""The values that change from step to step without a new trace: rate, loss weights, segment."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from specrun.runtime.program.masking import counts
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.losses import hiding
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.schedule import learning_rate
from specrun.spec.plan.segments import Segment, masking_rate


class Control(TypedDict):
    """Arguments of a step. ``loss_weights`` holds exactly the losses that the step computes.

    ``masking`` says how many tokens are hidden, as ``masking.hide`` asks; it is empty where none are.
    ``dropout_scale`` multiplies every rate of dropout; None where these are constant.

    numpy scalars, because Python numbers are weakly typed and would cause a second trace.
    """

    learning_rate: np.float32
    loss_weights: dict[str, np.float32]
    segment: np.uint32
    masking: dict[str, np.ndarray]
    dropout_scale: np.float32 | None


def segment_at(plan: Plan, step: int) -> int:
    """Index of the segment that holds the 0-based global ``step``. RunError outside the plan."""
    for index, segment in enumerate(plan.segments):
        if segment.first_step <= step < segment.stop_step:
            return index
    raise RunError(f"step {step} lies outside the plan's {plan.train.total_steps} steps")


def control_at(plan: Plan, step: int) -> Control:
    """Control values of the 0-based global ``step``; a function of the plan alone."""
    index = segment_at(plan, step)
    segment = plan.segments[index]
    return Control(
        learning_rate=_rate(plan, segment, step),
        loss_weights={n: np.float32(segment.loss_weights[n]) for n in active_losses(segment)},
        segment=np.uint32(index),
        masking=_masking(plan, segment, step),
        dropout_scale=_dropout_scale(plan, step),
    )


def _dropout_scale(plan: Plan, step: int) -> np.float32 | None:
    """``decay`` falls in a line from 1 at the first step of the run to 0 behind the last."""
    if plan.train.dropout_schedule == "constant":
        return None
    return np.float32(1.0 - step / plan.train.total_steps)


def _masking(plan: Plan, segment: Segment, step: int) -> dict[str, np.ndarray]:
    loss, span = hiding(plan.losses), segment.masking
    if loss is None or span is None:
        return {}
    if loss.sampling == "bernoulli":
        return {"mask_rates": np.array([span.minimum, span.maximum], np.float32)}
    epoch = (step - segment.first_step) // segment.steps_per_epoch
    return {
        "mask_counts": counts(masking_rate(span, epoch, segment.epochs), plan.data.max_query_length)
    }


def active_losses(segment: Segment) -> tuple[str, ...]:
    """Names of the losses whose weight is not 0: a weight of 0 removes a loss (0 · inf is NaN)."""
    return tuple(sorted(name for name, weight in segment.loss_weights.items() if weight > 0))


def learning_rate_table(plan: Plan) -> np.ndarray:
    """The rate of every step, as the steps get it. float32 [total_steps]"""
    rates = [
        _rate(plan, segment, step)
        for segment in plan.segments
        for step in range(segment.first_step, segment.stop_step)
    ]
    return np.array(rates, np.float32)


def _rate(plan: Plan, segment: Segment, step: int) -> np.float32:
    since = step - segment.schedule_start
    peak = plan.optimizer.learning_rate
    return np.float32(learning_rate(segment.schedule, peak, since) * segment.learning_rate_scale)
