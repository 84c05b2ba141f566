"""What a loss tells a query from, where the spec leaves it to the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never, overload

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
from specrun.spec.words.mining import MinedNegatives
from specrun.spec.words.tables import TableData
from specrun.spec.words.texts import TextData

if TYPE_CHECKING:
    from specrun.spec.plan.data import Scan

Stated = Literal["in_batch", "own", "all"]
"""What a spec can say."""

Negatives = Literal["in_batch", "own", "all", "own_else_in_batch", "none", "pair"]
"""``own_else_in_batch``: a row's explicit negatives where it has some, else the other rows' positives; ``pair``: each row
is looked at by itself."""

EXPLICIT: frozenset[Negatives] = frozenset(("own", "all", "own_else_in_batch"))
"""Those that take explicit negatives where the data has them."""

SCORED: frozenset[Negatives] = frozenset(("in_batch", "all", "own_else_in_batch", "none"))
"""Those of losses that compare the rows of a batch with each other; CoSENT has no negatives, and does."""


def has_column(data: Data) -> bool:
    """Whether the data names a column of negatives."""
    return isinstance(data, TableData) and data.columns.negatives is not None


def mined_of(data: Data) -> MinedNegatives | None:
    """How negatives are mined; texts alone have none."""
    return None if isinstance(data, TextData) else data.negatives


def has_explicit(data: Data) -> bool:
    """Whether rows have negatives of their own, from a column or mined."""
    return has_column(data) or mined_of(data) is not None


def per_row(data: Data, scan: Scan) -> int:
    """Explicit negatives of a row at most."""
    mined = mined_of(data)
    return scan.negatives if mined is None else mined.num_negatives


@overload
def negatives_of(loss: InfoNCELoss | ColBERTLoss, data: Data) -> Stated: ...
@overload
def negatives_of(loss: Loss, data: Data) -> Negatives: ...
def negatives_of(loss: Loss, data: Data) -> Negatives:
    """The negatives of a loss; null is all there are."""
    match loss:
        case InfoNCELoss() | SigLIPLoss() | ColBERTLoss() | DenseLateKLLoss():
            return loss.negatives or ("all" if has_explicit(data) else "in_batch")
        case TripletLoss():
            return "own_else_in_batch"
        case CoSENTLoss():
            return "none"
        case MaskedDiffusionLoss():
            return "pair"
        case DistillationLoss():
            if loss.teacher is None:
                return "own" if has_column(data) else "pair"
            return loss.negatives or ("all" if has_explicit(data) else "in_batch")
        case _:
            assert_never(loss)
