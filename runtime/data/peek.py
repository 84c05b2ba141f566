"""A look at the first rows, for ``check``: quick, and without numpy, whose import alone would be slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from specrun.runtime.data.columns import nearest, rows_of_records
from specrun.runtime.data.emoji_font import read_font
from specrun.runtime.data.pictures import Existing
from specrun.runtime.data.prose import decoded
from specrun.runtime.data.raw import BUILT_IN_FIELDS, Fault, FileError, Record, Row
from specrun.runtime.data.sources import (
    Place,
    compile_patterns,
    is_python,
    no_texts,
    places,
    text_pattern,
    unreadable,
    walk,
    walk_texts,
)
from specrun.runtime.data.tables import need_regular, open_table, table_files
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.data import (
    FORMAT,
    EmojiSource,
    HeldOut,
    PythonSource,
    Source,
    Table,
    TextSource,
)

ROWS, BYTES = 2000, 8 << 20
"""Rows and bytes looked at. A numeric column that occurs only later is not among the fields."""

FILES, TEXT_BYTES = 20, 1 << 20
"""Text files looked at, and bytes of each."""

Problem = tuple[str, str, str, str]
"""(code, path in the spec, message, how to mend it)"""


@dataclass(frozen=True)
class Found:
    """Numeric fields of the first rows, and what is wrong at first sight."""

    fields: tuple[str, ...]
    problems: tuple[Problem, ...]


def peek(source: Source, held_out: HeldOut | None) -> Found:
    """Look at the beginning of every input. Bad rows are problems only where no row is good."""
    fields = list(BUILT_IN_FIELDS)
    problems: list[Problem] = []
    if isinstance(source, PythonSource):
        problems += _peek_trees(source)
    if isinstance(
        source, EmojiSource
    ):  # drawn when compiled; here it is enough that the font can be read
        return Found(tuple(fields), tuple(_peek_font(source)))
    for place in places(source, held_out):
        if isinstance(place.source, TextSource):
            problems += _peek_texts(place, place.source)
            fields += [FORMAT] if place.role == "data" else []
        elif not isinstance(place.source, PythonSource):
            numbers, wrong = _peek_table(place, place.source)
            problems += wrong
            fields += sorted(numbers - set(fields)) if place.role == "data" else []
    return Found(tuple(fields), tuple(problems))


def _peek_font(source: EmojiSource) -> Iterator[Problem]:
    try:
        read_font(Path(source.path))
    except InputError as error:
        yield from ((d.code, "data.font", d.message, d.hint) for d in error.diagnostics)


def _peek_trees(source: PythonSource) -> Iterator[Problem]:
    try:
        patterns = compile_patterns(source.exclude)
    except InputError as error:
        yield from ((d.code, d.path, d.message, d.hint) for d in error.diagnostics)
        return
    for i, root in enumerate(source.roots):
        path = f"data.roots[{i}]"
        try:
            Path(root).stat()
            if next(walk(Path(root), patterns), None) is None:
                hint = "check the folder, and data.exclude"
                yield "no-files", path, f"there is no Python file to read below {root}", hint
        except OSError as error:
            yield _problem(unreadable(Place("data", path, root, source), error))


def _peek_texts(place: Place, source: TextSource) -> Iterator[Problem]:
    """A pattern that fits nothing, and files of which none of the first is readable as text."""
    try:
        found = list(islice(walk_texts(Path(place.path), text_pattern(source)), FILES))
        if not found:
            yield _problem(no_texts(place, source))
            return
    except InputError as error:
        yield from ((d.code, d.path, d.message, d.hint) for d in error.diagnostics)
        return
    except OSError as error:
        yield _problem(unreadable(place, error))
        return
    faults = [fault for name, path in found if (fault := _text_fault(name, path)) is not None]
    if len(faults) == len(found):
        first = faults[0]
        message = f"no text is usable; the first files have faults: {first.reason} ({first.place})"
        yield "bad-row", place.key, message, first.detail


def _text_fault(name: str, path: Path) -> Fault | None:
    """What makes the beginning of a file unusable."""
    try:
        need_regular(path)
        with path.open("rb") as file:
            raw = file.read(TEXT_BYTES)
            whole = not file.read(1)
    except OSError as error:
        return Fault("unreadable file", name, detail=error.strerror or str(error))
    if is_python(path.name):  # which may be in another encoding
        return None
    text = decoded(raw, name, whole=whole)
    return text if isinstance(text, Fault) else None


def _peek_table(place: Place, source: Table) -> tuple[set[str], tuple[Problem, ...]]:
    """Numeric columns of the first rows, and problems."""
    try:
        found = list(islice(_records(source), ROWS))
    except (OSError, FileError) as error:
        return set(), (_problem(unreadable(place, error)),)
    rows = list(rows_of_records(found, source, source.images and Existing(source.images)))
    good = [x for x in rows if isinstance(x, Row)]
    faults = [x for x in rows if isinstance(x, Fault)]
    if good:
        return {key for row in good for key in row.numbers}, _missing(place, source, found)
    if not faults:
        hint = "check the file"
        return set(), (("no-rows", place.key, f"{place.path} holds no row", hint),)
    return set(), (_all_bad(place, source, faults, found),)


def _records(source: Table) -> Iterator[Record | Fault]:
    """What the files hold, one after the other, text files to about ``BYTES``."""
    for name, path in table_files(source):
        yield from open_table(source, name, path, BYTES)


def _missing(place: Place, source: Table, found: list[Record | Fault]) -> tuple[Problem, ...]:
    """Columns of negatives, labels and scores that none of the rows looked at has."""
    problems: list[Problem] = []
    records = [x for x in found if isinstance(x, Record)]
    for key in ("negatives", "label", "score", "negative_scores"):
        name = getattr(source, key)
        if place.role == "data" and name and not any(name in r.values for r in records):
            message = f"none of the first {len(records)} rows has a column `{name}`"
            hint = nearest(name, list(records[0].values))
            problems.append(("unknown-column", f"data.columns.{key}", message, hint))
    return tuple(problems)


def _all_bad(
    place: Place, source: Table, faults: list[Fault], found: list[Record | Fault]
) -> Problem:
    reason, count = Counter(f.reason for f in faults).most_common(1)[0]
    first = next(f for f in faults if f.reason == reason)
    looked = "every row" if len(faults) == count else "nearly every row"
    message = f"no row is usable; {looked} looked at has this fault: {reason} ({first.place})"
    for name in ("query", "query_image", "positive"):
        key = getattr(source, name)
        if reason == f"no key `{key}`":
            at = f"data.columns.{name}" if place.role == "data" else place.key
            columns = next(list(x.values) for x in found if _is_at(x, first))
            return "unknown-column", at, message, nearest(key, columns)
    return "bad-row", place.key, message, f"{first.detail}".strip()


def _is_at(found: Record | Fault, fault: Fault) -> bool:
    return isinstance(found, Record) and (found.file, found.line) == (fault.file, fault.line)


def _problem(found: Diagnostic) -> Problem:
    return found.code, found.path, found.message, found.hint
