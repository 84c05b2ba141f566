"""Rows that repeat a query or a positive of others, as those of a list of positives do, and losses that mind."""

from __future__ import annotations

from typing import assert_never

from specrun.compiler.draft import Context, Draft
from specrun.compiler.negatives import negatives_of
from specrun.spec.plan.data import Scan, TableSource
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


def warn_of_repeated(draft: Draft, scan: Scan, context: Context) -> None:
    """A warning for every loss that takes a right answer of one row for a wrong one of another."""
    if not scan.repeated or not isinstance(draft.need("source"), TableSource):
        return
    for index, loss in enumerate(draft.spec.losses):
        mend = _mend(loss, index, draft.spec.data)
        if mend is None:
            continue
        context.report.warning(
            f"losses[{index}].kind",
            "repeated-positives",
            f"{scan.repeated} of {scan.training_rows} training rows have a query or a positive of another row "
            f"(a list of positives gives such), and in one batch `{loss.kind}` takes a right answer of one for a "
            "wrong answer of the other",
            hint=f"{mend}rows of one label (`data.columns.label`) are never each other's negatives",
        )


def _mend(loss: Loss, index: int, data: Data) -> str | None:
    """How the loss is told; None where it does not compare a row with others' positives, or is told already."""
    match loss:
        case InfoNCELoss() | TripletLoss() | SigLIPLoss():
            false = loss.false_negatives
            told = false is not None and false.identical
            if told or negatives_of(loss, data) == "own":
                return None
            return f"write `losses[{index}].false_negatives: {{identical: true}}`; "
        case ColBERTLoss():
            return None if negatives_of(loss, data) == "own" else ""
        case CoSENTLoss() | DistillationLoss() | DenseLateKLLoss() | MaskedDiffusionLoss():
            return (
                None  # what belongs together is said by scores, by a teacher, by the model itself
            )
        case _:
            assert_never(loss)
