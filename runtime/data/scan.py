"""A full read of the data: rows checked, de-duplicated, split, written as an artefact, and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

import numpy as np

from specrun.runtime import cache
from specrun.runtime.data.faults import Faults
from specrun.runtime.data.jsonl import first_objects, read_jsonl
from specrun.runtime.data.python_source import read_functions, source_files, source_input
from specrun.runtime.data.rows import Row, Rows, Split, read_rows, write_rows
from specrun.runtime.data.split import Sides, by_file, by_fraction, no_split
from specrun.spec.codec import from_plain, to_plain
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.data import (
    DataPlan,
    FieldRange,
    HeldOut,
    HeldOutFile,
    HeldOutFraction,
    Input,
    JsonlSource,
    PythonSource,
    Scan,
    Source,
)

VERSION = 1
"""Of reading and splitting: raise it when either changes, so that no old artefact is taken."""

BUILT_IN = ("query_chars", "positive_chars", "positive_lines")
PEEKED = 50


@dataclass(frozen=True)
class Peek:
    """The first rows: numeric fields, and problems as (code, spec path, message, hint)."""

    fields: tuple[str, ...]
    problems: tuple[tuple[str, str, str, str], ...]


def scan(source: Source, held_out: HeldOut | None, bad_rows: str) -> Scan:
    """Read everything, or take what an earlier scan of the same inputs found.

    InputError when something cannot be read, or when ``bad_rows`` is ``error`` and there are any.
    """
    inputs = input_digests(source, held_out)
    key = _request(source, held_out, inputs)
    folder = cache.find("scan", key)
    if folder is not None:
        found = from_plain(Scan, json.loads((folder / "scan.json").read_text()))
        if cache.find("rows", _hex(found.rows_digest)) is not None and not (bad_rows == "error" and found.bad):
            return replace(found, inputs=inputs)
    fresh, faults = _read_all(source, held_out, inputs)
    if bad_rows == "error":
        faults.refuse()
    cache.obtain("scan", key, lambda f: _write_scan(f, fresh))
    return fresh


def peek(source: Source, held_out: HeldOut | None) -> Peek:
    """Look at the first rows only. InputError when a file cannot be read."""
    if isinstance(source, PythonSource):
        return Peek(fields=BUILT_IN, problems=())
    objects = first_objects(Path(source.path), PEEKED)
    problems = _missing_columns(source, objects, "data.columns")
    if isinstance(held_out, HeldOutFile):
        problems += _missing_columns(held_out, first_objects(Path(held_out.path), PEEKED), "data.validation.path")
    numeric = {k for o in objects for k, v in o.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return Peek(fields=(*BUILT_IN, *sorted(numeric - {source.query, source.positive})), problems=tuple(problems))


def input_digests(source: Source, held_out: HeldOut | None) -> tuple[Input, ...]:
    """Digests of the files as they are now. InputError when one cannot be read."""
    match source:
        case PythonSource():
            found = [source_input(source_files(source), ", ".join(source.roots))]
        case JsonlSource():
            found = [_file_input("data", source.path)]
        case _:
            assert_never(source)
    if isinstance(held_out, HeldOutFile):
        found.append(_file_input("validation", held_out.path))
    return tuple(found)


def verify_inputs(data: DataPlan) -> None:
    """InputError when a file of the data differs from what the plan was compiled from."""
    now = input_digests(data.source, data.validation)
    changed = [b for b, n in zip(data.scan.inputs, now, strict=True) if b.digest != n.digest]
    if changed:
        raise InputError(
            Diagnostic(
                code="input-changed",
                message=f"the {x.role} at {x.path} changed after the plan was compiled",
                path="data",
                hint="compile the spec again, or restore the files",
            )
            for x in changed
        )


def ensure_rows(data: DataPlan) -> Rows:
    """The plan's rows from the cache, read again from the sources when they are not there. InputError when changed."""
    digest = data.scan.rows_digest
    folder = cache.find("rows", _hex(digest))
    if folder is None:
        found = scan(data.source, data.validation, data.bad_rows)
        if found.rows_digest != digest:
            raise InputError(
                "the rows read now are not those that the plan was compiled from",
                code="input-changed",
                hint="compile the spec again",
            )
        folder = cache.find("rows", _hex(digest))
        assert folder is not None
    return read_rows(folder, digest)


def rows_of(digest: str) -> Rows:
    """Rows by digest, as ``scan`` left them in the cache."""
    folder = cache.find("rows", _hex(digest))
    if folder is None:
        raise InputError("the rows are no longer in the cache", code="cache", hint="compile the spec again")
    return read_rows(folder, digest)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _request(source: Source, held_out: HeldOut | None, inputs: tuple[Input, ...]) -> str:
    """What shapes the rows: settings and contents, not where the files lie."""
    settings = {k: v for k, v in to_plain(source).items() if k not in ("path", "roots")}
    held = None if held_out is None else {k: v for k, v in to_plain(held_out).items() if k != "path"}
    return cache.key_of(VERSION, settings, held, [i.digest for i in inputs])


def _read_all(source: Source, held_out: HeldOut | None, inputs: tuple[Input, ...]) -> tuple[Scan, Faults]:
    faults = Faults()
    sides = _split(map(_with_fields, _read(source, faults)), held_out, faults)
    folder = cache.publish("rows", lambda f: _write(f, sides))
    digest = "sha256:" + folder.name
    rows = read_rows(folder, digest)
    kept = len(sides.training) + len(sides.validation) + sides.duplicates + sides.dropped_by_split
    found = Scan(
        inputs=inputs,
        rows_digest=digest,
        rows_read=kept + faults.total,
        bad=faults.summary(),
        duplicates=sides.duplicates,
        dropped_by_split=sides.dropped_by_split,
        training_rows=len(sides.training),
        validation_rows=len(sides.validation),
        fields=_ranges(rows.training),
    )
    return found, faults


def _read(source: Source, faults: Faults) -> Iterator[Row]:
    match source:
        case PythonSource():
            return read_functions(source_files(source), faults)
        case JsonlSource():
            return read_jsonl(Path(source.path), source.query, source.positive, faults)
        case _:
            assert_never(source)


def _split(rows: Iterator[Row], held_out: HeldOut | None, faults: Faults) -> Sides:
    match held_out:
        case None:
            return no_split(rows)
        case HeldOutFraction():
            return by_fraction(rows, held_out.fraction)
        case HeldOutFile():
            held = read_jsonl(Path(held_out.path), held_out.query, held_out.positive, faults)
            return by_file(rows, map(_with_fields, held))
        case _:
            assert_never(held_out)


def _with_fields(row: Row) -> Row:
    own = {
        "query_chars": float(len(row.query)),
        "positive_chars": float(len(row.positive)),
        "positive_lines": float(row.positive.count("\n") + 1),
    }
    return replace(row, fields={**row.fields, **own})


def _write(folder: Path, sides: Sides) -> str:
    write_rows(folder, sides.training, sides.validation)
    return cache.content_key(folder)


def _write_scan(folder: Path, found: Scan) -> None:
    (folder / "scan.json").write_text(json.dumps(to_plain(found)))


def _ranges(split: Split) -> tuple[FieldRange, ...]:
    found: list[FieldRange] = []
    for name, values in sorted(split.fields.items()):
        there = values[~np.isnan(values)]
        if len(there):
            found.append(
                FieldRange(name=name, count=len(there), minimum=float(there.min()), maximum=float(there.max()))
            )
    return tuple(found)


def _file_input(role: str, path: str) -> Input:
    try:
        return Input(role=role, path=path, digest=cache.file_digest(Path(path)), bytes=Path(path).stat().st_size)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}", code="unreadable", hint="check the path and its permissions"
        ) from error


def _missing_columns(
    source: JsonlSource | HeldOutFile, objects: list[dict[str, object]], path: str
) -> list[tuple[str, str, str, str]]:
    problems: list[tuple[str, str, str, str]] = []
    for side in ("query", "positive"):
        key = getattr(source, side)
        if objects and not any(key in o for o in objects):
            keys = sorted({k for o in objects for k in o})
            where = f"{path}.{side}" if path == "data.columns" else path
            message = f"none of the first {len(objects)} rows of {Path(source.path).name} has the key {key!r}"
            problems.append(("missing-column", where, message, f"there are: {', '.join(keys[:20])}"))
    if not objects:
        where = "data.path" if path == "data.columns" else path
        problems.append(("no-rows", where, f"{Path(source.path).name} begins with no JSON object", "one object a line"))
    return problems
