"""Canonical rows: texts of both splits in memory-mapped files, with places and numeric fields."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np

SPLITS = ("training", "validation")
TEXTS = ("queries", "positives", "places", "names")


@dataclass(frozen=True, slots=True)
class Row:
    """One pair as a reader gives it. ``place`` is ``path:line`` relative to the root; ``fields`` are numbers."""

    query: str
    positive: str
    place: str
    name: str = ""
    fields: Mapping[str, float] = field(default_factory=dict)


class Texts(Sequence[str]):
    """Strings in one memory-mapped file of UTF-8, found by offsets."""

    def __init__(self, folder: Path, name: str):
        self._offsets = np.load(folder / f"{name}.offsets.npy", mmap_mode="r")
        path = folder / f"{name}.utf8"
        self._bytes = np.memmap(path, mode="r") if path.stat().st_size else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return bytes(self._bytes[self._offsets[index] : self._offsets[index + 1]]).decode()

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True)
class Split:
    """Rows of one side. ``fields[name]`` is float64 [rows], NaN where a row lacks the field."""

    queries: Sequence[str]
    positives: Sequence[str]
    places: Sequence[str]
    names: Sequence[str]
    fields: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True)
class Rows:
    """Both sides of the data."""

    training: Split
    validation: Split
    digest: str


def write_rows(folder: Path, training: Sequence[Row], validation: Sequence[Row]) -> None:
    """Write both splits into ``folder``; the same rows give the same bytes."""
    for name, rows in zip(SPLITS, (training, validation), strict=True):
        for column, values in zip(
            TEXTS,
            ([r.query for r in rows], [r.positive for r in rows], [r.place for r in rows], [r.name for r in rows]),
            strict=True,
        ):
            _write_texts(folder, f"{name}.{column}", values)
        names = sorted({key for r in rows for key in r.fields})
        table = np.array([[r.fields.get(n, np.nan) for r in rows] for n in names], np.float64)
        np.save(folder / f"{name}.fields.npy", table.reshape(len(names), len(rows)))
        (folder / f"{name}.fields.json").write_text(json.dumps(names))


def read_rows(folder: Path, digest: str) -> Rows:
    """Open what ``write_rows`` wrote."""
    training, validation = (_read_split(folder, name) for name in SPLITS)
    return Rows(training=training, validation=validation, digest=digest)


def _read_split(folder: Path, name: str) -> Split:
    names = json.loads((folder / f"{name}.fields.json").read_text())
    table = np.load(folder / f"{name}.fields.npy")
    queries, positives, places, labels = (Texts(folder, f"{name}.{column}") for column in TEXTS)
    fields = dict(zip(names, table, strict=True))
    return Split(queries=queries, positives=positives, places=places, names=labels, fields=fields)


def _write_texts(folder: Path, name: str, values: Sequence[str]) -> None:
    encoded = [v.encode() for v in values]
    offsets = np.concatenate([[0], np.cumsum([len(e) for e in encoded], dtype=np.int64)])
    np.save(folder / f"{name}.offsets.npy", offsets.astype(np.int64))
    (folder / f"{name}.utf8").write_bytes(b"".join(encoded))
