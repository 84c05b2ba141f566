"""Records of a JSONL file: one object a line."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from specrun.runtime.data.raw import Fault, Record, Unusable, printable

MAX_LINE = 16 << 20
"""Longer lines are faults: they are skipped without being held in memory."""

_BOM = b"\xef\xbb\xbf"


class JsonlReader:
    """Iterates over the records and faults of a file. ``digest`` is right once the iteration has ended.

    ``read`` counts the bytes read so far.

    With ``most_bytes`` it ends after the line in which that many bytes are reached, or within it.
    """

    def __init__(self, path: Path, most_bytes: float = math.inf):
        self._path, self._most = path, most_bytes
        self._name = printable(path.name)
        self._hash = hashlib.sha256()
        self.read = 0

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def __iter__(self) -> Iterator[Record | Fault]:
        """Raises OSError when the file cannot be read."""
        self._hash = hashlib.sha256()
        with self._path.open("rb") as file:
            for number, line in enumerate(self._lines(file), start=1):
                if line is None:
                    detail = f"longer than {MAX_LINE} bytes"
                    yield Fault("line too long", self._name, number, detail)
                elif line.strip() not in (b"", _BOM):
                    yield self._record(line, number)

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

    def _record(self, line: bytes, number: int) -> Record | Fault:
        try:
            return Record(self._name, number, parse_line(line))
        except Unusable as bad:
            return Fault(bad.reason, self._name, number, bad.detail)


def parse_line(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Unusable for anything else."""
    try:
        value = json.loads(
            line.removeprefix(_BOM).decode("utf-8"),
            parse_constant=_no_constant,
            object_pairs_hook=_no_twins,
        )
    except UnicodeDecodeError as error:
        raise Unusable("not UTF-8", str(error)) from error
    except RecursionError as error:
        raise Unusable("nested too deeply") from error
    except ValueError as error:
        raise Unusable("not JSON", str(error)) from error
    if not isinstance(value, dict):
        raise Unusable("not a JSON object", f"it is {type(value).__name__}")
    return value


def _no_constant(name: str) -> float:
    raise Unusable(f"{name} is not JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Unusable("a key occurs twice")
    return found
