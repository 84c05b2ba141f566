"""Sources of rows with columns: which files they consist of, and which reader reads each."""

from __future__ import annotations

import errno
import math
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from specrun.runtime.data import arrow
from specrun.runtime.data.datasets import data_files, dataset_folder
from specrun.runtime.data.delimited import DelimitedReader
from specrun.runtime.data.jsonl import JsonlReader
from specrun.runtime.data.raw import FileError, Reader, printable
from specrun.spec.plan.data import (
    CsvSource,
    EmojiSource,
    HuggingFaceSource,
    JsonlSource,
    ParquetSource,
    PythonSource,
    Source,
    Table,
    TextSource,
    TsvSource,
)


def as_table(source: Source) -> PythonSource | TextSource | Table:
    """The rows of a source that makes them itself: a font's emoji are drawn into the cache."""
    if not isinstance(source, EmojiSource):
        return source
    from specrun.runtime.data.emoji_source import ROWS, emoji_folder  # Pillow, which few rows need

    assert source.images is not None
    folder = emoji_folder(Path(source.path), source.size, sequences=source.sequences)
    return JsonlSource(
        path=str(folder / ROWS),
        retrieval_mode=source.retrieval_mode,
        images=replace(source.images, root=str(folder)),
    )


def table_root(source: Table) -> Path:
    """The file or folder that holds the rows and nothing else. FileError when there is none."""
    return dataset_folder(source) if isinstance(source, HuggingFaceSource) else Path(source.path)


def table_files(source: Table) -> list[tuple[str, Path]]:
    """(name in places, path) of the files of a source, in the order in which they are read.

    A file in a folder is named with the folder. Raises OSError and FileError for what is not there.
    """
    root = table_root(source)
    match source:
        case JsonlSource() | CsvSource() | TsvSource():
            return [(printable(root.name), root)]
        case ParquetSource():
            found = _parquet_files(root) if root.is_dir() else None
        case HuggingFaceSource():
            found = data_files(root)
        case _:
            assert_never(source)
    if found is None:
        return [(printable(root.name), root)]
    return [(printable(f"{root.name}/{path.name}"), path) for path in found]


def open_table(source: Table, name: str, path: Path, most_bytes: float = math.inf) -> Reader:
    """The reader of one file of a source. Text formats end after about ``most_bytes``.

    OSError for what is no regular file.
    """
    need_regular(path)
    match source:
        case JsonlSource():
            return JsonlReader(path, most_bytes)
        case CsvSource():
            return DelimitedReader(path, source, source.delimiter, most_bytes)
        case TsvSource():
            return DelimitedReader(path, source, "\t", most_bytes)
        case ParquetSource():
            return arrow.ArrowReader(path, name, source, arrow.parquet)
        case HuggingFaceSource():
            return arrow.ArrowReader(path, name, source, arrow.stream)
        case _:
            assert_never(source)


def need_regular(path: Path) -> None:
    """OSError for what is no regular file: a pipe would be waited for without end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder by name. FileError when there are none, or some further below."""
    found = [path for path in _visible(folder) if path.name.endswith(".parquet")]
    below = next((path for path in found if path.is_dir()), None) or next(_below(folder), None)
    if below is not None:
        message = (
            f"{folder} holds a folder of Parquet files, {below.name}; folders within are not read"
        )
        raise FileError("nested-folder", message, "name one folder that holds only files")
    if not found:
        hint = "their names end in .parquet"
        raise FileError("no-files", f"there is no Parquet file in {folder}", hint)
    return found


def _below(folder: Path) -> Iterator[Path]:
    """Folders in a folder that hold Parquet files."""
    for path in _visible(folder):
        if path.is_dir() and next(path.rglob("*.parquet"), None) is not None:
            yield path


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, without what its writers hide: names that begin with a dot or underscore."""
    return [path for path in sorted(folder.iterdir()) if path.name[0] not in "._"]
