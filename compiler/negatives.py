"""What a loss tells a query from, where the spec leaves it to the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from specrun.spec.words.data import Data, PythonSourceData
from specrun.spec.words.losses import Loss

if TYPE_CHECKING:
    from specrun.spec.plan.data import Scan

Negatives = Literal["in_batch", "own", "all"]


def has_column(data: Data) -> bool:
    """Whether the data names a column of negatives."""
    return not isinstance(data, PythonSourceData) and data.columns.negatives is not None


def has_explicit(data: Data) -> bool:
    """Whether rows have negatives of their own, from a column or mined."""
    return has_column(data) or data.negatives is not None


def negatives_of(loss: Loss, data: Data) -> Negatives:
    """The negatives of a loss; null is all there are."""
    return loss.negatives or ("all" if has_explicit(data) else "in_batch")


def per_row(data: Data, scan: Scan) -> int:
    """Explicit negatives of a row at most."""
    return scan.negatives if data.negatives is None else data.negatives.num_negatives
