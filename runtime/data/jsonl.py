"""Pairs from JSONL: one object a line, columns by key, numbers kept as fields."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from specrun.runtime.data.faults import Faults
from specrun.runtime.data.rows import Row
from specrun.spec.diagnostics import InputError


class _NotFinite(ValueError):
    """The line holds NaN or an infinity, which JSON does not have."""


def read_jsonl(path: Path, query: str, positive: str, faults: Faults) -> Iterator[Row]:
    """The rows of a file. Bad ones are counted in ``faults`` by class; an unreadable file is an InputError."""
    for number, line in _lines(path):
        place = f"{path.name}:{number}"
        found = _object(line)
        if isinstance(found, str):
            faults.add(found, place)
            continue
        fault = _fault(found, (query, positive))
        if fault:
            faults.add(fault, place)
            continue
        yield Row(query=found[query], positive=found[positive], place=place, fields=_numbers(found, (query, positive)))


def first_objects(path: Path, count: int) -> list[dict[str, Any]]:
    """The first ``count`` lines that are objects, among at most ten times as many."""
    found: list[dict[str, Any]] = []
    for number, line in _lines(path):
        row = _object(line)
        if isinstance(row, dict):
            found.append(row)
        if len(found) >= count or number >= 10 * count:
            break
    return found


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) of the lines that are not blank; a byte order mark is dropped."""
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if content.strip():
                    yield number, content
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}", code="unreadable", hint="check the path and its permissions"
        ) from error


def _object(line: bytes) -> dict[str, Any] | str:
    """The object of a line, or the class of its fault."""
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        return "line is not UTF-8"
    except _NotFinite:
        return "line holds NaN or infinity"
    except (ValueError, RecursionError):
        return "line is not JSON"
    return row if isinstance(row, dict) else "line is not a JSON object"


def _refuse_constant(name: str) -> float:
    raise _NotFinite(name)


def _fault(row: dict[str, Any], columns: tuple[str, ...]) -> str:
    for column in columns:
        if column not in row:
            return f"column {column!r} is missing"
        value = row[column]
        if not isinstance(value, str):
            return f"column {column!r} is not text"
        if not value.strip():
            return f"column {column!r} is empty"
        if not _is_unicode(value):
            return f"column {column!r} holds half a surrogate pair"
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _numbers(row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, float]:
    """Finite numbers among the other keys; true and false are not numbers."""
    found: dict[str, float] = {}
    for key, value in row.items():
        if key in columns or isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        try:
            number = float(value)
        except OverflowError:
            continue
        if math.isfinite(number):
            found[key] = number
    return found
