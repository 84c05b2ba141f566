"""What the rows are: the first of them for ``check``, all of them for ``compile``."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.draft import Context, Draft
from specrun.compiler.passes.faults import report_all
from specrun.compiler.passes.lengths import bad_rows
from specrun.compiler.passes.places import is_there
from specrun.compiler.passes.repeated import warn_of_repeated
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import (
    HeldOut,
    HeldOutFile,
    Scan,
    Source,
    TableSource,
    TextSource,
    modality,
)
from specrun.spec.words.losses import CoSENTLoss


def peek_data(draft: Draft, context: Context) -> Draft:
    """Look at the first rows, for ``check``: the columns there are, and the faults that show at once."""
    source: Source = draft.need("source")
    held = draft.held_out
    if not is_there(source) or (isinstance(held, HeldOutFile) and not is_there(held.source)):
        return draft  # which is told already
    if modality(source, "query") != "text" and getattr(source, "query_image", None) is None:
        return draft  # told too: the column is missing
    try:
        found = context.facts.peek(source, held)
    except InputError as error:
        report_all(error, "data", context)
        return draft
    for code, path, message, hint in found.problems:
        context.report.error(path, code, message, hint=hint)
    return replace(draft, fields=found.fields)


def scan_data(draft: Draft, context: Context) -> Draft:
    """Read all rows: counts, faults, split, digest."""
    data = draft.spec.data
    try:
        scan = context.facts.scan(draft.need("source"), draft.held_out, bad_rows(data))
    except InputError as error:
        report_all(error, "data", context)
        return draft
    if scan.training_rows == 0:
        context.report.error(
            "data", "no-rows", "the data holds no training row", hint=_why_none(scan)
        )
    if draft.held_out is not None and scan.validation_rows == 0:
        context.report.error(
            "data.validation",
            "no-rows",
            "no row is held out",
            hint=_why_none_held_out(draft.need("source"), draft.held_out, scan),
        )
    _need_values(draft, scan, context)
    warn_of_repeated(draft, scan, context)
    for bad in scan.bad:
        context.report.warning(
            "data",
            "bad-rows",
            f"{bad.count} left out: {bad.reason}",
            hint="for instance " + ", ".join(bad.places),
        )
    return replace(draft, scan=scan, fields=tuple(f.name for f in scan.fields))


def _need_values(draft: Draft, scan: Scan, context: Context) -> None:
    """A column that is named and gives nothing would be ignored."""
    source: Source = draft.need("source")
    if not isinstance(source, TableSource) or scan.training_rows == 0:
        return
    for key, count, what in (
        ("negatives", scan.negatives, "an explicit negative"),
        ("label", scan.labels, "a label"),
        ("score", scan.scores, "a score"),
        ("negative_scores", scan.negative_scores, "a score of a negative"),
    ):
        name = getattr(source, key)
        if name is not None and count == 0:
            message = f"no training row has {what}: the column {name!r} is missing or empty"
            hint = f"check the name, or remove columns.{key}"
            context.report.error(f"data.columns.{key}", "no-values", message, hint=hint)
    if scan.scores == 1 and any(isinstance(x, CoSENTLoss) for x in draft.spec.losses):
        message = (
            f"all scores of the column {source.score!r} are the same, so none is above another"
        )
        hint = "check the data, or remove the loss and columns.score"
        context.report.error("data.columns.score", "one-value", message, hint=hint)


def _why_none_held_out(source: Source, held: HeldOut, scan: Scan) -> str:
    if isinstance(held, HeldOutFile):
        return "check the file"
    if not isinstance(source, TextSource):
        return "raise the fraction, or check the file"
    whole = next((x.rows_read for x in scan.formats if x.format == "paragraphs"), None)
    own = "write `validation: {kind: file, path: …}` with texts of their own"
    if whole == 1 or scan.rows_read == 1:
        return f"a paragraph is held out whole or not at all, and the texts are a single one: part them by blank lines, or {own}"
    return f"a paragraph is held out whole or not at all: part the texts by blank lines, raise the fraction where there are several, or {own}"


def _why_none(scan: Scan) -> str:
    """What became of all rows."""
    short = sum(count.too_short for count in scan.formats)
    if short or (scan.formats and (scan.validation_rows or scan.dropped_by_split)):
        return (
            f"of the texts {short} are shorter than data.min_chars; of the rows {scan.validation_rows} are held out, "
            f"and {scan.dropped_by_split} repeat such"
        )
    if scan.bad:
        return "every row was left out as bad; see the warnings"
    return "check the path" if scan.formats else "check the path and the columns"
