"""The canonical rows: an artefact named by the digest of its content, and read through a memory map."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np

from specrun.runtime import cache
from specrun.runtime.data.raw import BUILT_IN_FIELDS, Row

KIND = "rows"
_IMAGES = "images.json"


class Texts(Sequence[str]):
    """Texts in one file, decoded one at a time: a text is ``data[ends[i] : ends[i + 1]]``."""

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        self._data, self._ends = data, ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return self._data[self._ends[at] : self._ends[at + 1]].tobytes().decode()


@dataclass(frozen=True)
class Lists:
    """A list of texts for each row: that of row i is ``texts[ends[i] : ends[i + 1]]``."""

    texts: Sequence[str]
    ends: np.ndarray  # int64 [rows + 1]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> list[str]:
        return list(self.texts[int(self.ends[index]) : int(self.ends[index + 1])])


@dataclass(frozen=True)
class Split:
    """One side of the rows. ``fields`` are float64 [rows] by name, NaN where a row lacks one.

    ``places`` are ``file:line``; ``names`` are functions' qualified names, empty for tables.
    ``images`` are the paths of the images, below the source's folder, by the digests in the rows' items.
    ``negatives``, their scores and ``labels`` are None where no row has one. Labels are numbered over both sides
    in the order in which they first occur, training first.
    """

    queries: Sequence[str]
    positives: Sequence[str]
    places: Sequence[str]
    names: Sequence[str]
    fields: dict[str, np.ndarray]
    negatives: Lists | None = None
    labels: np.ndarray | None = None  # int32 [rows], -1 where a row has none
    negative_scores: np.ndarray | None = None  # float32 [all negatives], NaN where one has none
    images: Mapping[str, str] = field(default_factory=dict[str, str])

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def texts_only(self) -> bool:
        """Whether a row is one text: ``positives`` is then the very sequence of the queries."""
        return self.positives is self.queries


@dataclass(frozen=True)
class Rows:
    """All rows of a plan. ``digest`` is SHA-256 of the artefact.

    ``images`` are the paths of the images, below the source's folder, by the digests in the rows' items.
    """

    digest: str
    training: Split
    validation: Split
    images: Mapping[str, str] = field(default_factory=dict[str, str])


def store_rows(
    training: Sequence[Row],
    validation: Sequence[Row],
    images: Mapping[str, str] | None = None,
    *,
    texts_only: bool = False,
) -> str:
    """Write the artefact and return its digest. Raises RunError when it cannot be written.

    ``images`` are the paths of the images by the digests in the rows' items. With ``texts_only`` a row is
    one text, its query.
    """

    numbers = _numbered(training, validation)

    def write(folder: Path) -> None:
        for side, rows in (("training", training), ("validation", validation)):
            _write_texts(folder, f"{side}.queries", (r.query for r in rows))
            if not texts_only:
                _write_texts(folder, f"{side}.positives", (r.positive for r in rows))
            _write_texts(folder, f"{side}.places", (r.place for r in rows))
            _write_texts(folder, f"{side}.names", (r.name for r in rows))
            _write_fields(folder, side, rows)
            _write_negatives(folder, side, rows)
            _write_labels(folder, side, rows, numbers)
        if images:
            text = json.dumps(images, sort_keys=True, ensure_ascii=False)
            (folder / _IMAGES).write_text(text, encoding="utf-8")

    return cache.add(KIND, write)[0]


def load_rows(digest: str) -> Rows | None:
    """The rows of this digest; None when the cache does not hold them undamaged."""
    folder = cache.find(KIND, digest)
    if folder is None:
        return None
    images = folder / _IMAGES
    named = json.loads(images.read_text(encoding="utf-8")) if images.exists() else {}
    sides = (_load_split(folder, side, named) for side in ("training", "validation"))
    return Rows(digest, *sides, named)


def map_array(path: Path, dtype: str) -> np.ndarray:
    """A file of raw little-endian values as a read-only memory map of one axis."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r")


def _write_texts(folder: Path, name: str, texts: Iterable[str]) -> None:
    ends = [0]
    with (folder / f"{name}.utf8").open("wb") as file:
        for text in texts:
            ends.append(ends[-1] + file.write(text.encode()))
    np.array(ends, "<i8").tofile(folder / f"{name}.ends")


def _write_fields(folder: Path, side: str, rows: Sequence[Row]) -> None:
    names = [*BUILT_IN_FIELDS, *sorted({key for row in rows for key in row.numbers})]
    values = np.full((len(names), len(rows)), np.nan, "<f8")
    at = {name: i for i, name in enumerate(names)}
    for i, row in enumerate(rows):
        lines = row.positive.count("\n") + 1
        values[:3, i] = len(row.query), len(row.positive), lines
        for key, value in row.numbers.items():
            values[at[key], i] = value
    values.tofile(folder / f"{side}.fields")
    (folder / f"{side}.fields.json").write_text(json.dumps(names), encoding="utf-8")


def _numbered(*sides: Sequence[Row]) -> dict[str, int]:
    """A number for each label, by first occurrence."""
    found: dict[str, int] = {}
    for row in (row for side in sides for row in side):
        if row.label:
            found.setdefault(row.label, len(found))
    return found


def _write_negatives(folder: Path, side: str, rows: Sequence[Row]) -> None:
    if any(row.negatives for row in rows):
        _write_texts(folder, f"{side}.negatives", (text for row in rows for text in row.negatives))
        ends = np.cumsum([0, *(len(row.negatives) for row in rows)])
        ends.astype("<i8").tofile(folder / f"{side}.negatives.rows")
    if any(row.negative_scores for row in rows):
        scores = [row.negative_scores or (np.nan,) * len(row.negatives) for row in rows]
        np.array([x for row in scores for x in row], "<f4").tofile(
            folder / f"{side}.negatives.scores"
        )


def _write_labels(folder: Path, side: str, rows: Sequence[Row], numbers: dict[str, int]) -> None:
    if any(row.label for row in rows):
        labels = [numbers.get(row.label, -1) for row in rows]
        np.array(labels, "<i4").tofile(folder / f"{side}.labels")


def _load_split(folder: Path, side: str, images: Mapping[str, str]) -> Split:
    names = json.loads((folder / f"{side}.fields.json").read_text(encoding="utf-8"))
    values = map_array(folder / f"{side}.fields", "<f8").reshape(len(names), -1)
    labels, scores = folder / f"{side}.labels", folder / f"{side}.negatives.scores"
    queries = _load_texts(folder, f"{side}.queries")
    paired = (folder / f"{side}.positives.ends").exists()
    return Split(
        queries=queries,
        positives=_load_texts(folder, f"{side}.positives") if paired else queries,
        places=_load_texts(folder, f"{side}.places"),
        names=_load_texts(folder, f"{side}.names"),
        fields=dict(zip(names, values, strict=True)),
        negatives=_load_negatives(folder, side),
        labels=map_array(labels, "<i4") if labels.exists() else None,
        negative_scores=map_array(scores, "<f4") if scores.exists() else None,
        images=images,
    )


def _load_negatives(folder: Path, side: str) -> Lists | None:
    rows = folder / f"{side}.negatives.rows"
    if not rows.exists():
        return None
    return Lists(_load_texts(folder, f"{side}.negatives"), map_array(rows, "<i8"))


def _load_texts(folder: Path, name: str) -> Texts:
    return Texts(
        map_array(folder / f"{name}.utf8", "<u1"), map_array(folder / f"{name}.ends", "<i8")
    )
