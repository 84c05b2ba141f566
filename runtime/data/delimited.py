"""Records of CSV and TSV files: UTF-8, the columns named by the first row, quoted as RFC 4180 says."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from specrun.runtime.data.columns import need_columns
from specrun.runtime.data.raw import Fault, FileError, Record, Unusable, printable
from specrun.spec.plan.data import TableSource

MAX_ROW = 16 << 20
"""Rows of more bytes are faults: they are skipped without being held in memory."""

_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 20
_MEND = (
    "write it as UTF-8, its first row naming the columns, with every quote inside a field doubled"
)


class DelimitedReader:
    """Iterates over the records and faults of a file. ``digest`` is right once the iteration has ended.

    ``read`` counts the bytes read so far. A record's line is the one it begins in. Blank lines are no rows. FileError where the header
    lacks a column, and where a quote is open at the end: how many rows it swallowed is unknown.
    With ``most_bytes`` the iteration ends after about that many bytes.
    """

    def __init__(
        self, path: Path, columns: TableSource, delimiter: str, most_bytes: float = math.inf
    ):
        self._path, self._columns, self._delimiter = path, columns, delimiter
        self._most, self._name = most_bytes, printable(path.name)
        self._hash = hashlib.sha256()
        self.read = 0

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def __iter__(self) -> Iterator[Record | Fault]:
        """Raises OSError when the file cannot be read."""
        self._hash = hashlib.sha256()
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW))  # the module has one for all
        with self._path.open("rb") as file:
            lines = _Lines(file, self._take, self._most)
            rows = self._rows(lines)
            header = self._header(rows)
            for line, row in rows:
                if isinstance(row, Unusable):
                    yield Fault(row.reason, self._name, line, row.detail)
                else:
                    yield self._record(header, line, row, lines.span)

    def _take(self, part: bytes) -> None:
        self._hash.update(part)
        self.read += len(part)

    def _rows(self, lines: _Lines) -> Iterator[tuple[int, list[str] | Unusable]]:
        """(first line, fields) of every row that is not blank."""
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        while True:
            lines.begin()
            try:
                fields = next(reader)
            except StopIteration:
                return
            except (Unusable, csv.Error) as bad:
                if lines.cut:
                    return
                # csv is strict: it complains when the end comes within quotes.
                if lines.ended and (isinstance(bad, csv.Error) or lines.open):
                    raise self._unclosed(lines.first) from bad
                yield lines.first, self._fault(bad, lines.span)
            else:
                if lines.fault:
                    yield lines.first, Unusable(lines.fault)
                elif any(field.strip() for field in fields) or len(fields) > 1:
                    yield lines.first, fields

    def _fault(self, bad: Unusable | csv.Error, span: str) -> Unusable:
        if isinstance(bad, Unusable):
            return bad
        return Unusable(f"not {self._columns.kind.upper()}", f"{bad}{span}")

    def _header(self, rows: Iterator[tuple[int, list[str] | Unusable]]) -> list[str]:
        line, header = next(rows, (0, None))
        if header is None:
            message = f"{self._path} is empty: its first row must name the columns"
            raise FileError("no-header", message, "check the file")
        if isinstance(header, Unusable):
            why = f"{header.reason} ({self._name}:{line})"
            raise FileError("bad-header", f"{self._path} has no readable header: {why}", _MEND)
        need_columns(header, self._columns, str(self._path))
        return header

    def _record(self, header: list[str], line: int, row: list[str], span: str) -> Record | Fault:
        if len(row) == len(header):
            return Record(self._name, line, dict(zip(header, row, strict=True)), True)
        reason = "too few fields" if len(row) < len(header) else "too many fields"
        detail = f"it has {len(row)}, and the header {len(header)}{span}"
        return Fault(reason, self._name, line, detail)

    def _unclosed(self, line: int) -> FileError:
        message = f"{self._path} ends within a quoted field that begins in the row of line {line}"
        return FileError(
            "open-quote", message, "is the file cut short? A quote in a text is doubled"
        )


class _Lines:
    """The lines of a file as texts, for ``csv.reader``, which asks for another while a quote is open.

    ``begin`` starts a row: ``first`` is its line, ``fault`` what is wrong with the bytes of its
    lines. A row of more than ``MAX_ROW`` bytes is passed over to its end, and raises Unusable.
    """

    def __init__(self, file: BinaryIO, tell: Callable[[bytes], None], most_bytes: float):
        self._file, self._tell, self._most = file, tell, most_bytes
        self._number, self._size, self._quotes = 0, 0, 0
        self.first, self.fault = 1, ""
        self.ended = self.cut = False

    def begin(self) -> None:
        self.first, self.fault = self._number + 1, ""
        self._size, self._quotes = 0, 0

    @property
    def open(self) -> bool:
        """Whether a quote of this row is still open."""
        return self._quotes % 2 == 1

    @property
    def span(self) -> str:
        """Where the row ends, if not in the line it begins in: a stray quote swallows lines."""
        return f"; it runs to line {self._number}" if self._number > self.first else ""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._read(MAX_ROW + 1 - self._size)
        if self._number == 0:
            line = line.removeprefix(_BOM)
        if self._size > MAX_ROW:
            self._pass_over(line)
            raise Unusable("row too long", f"longer than {MAX_ROW} bytes")
        self._number += 1
        if b"\0" in line:
            self.fault = "NUL byte"
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self.fault = self.fault or "not UTF-8"
            return line.decode("utf-8", "replace")

    def _read(self, most: int) -> bytes:
        """A line, or ``most`` bytes of it. StopIteration at the end, or where enough was read."""
        self.cut = self._file.tell() >= self._most
        part = b"" if self.cut else self._file.readline(most)
        if not part:
            self.ended = True
            raise StopIteration
        self._tell(part)
        self._size += len(part)
        self._quotes += part.count(b'"')
        return part

    def _pass_over(self, part: bytes) -> None:
        """Read on to the end of the row: the end of a line at which every quote is closed."""
        while not part.endswith(b"\n") or self.open:
            self._number += part.endswith(b"\n")
            try:
                part = self._read(_BLOCK)
            except StopIteration:
                return
        self._number += 1
