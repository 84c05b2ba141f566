"""Rows as readers find them, and the faults of rows that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from specrun.spec.plan.data import BadRows

BUILT_IN_FIELDS = ("query_chars", "positive_chars", "positive_lines")
BETWEEN = " [SEP] "
"""What stands between the two sentences of a row that is a pair of them, whatever the tokenizer."""

PLACES_KEPT = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A pair of texts. ``place`` is ``file:line``; ``name`` a function's name or empty; ``numbers`` by key.

    ``negatives`` are unique texts, none of them the positive; ``label`` is empty where there is none.
    ``negative_scores`` are as many as the negatives, NaN where one has none. ``group`` decides the row's side in
    place of its query, where it has one. Rows of different families are never taken for the same.
    """

    query: str
    positive: str
    place: str
    name: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    negatives: tuple[str, ...] = ()
    label: str = ""
    negative_scores: tuple[float, ...] = ()
    group: str = ""
    family: str = ""


class Record(NamedTuple):
    """What a file holds in one place, before anybody asks what it means.

    ``line`` counts from 1: lines of a text file, rows of a Parquet or Arrow file. In a ``textual``
    format every value is a text, whatever it stands for.
    """

    file: str
    line: int
    values: Mapping[str, Any]
    textual: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A row or a file that is left out. ``reason`` is its class, ``detail`` what is particular to it."""

    reason: str
    file: str
    line: int = 0
    detail: str = ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Reader(Protocol):
    """Iterates over the records and faults of one file.

    The iteration raises OSError when the file cannot be read, and FileError when it is not what it
    should be. ``digest`` is right once the iteration has ended; ``read`` counts bytes done with so far.
    """

    read: int

    @property
    def digest(self) -> str: ...
    def __iter__(self) -> Iterator[Record | Fault]: ...


class Unusable(Exception):
    """A record that gives no row; ``reason`` is the class of the fault."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class FileError(Exception):
    """A file that no row can be taken from, whatever the policy for bad rows.

    ``key`` is what is to be mended, as the spec's ``data`` section names it: ``path``,
    ``columns.query``, ``split``, ``kind``.
    """

    def __init__(self, code: str, message: str, hint: str, key: str = "path"):
        super().__init__(message)
        self.code, self.message, self.hint, self.key = code, message, hint, key


def by_class(faults: Iterable[Fault]) -> tuple[BadRows, ...]:
    """Faults counted by class, the classes in the order in which they first occur."""
    found: dict[str, list[str]] = {}
    for fault in faults:
        found.setdefault(fault.reason, []).append(fault.place)
    return tuple(
        BadRows(reason=reason, count=len(places), places=tuple(places[:PLACES_KEPT]))
        for reason, places in found.items()
    )


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8, which lone surrogates cannot."""
    return not any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else True


def printable(name: str) -> str:
    """A file's name as places and messages hold it: bytes that are no UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
