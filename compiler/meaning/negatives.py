"""Checks that every loss has what it tells a query from: explicit, mined and in-batch negatives, labels."""

from __future__ import annotations

from specrun.compiler.chunks import chunk_key
from specrun.compiler.meaning.effects import no_effect
from specrun.compiler.meaning.scores import compares_pairs
from specrun.compiler.negatives import (
    EXPLICIT,
    SCORED,
    Negatives,
    has_column,
    has_explicit,
    mined_of,
    negatives_of,
)
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.losses import (
    ColBERTLoss,
    DenseLateKLLoss,
    DistillationLoss,
    InfoNCELoss,
    SigLIPLoss,
    TripletLoss,
)
from specrun.spec.words.tables import TableData

FEW_NEGATIVES = 8

MASKING = InfoNCELoss | TripletLoss | SigLIPLoss
"""Losses that can take candidates for false negatives."""

TAKING = InfoNCELoss | SigLIPLoss | DistillationLoss | ColBERTLoss | DenseLateKLLoss
"""Losses that say which negatives they take."""


def explicit_negatives_exist(spec: Experiment, report: Reporter) -> None:
    """A loss can only take negatives that the data has, and a column is there to be taken by something."""
    for index, loss in enumerate(spec.losses):
        named = loss.negatives if isinstance(loss, TAKING) else None
        if named in ("own", "all") and not has_explicit(spec.data):
            path = f"losses[{index}].negatives"
            message = f"`{path}` is `{named}`, and the data names no column of negatives"
            hint = (
                "add `data: {columns: {negatives: NAME}}` or `data.negatives`, or write `in_batch`"
            )
            related = ("data.columns.negatives",)
            report.error(path, "no-negatives", message, hint=hint, related=related)
    taken = any(negatives_of(loss, spec.data) in EXPLICIT for loss in spec.losses)
    if has_column(spec.data) and not taken and spec.evaluation is None:
        path, related = "data.columns.negatives", ("losses[0].negatives",)
        message = f"`{path}` has no effect: no loss takes explicit negatives (`negatives: in_batch`, `kind: cosent`), and nothing is evaluated"
        report.error(path, "no-effect", message, hint="remove it", related=related)


def false_negatives_are_some(spec: Experiment, report: Reporter) -> None:
    """A section of false negatives takes something for one."""
    for index, loss in enumerate(spec.losses):
        false = loss.false_negatives if isinstance(loss, MASKING) else None
        if false is None:
            continue
        at = ("losses", index, "false_negatives")
        own = negatives_of(loss, spec.data) == "own"
        if own:
            message = (
                "`identical` has no effect: a row's own negatives are other texts than its positive"
            )
            no_effect(report, (*at, "identical"), ("losses", index, "negatives"), message)
        if false.margin is None:
            message = "`margin_strategy` has no effect without a `margin`"
            no_effect(report, (*at, "margin_strategy"), (*at, "margin"), message)
            if own or not false.identical:
                path = f"losses[{index}].false_negatives"
                message = f"`{path}` takes nothing for a false negative"
                hint = "give a `margin`, or remove the section"
                report.error(path, "no-effect", message, hint=hint, blame="key")


def mining_is_used(spec: Experiment, report: Reporter) -> None:
    """Mined negatives stand alone, are enough for a row, and some loss takes them."""
    mined = mined_of(spec.data)
    if mined is None:
        return
    if has_column(spec.data):
        message = (
            "`data.negatives` mines negatives, and `data.columns.negatives` names a column of them"
        )
        hint = "keep one of the two"
        related = ("data.columns.negatives",)
        code = "two-negatives"
        report.error("data.negatives", code, message, hint=hint, blame="key", related=related)
    if not any(negatives_of(loss, spec.data) in EXPLICIT for loss in spec.losses):
        message = "`data.negatives` has no effect: no loss takes explicit negatives"
        hint = "write `negatives: all` or `own` at a loss, or remove it"
        related = ("losses[0].negatives",)
        report.error(
            "data.negatives", "no-effect", message, hint=hint, blame="key", related=related
        )
    left = mined.top_k - mined.skip_top
    if mined.num_negatives > left:
        path, related = "data.negatives.num_negatives", ("data.negatives.top_k",)
        message = (
            f"`{path}` {mined.num_negatives} is more than the {max(left, 0)} that "
            f"`top_k` {mined.top_k} less `skip_top` {mined.skip_top} leave"
        )
        report.error(path, "too-many", message, hint="raise `top_k`", related=related)


def labels_taken(spec: Experiment, report: Reporter) -> None:
    """Labels keep rows from being each other's negatives: a loss without in-batch negatives takes none."""
    column = spec.data.columns.label if isinstance(spec.data, TableData) else None
    taking = [loss for loss in spec.losses if not isinstance(loss, DistillationLoss)]
    kinds = {negatives_of(loss, spec.data) for loss in taking}
    if column is not None and kinds <= {"own", "none"}:
        message = "`data.columns.label` has no effect: no loss has other rows as negatives"
        no_effect(report, ("data", "columns", "label"), ("losses", 0, "kind"), message)


def negatives_suffice(spec: Experiment, report: Reporter) -> None:
    rows = spec.train.batch_size
    path = "train.batch_size"
    explicit = has_explicit(spec.data)
    alone = [
        loss.kind
        for loss in spec.losses
        if _needs_rows(negatives_of(loss, spec.data), explicit) and not compares_pairs(loss)
    ]
    if rows == 1 and (wanting := [kind for kind in alone if kind != "siglip"]):
        what = "two rows to compare" if wanting[0] == "cosent" else "negatives"
        message = f"with a batch of 1 row `{wanting[0]}` has no {what}, and its loss is always 0"
        hint = f"write at least {FEW_NEGATIVES + 1}"
        report.error(path, "no-negatives", message, hint=hint)
    elif rows <= FEW_NEGATIVES and set(alone) - {"cosent"}:
        message = f"each query has only {rows - 1} negatives, the other rows of its batch"
        hint = f"raise it; `{chunk_key(spec.train)}` bounds the memory"
        report.warning(path, "few-negatives", message, hint=hint)
    comparing = [loss.kind for loss in spec.losses if negatives_of(loss, spec.data) in SCORED]
    if spec.train.accumulation_steps > 1 and comparing:
        path = "train.accumulation_steps"
        names = " and ".join(f"`{kind}`" for kind in dict.fromkeys(comparing))
        message = f"accumulation adds no negatives to {names}: each pass sees its own batch"
        hint = f"raise `train.batch_size`; `{chunk_key(spec.train)}` bounds the memory"
        report.warning(path, "accumulation-in-batch", message, hint=hint)


def _needs_rows(negatives: Negatives, explicit: bool) -> bool:
    """Whether a loss has nothing but the other rows of a batch to compare a row with."""
    return negatives in ("in_batch", "none") or (negatives == "own_else_in_batch" and not explicit)


def negatives_to_bound(spec: Experiment, report: Reporter) -> None:
    data = spec.data
    if isinstance(data, TableData) and data.max_negatives and data.columns.negatives is None:
        message = "`data.max_negatives` has no effect: `data.columns.negatives` names no column"
        no_effect(report, ("data", "max_negatives"), ("data", "columns", "negatives"), message)
