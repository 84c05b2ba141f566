"""The optimizer and the learning rate over the steps."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class AdamW:
    """Adam with decoupled weight decay."""

    kind: Annotated[Literal["adamw"], Fact(doc="Adam with decoupled weight decay.")] = "adamw"
    learning_rate: Annotated[float, Fact(doc="Peak learning rate.", gt=0, le=100)] = 1e-4
    weight_decay: Annotated[
        float, Fact(doc="Decoupled decay, times the learning rate.", ge=0, le=100)
    ] = 0.01
    beta1: Annotated[float, Fact(doc="Decay of the first moment.", ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Fact(doc="Decay of the second moment.", ge=0, lt=1)] = 0.999
    eps: Annotated[float, Fact(doc="Added to the root of the second moment.", gt=0)] = 1e-8
    no_decay: Annotated[
        tuple[str, ...],
        Fact(
            doc="Glob patterns of parameter paths without decay, besides biases, norm scales and loss temperatures.",
            unique=True,
            examples=(("embeddings.*",),),
        ),
    ] = ()


Optimizer = AdamW


_RATIO = Fact(
    doc="Warm-up as a share of the total steps, rounded up.", ge=0, le=1, klass="semantic"
)


_STEPS = Fact(doc="Warm-up in steps.", ge=0, le=1000000000, unit="steps", klass="semantic")


_FLOOR = Fact(doc="Learning rate the decay ends at.", ge=0)


@record
class ConstantSchedule:
    """The peak learning rate throughout."""

    kind: Annotated[Literal["constant"], Fact(doc="The peak learning rate throughout.")] = (
        "constant"
    )


@record
class ConstantWithWarmupSchedule:
    """Linear warm-up, then constant."""

    kind: Annotated[Literal["constant_with_warmup"], Fact(doc="Linear warm-up, then constant.")] = (
        "constant_with_warmup"
    )
    warmup_ratio: Annotated[float | None, _RATIO] = None
    warmup_steps: Annotated[int | None, _STEPS] = None


@record
class LinearSchedule:
    """Linear warm-up, then linear decay to 0."""

    kind: Annotated[Literal["linear"], Fact(doc="Linear warm-up, then linear decay to 0.")] = (
        "linear"
    )
    warmup_ratio: Annotated[float | None, _RATIO] = None
    warmup_steps: Annotated[int | None, _STEPS] = None


@record
class CosineSchedule:
    """Linear warm-up, then half a cosine down to the floor."""

    kind: Annotated[
        Literal["cosine"], Fact(doc="Linear warm-up, then half a cosine down to the floor.")
    ] = "cosine"
    warmup_ratio: Annotated[float | None, _RATIO] = None
    warmup_steps: Annotated[int | None, _STEPS] = None
    min_learning_rate: Annotated[float, _FLOOR] = 0.0


@record
class CosineWithRestartsSchedule:
    """Linear warm-up, then cosine periods that restart, each longer by a factor."""

    kind: Annotated[
        Literal["cosine_with_restarts"],
        Fact(doc="Linear warm-up, then cosine periods that restart."),
    ] = "cosine_with_restarts"
    warmup_ratio: Annotated[float | None, _RATIO] = None
    warmup_steps: Annotated[int | None, _STEPS] = None
    min_learning_rate: Annotated[float, _FLOOR] = 0.0
    first_period_steps: Annotated[
        int, Fact(doc="Steps of the first period.", ge=1, unit="steps")
    ] = 1000
    period_multiplier: Annotated[
        float, Fact(doc="Each period is this many times the one before.", ge=1, le=1000)
    ] = 2.0


Schedule = (
    ConstantSchedule
    | ConstantWithWarmupSchedule
    | LinearSchedule
    | CosineSchedule
    | CosineWithRestartsSchedule
)
