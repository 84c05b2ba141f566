"""Read all data once: canonical rows, counts, faults; and prove later that the data is unchanged."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime import cache
from specrun.runtime.data import python_source
from specrun.runtime.data.columns import FindImage, rows_of_records
from specrun.runtime.data.pictures import Pictures
from specrun.runtime.data.prose import Prose, read_prose
from specrun.runtime.data.raw import BUILT_IN_FIELDS, Fault, FileError, Row, by_class
from specrun.runtime.data.rows import Rows, Split, load_rows, store_rows
from specrun.runtime.data.sources import Listing, Place, list_inputs, places, unreadable
from specrun.runtime.data.split import Division, divide, repeated
from specrun.runtime.data.tables import as_table, open_table
from specrun.runtime.telling import Tell, silent
from specrun.spec.codec import from_plain, to_plain
from specrun.spec.diagnostics import Diagnostic, InputError, RunError
from specrun.spec.plan.data import (
    DataPlan,
    EmojiSource,
    FieldRange,
    FormatCount,
    HeldOut,
    HeldOutFraction,
    Input,
    PythonSource,
    Scan,
    Source,
    TableSource,
    TextSource,
    texts_only,
)

FORMAT = 3
"""Raised with every change of what is read from the same files: it is part of the cache's keys."""

MAX_FIELDS = 256
FAULTS_KEPT = 50
TOLD_EVERY = 1000
"""Rows between two words of progress."""

_KIND = "scans"
_RESERVED = "rename the column in the data: `query_chars`, `positive_chars` and `positive_lines` are computed"


@dataclass(frozen=True)
class _Read:
    """What reading found, before the split."""

    rows: list[Row]
    held_out: list[Row]
    faults: list[Fault]
    images: Mapping[str, str]
    prose: Prose


def scan(source: Source, held_out: HeldOut | None, bad_rows: str, tell: Tell = silent) -> Scan:
    """Read all rows, store the canonical ones, and say what was found.

    The answer is kept by the digests of the inputs, so that a second call only reads those.
    ``bad_rows`` is ``skip`` or ``error``. InputError for missing inputs and, with ``error``, for bad
    rows; RunError when the cache cannot be written or an input changes while it is read.
    """
    listings = list_inputs(source, held_out)
    source = as_table(source)
    key = _key(source, held_out, listings)
    tree = _known(key) or _read_and_keep(key, source, held_out, listings, tell)
    found = replace(from_plain(Scan, tree["scan"]), inputs=tuple(x.input for x in listings))
    if bad_rows == "error" and found.bad:
        raise InputError(_diagnostics(tree["faults"], sum(b.count for b in found.bad)))
    return found


def verify_inputs(data: DataPlan) -> None:
    """Compare the inputs with what was compiled. InputError names each that changed or is gone."""
    now = {(x.input.role, x.input.path): x for x in list_inputs(data.source, data.validation)}
    changed = [
        Diagnostic(
            code="changed-input",
            file=old.path,
            message=f"the {old.role} changed since the plan was compiled{_which(old, listing)}",
            hint="restore it, or compile the spec again",
        )
        for old in data.scan.inputs
        if (listing := now.get((old.role, old.path))) is None or listing.input.digest != old.digest
    ]
    if changed:
        raise InputError(changed)


def ensure_rows(data: DataPlan, tell: Tell = silent) -> Rows:
    """The plan's rows, from the cache, or read again where it has lost them.

    InputError when the data now gives other rows.
    """
    if (rows := load_rows(data.scan.rows_digest)) is not None:
        return rows
    again = scan(data.source, data.validation, "skip", tell)
    if again.rows_digest != data.scan.rows_digest:
        verify_inputs(data)
        raise InputError(
            f"the data gives other rows than when the plan was compiled, by another version of "
            f"specrun or Python ({sys.version_info.major}.{sys.version_info.minor} here)",
            code="changed-rows",
            hint="compile the spec again",
        )
    return rows_of(again.rows_digest)


def rows_of(digest: str) -> Rows:
    """The rows that a scan has just stored. RunError when the cache lost them since."""
    if (rows := load_rows(digest)) is None:
        raise RunError(f"the cache below {cache.cache_root()} lost the rows; compile again")
    return rows


def _key(source: Source, held_out: HeldOut | None, listings: Sequence[Listing]) -> str:
    """What the rows depend on: contents and settings, not where the files lie."""
    parts: dict[str, Any] = {
        "format": FORMAT,
        "inputs": [x.input.digest for x in listings],
        "names": [_shown(source, x) for x in listings],
        "source": _without_paths(to_plain(source)),
        "held_out": _without_paths(to_plain(held_out)),
    }
    if not isinstance(source, TableSource):
        parts["python"] = list(sys.version_info[:2])
    return cache.digest_of(parts)


def _without_paths(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {k: _without_paths(v) for k, v in tree.items() if k not in ("path", "roots", "root")}


def _prefix(source: Source, listing: Listing) -> str:
    """What goes before names in places: a root's own name, where there are several roots."""
    several = isinstance(source, PythonSource) and len(source.roots) > 1
    root = Path(listing.input.path)
    return f"{root.name}/" if several and root.is_dir() else ""


def _shown(source: Source, listing: Listing) -> str:
    """What places say of an input, beside the names below it."""
    root = Path(listing.input.path)
    walked = isinstance(source, PythonSource) and listing.input.role == "data"
    below = (walked or isinstance(source, TextSource)) and root.is_dir()
    return _prefix(source, listing) or ("" if below else root.name)


def _known(key: str) -> dict[str, Any] | None:
    folder = cache.find(_KIND, key)
    if folder is None:
        return None
    tree = json.loads((folder / "scan.json").read_text(encoding="utf-8"))
    return tree if load_rows(tree["scan"]["rows_digest"]) is not None else None


def _read_and_keep(
    key: str, source: Source, held_out: HeldOut | None, listings: Sequence[Listing], tell: Tell
) -> dict[str, Any]:
    read = _read(source, held_out, listings, tell)
    tree = {
        "scan": to_plain(_summary(read, source, held_out)),
        "faults": [[f.reason, f.file, f.line, f.detail] for f in read.faults[:FAULTS_KEPT]],
    }
    text = json.dumps(tree, sort_keys=True)
    cache.make(_KIND, key, lambda folder: _write(folder / "scan.json", text))
    return tree


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _summary(read: _Read, source: Source, held_out: HeldOut | None) -> Scan:
    _check_fields([*read.rows, *read.held_out])
    fraction = held_out.fraction if isinstance(held_out, HeldOutFraction) else None
    division = divide(read.rows, fraction, read.held_out)
    training = _cut(division.training, source)
    key = source.score if isinstance(source, TableSource) else None
    alone = texts_only(source)
    digest = store_rows(training, division.validation, read.images, texts_only=alone)
    rows = rows_of(digest)
    return Scan(
        inputs=(),
        rows_digest=digest,
        rows_read=len(read.rows) + len(read.held_out) + len(read.faults),
        bad=by_class(read.faults),
        duplicates=division.duplicates,
        dropped_by_split=division.dropped,
        training_rows=len(rows.training),
        validation_rows=len(rows.validation),
        fields=_ranges(rows.training),
        negatives=max((len(row.negatives) for row in training), default=0),
        labels=len({row.label for row in training if row.label}),
        scores=len({row.numbers[key] for row in training if key in row.numbers}) if key else 0,
        negative_scores=sum(not math.isnan(x) for row in training for x in row.negative_scores),
        repeated=0 if alone else repeated(training),
        formats=_formats(read, source, division),
    )


def _formats(read: _Read, source: Source, division: Division) -> tuple[FormatCount, ...]:
    """What became of the texts of each format."""
    training, validation = (Counter(row.family for row in side) for side in division[:2])
    return tuple(
        FormatCount(
            format=name,
            rows_read=read.prose.counts[name, "rows"],
            cut=read.prose.counts[name, "cut"],
            too_short=read.prose.counts[name, "too_short"],
            alone=read.prose.counts[name, "alone"],
            duplicates=division.repeats[name],
            dropped_by_split=division.leaks[name],
            training_rows=training[name],
            validation_rows=validation[name],
        )
        for name in (source.formats if isinstance(source, TextSource) else ())
    )


def _cut(rows: list[Row], source: Source) -> list[Row]:
    """Training rows with as many of their negatives as are kept."""
    if not isinstance(source, TableSource) or source.max_negatives is None:
        return rows
    most = source.max_negatives
    return [
        replace(row, negatives=row.negatives[:most], negative_scores=row.negative_scores[:most])
        for row in rows
    ]


def _read(
    source: Source, held_out: HeldOut | None, listings: Sequence[Listing], tell: Tell
) -> _Read:
    at = list(places(source, held_out))
    pictures = _pictures(source, listings[len(at) :], tell)
    prose = Prose()
    read = _Read([], [], prose.faults, pictures.names if pictures else {}, prose)
    listings = listings[: len(at)]
    done, total = 0, sum(f.bytes for listing in listings for f in listing.files)

    def advance(by: int) -> None:
        nonlocal done
        done += by
        tell("reading data, bytes", min(done, total - 1), total)

    image = pictures.item if pictures else None
    for place, listing in zip(at, listings, strict=True):
        rows = read.rows if place.role == "data" else read.held_out
        if isinstance(place.source, PythonSource):
            prefix = _prefix(place.source, listing)
            for file in listing.files:
                found, faults = python_source.read_file(file, prefix)
                rows.extend(found)
                read.faults.extend(faults)
                advance(file.bytes)
        elif isinstance(place.source, TextSource):
            for file in listing.files:
                rows.extend(read_prose(file, place.source, read.prose))
                advance(file.bytes)
        else:
            _read_table(place, listing, rows, read.faults, advance, image)
    tell("reading data, bytes", total, total)
    return read


def _pictures(source: Source, images: Sequence[Listing], tell: Tell) -> Pictures | None:
    if not isinstance(source, TableSource) or source.images is None:
        return None
    return Pictures(images[0], source.images, tell)


def _read_table(
    place: Place,
    listing: Listing,
    rows: list[Row],
    faults: list[Fault],
    advance: Callable[[int], None],
    image: FindImage | None,
) -> None:
    columns = place.source
    assert not isinstance(columns, PythonSource | EmojiSource | TextSource)
    try:
        for file in listing.files:
            reader = open_table(columns, file.name, file.path)
            before = 0
            for number, found in enumerate(rows_of_records(reader, columns, image)):
                if number % TOLD_EVERY == 0:
                    advance(reader.read - before)
                    before = reader.read
                if isinstance(found, Row):
                    rows.append(found)
                else:
                    faults.append(found)
            advance(file.bytes - before)
            if reader.digest != file.digest:
                raise RunError(f"{file.path} changed while it was read; start again")
    except (OSError, FileError) as error:
        raise InputError([unreadable(place, error)]) from error


def _check_fields(rows: Sequence[Row]) -> None:
    names = {key for row in rows for key in row.numbers}
    if clash := sorted(names & set(BUILT_IN_FIELDS)):
        shown = ", ".join(f"`{name}`" for name in clash)
        message = f"the rows have columns that name built-in fields: {shown}"
        raise InputError(message, code="reserved-field", hint=_RESERVED)
    if len(names) > MAX_FIELDS:
        message = (
            f"the rows have {len(names)} different numeric columns; at most {MAX_FIELDS} can be"
        )
        hint = "leave columns of numbers out of the data, or put them into a nested object"
        raise InputError(message, code="too-many-fields", hint=hint)


def _ranges(split: Split) -> tuple[FieldRange, ...]:
    return tuple(
        FieldRange(
            name=name,
            count=len(there),
            minimum=float(there.min()),
            maximum=float(there.max()),
        )
        for name, values in sorted(split.fields.items())
        if len(there := values[~np.isnan(values)])
    )


def _diagnostics(faults: Sequence[Sequence[Any]], total: int) -> list[Diagnostic]:
    found = [
        Diagnostic(
            code="bad-row",
            path="data",
            file=file,
            line=line,
            column=1 if line else 0,
            message=f"{reason}: {detail}" if detail else str(reason),
            hint="mend it, or set data.bad_rows to skip",
        )
        for reason, file, line, detail in faults
    ]
    if total > len(found):
        more = f"{total - len(found)} more bad rows are not shown; {total} in all"
        found.append(Diagnostic(code="bad-row", path="data", message=more))
    return found


def _which(old: Input, listing: Listing | None) -> str:
    if listing is None:
        return ": it is gone"
    if listing.input.files != old.files:
        return f": {listing.input.files} files, and {old.files} then"
    return f": {listing.input.bytes} bytes, and {old.bytes} then"
