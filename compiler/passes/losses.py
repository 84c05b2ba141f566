"""What the losses of a spec become in the plan, and which parameters are their own."""

from __future__ import annotations

from typing import assert_never

from specrun.compiler.negatives import negatives_of
from specrun.spec.plan.model import Role, TableRow
from specrun.spec.plan.training import (
    ColBERT,
    CoSENT,
    DenseLateKL,
    InfoNCE,
    LossPlan,
    SigLIP,
    Triplet,
    trained_scalars,
)
from specrun.spec.words.data import Data
from specrun.spec.words.losses import (
    ColBERTLoss,
    CoSENTLoss,
    DenseLateKLLoss,
    InfoNCELoss,
    Loss,
    SigLIPLoss,
    TripletLoss,
)


def loss_plan(loss: Loss, data: Data) -> LossPlan:
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
            )
        case TripletLoss():
            return Triplet(name=name, margin=loss.margin)
        case SigLIPLoss():
            return SigLIP(
                name=name,
                temperature=loss.temperature,
                train_temperature=loss.train_temperature,
                bias=loss.bias,
                train_bias=loss.train_bias,
                negatives="all" if negatives_of(loss, data) == "all" else "in_batch",
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
        case _:
            assert_never(loss)


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
        case _:
            assert_never(loss)
    return f"{loss.name} ({told})"
