"""A look at the first rows, for ``check``: quick, and without numpy, whose import alone would be slow."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from specrun.runtime.data.jsonl import JsonlReader, parse_line
from specrun.runtime.data.raw import BUILT_IN_FIELDS, Fault, Row
from specrun.runtime.data.sources import compile_patterns, need_regular, walk
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import HeldOut, HeldOutFile, JsonlSource, PythonSource, Source

ROWS, BYTES = 2000, 8 << 20
"""Rows and bytes looked at. A numeric key that occurs only later is not among the fields."""

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
    match source:
        case PythonSource():
            problems += _peek_trees(source)
        case JsonlSource():
            numbers, wrong = _peek_file(source, "data")
            fields += sorted(numbers - set(fields))
            problems += wrong
    if isinstance(held_out, HeldOutFile):
        problems += _peek_file(held_out, "data.validation")[1]
    return Found(tuple(fields), tuple(problems))


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
            yield _unreadable(path, root, error)


def _peek_file(
    columns: JsonlSource | HeldOutFile, path: str
) -> tuple[set[str], tuple[Problem, ...]]:
    """Numeric keys of the first rows, and problems."""
    reader = JsonlReader(Path(columns.path), columns.query, columns.positive, BYTES)
    try:
        need_regular(Path(columns.path))
        found = list(islice(reader, ROWS))
    except OSError as error:
        return set(), (_unreadable(f"{path}.path", columns.path, error),)
    rows = [x for x in found if isinstance(x, Row)]
    if rows:
        return {key for row in rows for key in row.numbers}, ()
    faults = [x for x in found if isinstance(x, Fault)]
    if not faults:
        return set(), (
            ("no-rows", f"{path}.path", f"{columns.path} holds no row", "check the file"),
        )
    return set(), (_all_bad(columns, faults, path),)


def _all_bad(columns: JsonlSource | HeldOutFile, faults: list[Fault], path: str) -> Problem:
    reason, count = Counter(f.reason for f in faults).most_common(1)[0]
    first = next(f for f in faults if f.reason == reason)
    looked = "every row" if len(faults) == count else "nearly every row"
    message = f"no row is usable; {looked} looked at has this fault: {reason} ({first.place})"
    for name, key in (("query", columns.query), ("positive", columns.positive)):
        if reason == f"no key `{key}`":
            at = f"data.columns.{name}" if path == "data" else f"{path}.path"
            return "unknown-column", at, message, _nearest(Path(columns.path), first.line, key)
    return "bad-row", f"{path}.path", message, f"{first.detail}".strip()


def _nearest(path: Path, line: int, key: str) -> str:
    """What keys the row has, the most similar one first."""
    with path.open("rb") as file:
        keys = list(parse_line(next(islice(file, line - 1, None))))
    close = difflib.get_close_matches(key, keys, n=1)
    shown = ", ".join(f"`{k[:40]}`" for k in keys[:8])
    return (f"did you mean `{close[0]}`? " if close else "") + f"the rows have {shown or 'no keys'}"


def _unreadable(path: str, file: str, error: OSError) -> Problem:
    message = f"cannot read {file}: {error.strerror or error}"
    return "unreadable", path, message, "check that it exists and may be read"
