"""Learning-rate schedules: the closed union, and the one function that gives the rate at a step."""

from __future__ import annotations

import math
from typing import Annotated, Literal, assert_never

from specrun.spec.annotations import Fact
from specrun.spec.record import record

_WARMUP = Fact(doc="Steps of linear warm-up.", unit="steps", klass="horizon")
_TOTAL = Fact(doc="Steps at which the decay ends.", unit="steps", klass="horizon")


@record
class Constant:
    kind: Annotated[Literal["constant"], Fact(doc="The peak throughout.")] = "constant"


@record
class ConstantWithWarmup:
    kind: Annotated[Literal["constant_with_warmup"], Fact(doc="Warm-up, then the peak.")] = (
        "constant_with_warmup"
    )
    warmup_steps: Annotated[int, _WARMUP]


@record
class Linear:
    kind: Annotated[Literal["linear"], Fact(doc="Warm-up, then linear to 0.")] = "linear"
    warmup_steps: Annotated[int, _WARMUP]
    total_steps: Annotated[int, _TOTAL]


@record
class Cosine:
    kind: Annotated[Literal["cosine"], Fact(doc="Warm-up, then half a cosine.")] = "cosine"
    warmup_steps: Annotated[int, _WARMUP]
    total_steps: Annotated[int, _TOTAL]
    min_learning_rate: Annotated[float, Fact(doc="Floor.")]


@record
class CosineWithRestarts:
    kind: Annotated[Literal["cosine_with_restarts"], Fact(doc="Warm-up, then cosine periods.")] = (
        "cosine_with_restarts"
    )
    warmup_steps: Annotated[int, _WARMUP]
    min_learning_rate: Annotated[float, Fact(doc="Floor.")]
    first_period_steps: Annotated[int, Fact(doc="Steps of the first period.", unit="steps")]
    period_multiplier: Annotated[float, Fact(doc="Growth of the periods.")]


Schedule = Constant | ConstantWithWarmup | Linear | Cosine | CosineWithRestarts


def learning_rate(schedule: Schedule, peak: float, step: int) -> float:
    """The rate at 0-based ``step`` of the schedule, ``peak`` being the top of the warm-up.

    Warm-up is ``peak·t/w``, as in transformers' schedules, so the first of w warm-up steps has rate 0.
    """
    warmup = 0 if isinstance(schedule, Constant) else schedule.warmup_steps
    if step < warmup:
        return peak * step / warmup
    match schedule:
        case Constant() | ConstantWithWarmup():
            return peak
        case Linear():
            return peak * (1.0 - _share(step - warmup, schedule.total_steps - warmup))
        case Cosine():
            return _cosine(
                peak,
                schedule.min_learning_rate,
                _share(step - warmup, schedule.total_steps - warmup),
            )
        case CosineWithRestarts():
            return _cosine(
                peak, schedule.min_learning_rate, _restart_share(schedule, step - warmup)
            )
        case _:
            assert_never(schedule)


def _share(done: int, of: int) -> float:
    return min(1.0, done / of) if of > 0 else 1.0


def _cosine(peak: float, floor: float, share: float) -> float:
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * share))


def _restart_share(schedule: CosineWithRestarts, step: int) -> float:
    period = float(schedule.first_period_steps)
    left = float(step)
    while left >= period:
        left -= period
        period *= schedule.period_multiplier
    return left / period
