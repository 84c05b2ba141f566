"""What the losses of a spec become in the plan, and which parameters are their own."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from specrun.compiler.negatives import negatives_of
from specrun.spec.plan.losses import (
    ColBERT,
    CoSENT,
    DenseLateKL,
    Distillation,
    FalseNegativesPlan,
    InfoNCE,
    LossPlan,
    MaskedDiffusion,
    SigLIP,
    TeacherPlan,
    Triplet,
    trained_scalars,
)
from specrun.spec.plan.parameters import Role, TableRow
from specrun.spec.words.data import Data
from specrun.spec.words.losses import (
    ColBERTLoss,
    CoSENTLoss,
    DenseLateKLLoss,
    DistillationLoss,
    InfoNCELoss,
    Loss,
    MaskedDiffusionLoss,
    SigLIPLoss,
    TripletLoss,
)


def loss_plan(loss: Loss, data: Data, teacher: TeacherPlan | None = None) -> LossPlan:
    """The loss with every default, and with what the data leaves it to be told from."""
    name = loss.name or loss.kind
    match loss:
        case InfoNCELoss():
            return InfoNCE(
                name=name,
                temperature=loss.temperature,
                train_temperature=loss.train_temperature,
                symmetric=loss.symmetric,
                negatives=negatives_of(loss, data),
                false_negatives=_false_negatives(loss, data),
            )
        case TripletLoss():
            return Triplet(
                name=name,
                margin=loss.margin,
                false_negatives=_false_negatives(loss, data),
            )
        case SigLIPLoss():
            return SigLIP(
                name=name,
                temperature=loss.temperature,
                train_temperature=loss.train_temperature,
                bias=loss.bias,
                train_bias=loss.train_bias,
                negatives="all" if negatives_of(loss, data) == "all" else "in_batch",
                false_negatives=_false_negatives(loss, data),
            )
        case CoSENTLoss():
            return CoSENT(name=name, temperature=loss.temperature)
        case DenseLateKLLoss():
            return DenseLateKL(
                name=name,
                temperature=loss.temperature,
                reduce=loss.reduce,
                detach=loss.detach,
                negatives="all" if negatives_of(loss, data) == "all" else "in_batch",
            )
        case ColBERTLoss():
            return ColBERT(
                name=name,
                temperature=loss.temperature,
                reduce=loss.reduce,
                symmetric=loss.symmetric,
                negatives=negatives_of(loss, data),
            )
        case DistillationLoss():
            told = negatives_of(loss, data)
            return Distillation(
                name=name,
                teacher=None if loss.teacher is None else teacher,
                objective=loss.objective,
                temperature=loss.temperature if loss.on == "logits" else 1.0,
                distillation_temperature=(
                    loss.distillation_temperature if loss.objective == "kl" else 1.0
                ),
                negatives=told if told in ("in_batch", "all") else "own",
            )
        case MaskedDiffusionLoss():
            return MaskedDiffusion(
                name=name,
                sampling=loss.sampling,
                weighting=loss.weighting,
                label_smoothing=loss.label_smoothing,
            )
        case _:
            assert_never(loss)


def _false_negatives(
    loss: InfoNCELoss | TripletLoss | SigLIPLoss, data: Data
) -> FalseNegativesPlan | None:
    """What is nobody's negative; a row's own negatives are other texts than its positive already."""
    false = loss.false_negatives
    if false is None:
        return None
    return FalseNegativesPlan(
        identical=false.identical and negatives_of(loss, data) != "own",
        margin=false.margin,
        margin_strategy=false.margin_strategy,
    )


def loss_rows(losses: tuple[Loss, ...], data: Data) -> list[TableRow]:
    """The parameters of the losses themselves."""
    paths = [path for loss in losses for path in trained_scalars(loss_plan(loss, data))]
    return [TableRow(path=path, shape=(), role=_role(path)) for path in paths]


def _role(path: str) -> Role:
    return "temperature" if path.endswith(".log_scale") else "offset"


def describe(loss: LossPlan) -> str:
    """The loss in a few words, for the summary."""
    match loss:
        case InfoNCE() | CoSENT():
            told = f"temperature {loss.temperature:g}"
        case SigLIP():
            told = f"temperature {loss.temperature:g}, bias {loss.bias:g}"
        case ColBERT() | DenseLateKL():
            told = f"temperature {loss.temperature:g}, {loss.reduce} of query tokens"
        case Triplet():
            told = f"margin {loss.margin:g}"
        case Distillation():
            teacher = "scores in the rows"
            if loss.teacher is not None:
                teacher = f"teacher {Path(loss.teacher.folder).name}, width {loss.teacher.width}"
            told = f"{loss.objective} to {teacher}"
        case MaskedDiffusion():
            told = f"{loss.sampling} sampling, weighting {loss.weighting}"
        case _:
            assert_never(loss)
    return f"{loss.name} ({told})"
