"""How a masked language model writes texts, and which settings of that are usable."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record

ConfidenceSchedule = Literal["linear", "exponential"]
"""How the probability that a token must have to stay falls over the steps."""

SCHEDULES: tuple[ConfidenceSchedule, ...] = ("linear", "exponential")

MAX_STEPS, MAX_SEQUENCES = 100_000, 10_000


@record
class GenerationPlan:
    """What `specrun generate` and `Predictor.generate` do where they are not told otherwise."""

    temperature: Annotated[float, Fact(doc="What scores are divided by; 0 takes the best.")]
    steps: Annotated[int, Fact(doc="Steps over which tokens are filled in.", unit="steps")]
    max_length: Annotated[int, Fact(doc="Tokens of a text, its prompt included.", unit="tokens")]
    top_k: Annotated[int | None, Fact(doc="Best ids a token is drawn from; null is all.")]
    top_p: Annotated[
        float | None, Fact(doc="Probability that the ids drawn from have together; null is all.")
    ]
    num_return_sequences: Annotated[int, Fact(doc="Texts for each prompt.")]
    confidence_schedule: Annotated[
        ConfidenceSchedule, Fact(doc="How the probability that a token needs falls.")
    ]
    style: Annotated[str | None, Fact(doc="Text whose tokens are favoured; null is none.")]
    style_strength: Annotated[float, Fact(doc="Added to the scores of the style's tokens.")]
    interactive: Annotated[bool, Fact(doc="Ask for prompts where none is given.")]


@record
class Fault:
    """A setting that cannot be used: its name, the rule with what was found, and how to mend it."""

    name: str
    message: str
    hint: str = ""


def faults(settings: GenerationPlan, vocab_size: int, longest: int | None) -> tuple[Fault, ...]:
    """Every setting that a model of ``vocab_size`` ids and ``longest`` positions (None: any number) cannot use.

    Values may be of any type: the settings may come from a caller and not from a plan.
    """
    found = [
        _number(settings, "temperature", 0.0, None),
        _whole(settings, "steps", 1, MAX_STEPS),
        _length(settings, longest),
        None if settings.top_k is None else _top_k(settings, vocab_size),
        None if settings.top_p is None else _top_p(settings),
        _whole(settings, "num_return_sequences", 1, MAX_SEQUENCES),
        _schedule(settings),
        _style(settings.style),
        _number(settings, "style_strength", None, None),
    ]
    return tuple(f for f in found if f is not None)


def _whole(settings: GenerationPlan, name: str, low: int, high: int) -> Fault | None:
    value: Any = getattr(settings, name)
    if type(value) is int and low <= value <= high:
        return None
    return Fault(
        name=name, message=f"{name} must be a whole number from {low} to {high}, found {value!r}"
    )


def _number(
    settings: GenerationPlan, name: str, low: float | None, high: float | None
) -> Fault | None:
    value: Any = getattr(settings, name)
    usable = type(value) in (int, float) and math.isfinite(value)
    if usable and (low is None or value >= low) and (high is None or value <= high):
        return None
    bound = "" if low is None else f" of at least {low:g}"
    return Fault(name=name, message=f"{name} must be a finite number{bound}, found {value!r}")


def _length(settings: GenerationPlan, longest: int | None) -> Fault | None:
    fault = _whole(settings, "max_length", 1, 1 << 20)
    if fault is not None or longest is None or settings.max_length <= longest:
        return fault
    return Fault(
        name="max_length",
        message=f"max_length is {settings.max_length}, and the model has positions for {longest} tokens",
        hint=f"set it to {longest} or less",
    )


def _top_k(settings: GenerationPlan, vocab_size: int) -> Fault | None:
    value: Any = settings.top_k
    if type(value) is int and 1 <= value <= vocab_size:
        return None
    return Fault(
        name="top_k",
        message=f"top_k must be a whole number from 1 to {vocab_size}, the size of the vocabulary, found {value!r}",
        hint="leave it out to draw from all",
    )


def _top_p(settings: GenerationPlan) -> Fault | None:
    value: Any = settings.top_p
    if type(value) in (int, float) and 0 < value <= 1:
        return None
    return Fault(
        name="top_p",
        message=f"top_p must be a number above 0 and at most 1, found {value!r}",
        hint="leave it out to draw from all",
    )


def _schedule(settings: GenerationPlan) -> Fault | None:
    value: Any = settings.confidence_schedule
    if value in SCHEDULES:
        return None
    allowed = " or ".join(SCHEDULES)
    return Fault(
        name="confidence_schedule",
        message=f"confidence_schedule must be {allowed}, found {value!r}",
    )


def _style(value: Any) -> Fault | None:
    if value is None or (isinstance(value, str) and value.strip()):
        return None
    return Fault(
        name="style",
        message=f"style must be a text whose tokens are favoured, found {value!r}",
        hint="leave it out to favour none",
    )
