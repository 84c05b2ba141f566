"""Pairs from a JSONL file: one object a line, its columns named by the plan."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from specrun.runtime.data.raw import Fault, Row, is_unicode

MAX_LINE = 16 << 20
"""Longer lines are faults: they are skipped without being held in memory."""

_BOM = b"\xef\xbb\xbf"


class JsonlReader:
    """Iterates over the rows and faults of a file. ``digest`` is right once the iteration has ended.

    ``read`` counts the bytes read so far.

    With ``most_bytes`` it ends after the line in which that many bytes are reached, or within it.
    """

    def __init__(self, path: Path, query: str, positive: str, most_bytes: float = math.inf):
        self._path, self._query, self._positive = path, query, positive
        self._most = most_bytes
        self._hash = hashlib.sha256()
        self.read = 0

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def __iter__(self) -> Iterator[Row | Fault]:
        """Raises OSError when the file cannot be read."""
        self._hash = hashlib.sha256()
        with self._path.open("rb") as file:
            for number, line in enumerate(self._lines(file), start=1):
                if line is None:
                    detail = f"longer than {MAX_LINE} bytes"
                    yield Fault("line too long", self._path.name, number, detail)
                elif line.strip() not in (b"", _BOM):
                    yield self._row(line, number)

    def _lines(self, file: BinaryIO) -> Iterator[bytes | None]:
        """Lines with their ends; None stands for a line that is too long."""
        while file.tell() < self._most and (part := file.readline(MAX_LINE + 1)):
            self._hash.update(part)
            self.read += len(part)
            whole = len(part) <= MAX_LINE
            while self._goes_on(part) and file.tell() < self._most:
                part = file.readline(MAX_LINE + 1)
                self._hash.update(part)
                self.read += len(part)
            yield part if whole else None

    @staticmethod
    def _goes_on(part: bytes) -> bool:
        return len(part) > MAX_LINE and not part.endswith(b"\n")

    def _row(self, line: bytes, number: int) -> Row | Fault:
        name = self._path.name
        try:
            value = parse_line(line)
        except BadLine as bad:
            return Fault(bad.reason, name, number, bad.detail)
        texts: list[str] = []
        for key in (self._query, self._positive):
            text = value.get(key)
            reason = _text_fault(value, key)
            if reason:
                return Fault(reason, name, number, f"it has {_keys(value)}")
            texts.append(text)
        return _with_numbers(value, texts, Fault("", name, number))


class BadLine(Exception):
    """A line that holds no row; ``reason`` is the class of the fault."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def parse_line(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. BadLine for anything else."""
    try:
        value = json.loads(
            line.removeprefix(_BOM).decode("utf-8"),
            parse_constant=_no_constant,
            object_pairs_hook=_no_twins,
        )
    except UnicodeDecodeError as error:
        raise BadLine("not UTF-8", str(error)) from error
    except RecursionError as error:
        raise BadLine("nested too deeply") from error
    except ValueError as error:
        raise BadLine("not JSON", str(error)) from error
    if not isinstance(value, dict):
        raise BadLine("not a JSON object", f"it is {type(value).__name__}")
    return value


def _no_constant(name: str) -> float:
    raise BadLine(f"{name} is not JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadLine("a key occurs twice")
    return found


def _text_fault(value: dict[str, Any], key: str) -> str:
    if key not in value:
        return f"no key `{key}`"
    text = value[key]
    if not isinstance(text, str):
        return f"`{key}` is not text"
    if not is_unicode(text):
        return f"`{key}` is not valid Unicode"
    return "" if text.strip() else f"`{key}` is empty"


def _with_numbers(value: dict[str, Any], texts: list[str], fault: Fault) -> Row | Fault:
    numbers: dict[str, float] = {}
    for key, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        try:
            numbers[key] = float(number)
        except OverflowError:
            numbers[key] = math.inf
        if not math.isfinite(numbers[key]):
            return Fault("number too large", fault.file, fault.line, f"`{key}`")
        if not is_unicode(key):
            return Fault("a key is not valid Unicode", fault.file, fault.line)
    return Row(texts[0], texts[1], fault.place, "", numbers)


def _keys(value: dict[str, Any]) -> str:
    names = (k[:40].encode("utf-8", "replace").decode() for k in list(value)[:8])
    shown = ", ".join(f"`{name}`" for name in names)
    return f"the keys {shown}" if shown else "no keys"
