"""Records of Parquet files and of Arrow IPC streams, read in small portions by pyarrow.

Only the columns that rows are made of are read. pyarrow is the extra ``parquet``: it is imported
when such a file is opened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

from specrun.runtime.cache import file_digest
from specrun.runtime.data.columns import MAPPED, need_columns
from specrun.runtime.data.raw import Fault, FileError, Record
from specrun.spec.plan.data import TableSource

PORTION = 256
"""Rows that are Python objects at a time."""

_BUFFER = 1 << 20
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"

Open = Callable[[Path, ExitStack], tuple[Any, Callable[[Sequence[str]], Iterable[Any]]]]
"""The schema of a file, and the record batches of the columns named."""


class ArrowReader:
    """Iterates over the records of a file; their lines are row numbers, from 1.

    ``open_file`` is ``parquet`` or ``stream``. ``name`` is what places say of the file. ``digest``
    is that of the file as it is now. FileError for what is damaged, cut short or no such file,
    where a column is missing, and where pyarrow is.
    """

    def __init__(self, path: Path, name: str, columns: TableSource, open_file: Open):
        self._path, self._name, self._columns, self._open = path, name, columns, open_file
        self.read = (
            0  # columns are read apart from one another, so that no part is done before the end
        )

    @property
    def digest(self) -> str:
        return "sha256:" + file_digest(self._path)

    def __iter__(self) -> Iterator[Record | Fault]:
        """Raises OSError when the file cannot be read."""
        arrow = library(self._columns.kind)
        try:
            with ExitStack() as stack:
                schema, batches = self._open(self._path, stack)
                need_columns(schema.names, self._columns, str(self._path))
                yield from self._records(batches(self._chosen(schema)))
        except (arrow.ArrowException, ValueError) as error:  # ValueError: a name that is no UTF-8
            raise self._damaged(error) from error
        except OSError as error:
            if error.errno is not None:  # the system's, not pyarrow's word for what it cannot parse
                raise
            raise self._damaged(error) from error

    def _chosen(self, schema: Any) -> list[str]:
        """The columns named, and those of numbers."""
        of = self._columns
        named = {getattr(of, key) for key in MAPPED}
        return [f.name for f in schema if f.name in named or (f.name and _is_number(f.type))]

    def _records(self, batches: Iterable[Any]) -> Iterator[Record]:
        line = 0
        for batch in batches:
            for start in range(0, batch.num_rows, PORTION):
                part = batch.slice(start, PORTION)
                columns = [_values(part.column(name)) for name in part.schema.names]
                for values in zip(*columns, strict=True):
                    line += 1
                    row = dict(zip(part.schema.names, values, strict=True))
                    yield Record(self._name, line, row)

    def _damaged(self, error: Exception) -> FileError:
        why = str(error).strip().split("\n", 1)[0]
        kind = "Parquet file" if self._open is parquet else "Arrow stream"
        message = f"{self._path} is no whole {kind}: {why}"
        return FileError(
            "bad-file", message, "write it again; it is damaged, cut short or another format"
        )


def library(kind: str) -> Any:
    """pyarrow. FileError where it is not installed."""
    try:
        import pyarrow
    except ImportError as error:
        message = f"the kind {kind} needs pyarrow, which is not installed"
        hint = "install the extra: pip install 'specrun[parquet]'"
        raise FileError("missing-library", message, hint, "kind") from error
    return pyarrow


def parquet(path: Path, stack: ExitStack) -> Any:
    """A Parquet file, opened for ``ArrowReader``. It reads ahead by a buffer, not by a row group."""
    from pyarrow.parquet import ParquetFile

    with path.open("rb"):  # what cannot be opened is the system's error
        file = stack.enter_context(ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False))
    schema = file.schema_arrow
    return schema, lambda names: file.iter_batches(PORTION, columns=names)


def stream(path: Path, stack: ExitStack) -> Any:
    """An Arrow IPC stream, opened for ``ArrowReader``.

    A stream cut between two batches reads as a whole one, so the mark of its end is asked for.
    """
    import pyarrow

    file = stack.enter_context(pyarrow.OSFile(str(path)))
    reader = stack.enter_context(pyarrow.ipc.open_stream(file))
    size = file.size()
    with path.open("rb") as raw:
        raw.seek(max(size - len(_END_OF_STREAM), 0))
        if raw.read() != _END_OF_STREAM:
            raise pyarrow.ArrowInvalid("the mark of its end is missing")
    return reader.schema, lambda names: (_validated(batch.select(list(names))) for batch in reader)


def _validated(batch: Any) -> Any:
    """A batch whose offsets stay within it and whose texts are UTF-8; a stream is taken as it is."""
    batch.validate(full=True)
    return batch


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def _values(column: Any) -> list[Any]:
    """A column as Python values. Text that is not UTF-8 gets lone surrogates, which no row may hold."""
    try:
        found = column.to_pylist()
    except UnicodeDecodeError:
        found = [_lenient(value) for value in column]
    if _is_number(column.type):
        return [_number(value) for value in found]
    return found


def _number(value: Any) -> int | float | None:
    """A number as JSON could say it; NaN is a gap."""
    if isinstance(value, Decimal):
        value = float(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _lenient(scalar: Any) -> Any:
    """A text, or a list of texts, whatever its bytes are."""
    if not scalar.is_valid:
        return None
    if hasattr(scalar, "as_buffer"):
        return scalar.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
    return [_lenient(item) for item in scalar.values]
