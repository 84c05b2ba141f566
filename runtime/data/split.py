"""Which rows train and which are held out.

A row's side is a function of its own query: the hash of the normalised text falls below the fraction, or not. So
rows that share a docstring share a side, and adding rows moves none of the others. Rows that share a positive
across the two sides would leak: the training one is left out and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from specrun.runtime.data.rows import Row

HASH_BITS = 64


class Sides(NamedTuple):
    """Training and held-out rows, and how many rows were left out."""

    training: list[Row]
    validation: list[Row]
    duplicates: int
    dropped_by_split: int


def normalise(text: str) -> str:
    """Lower case, white space folded: texts equal under this count as the same."""
    return " ".join(text.lower().split())


def share(text: str) -> float:
    """A number in [0, 1) that depends on the normalised text alone."""
    digest = hashlib.sha256(normalise(text).encode()).digest()
    return int.from_bytes(digest[: HASH_BITS // 8]) / 2**HASH_BITS


def by_fraction(rows: Iterable[Row], fraction: float) -> Sides:
    """Hold out the rows whose query hashes below ``fraction``."""
    unique, duplicates = _unique(rows)
    held = [r for r in unique if share(r.query) < fraction]
    return _without_leaks([r for r in unique if share(r.query) >= fraction], held, duplicates)


def by_file(rows: Iterable[Row], held: Iterable[Row]) -> Sides:
    """Hold out the rows of another file; training rows that repeat one of their texts are left out."""
    training, twice = _unique(rows)
    validation, also = _unique(held)
    return _without_leaks(training, validation, twice + also)


def no_split(rows: Iterable[Row]) -> Sides:
    """Everything trains."""
    training, duplicates = _unique(rows)
    return Sides(training, [], duplicates, 0)


def _without_leaks(training: list[Row], held: list[Row], duplicates: int) -> Sides:
    queries = {normalise(r.query) for r in held}
    positives = {normalise(r.positive) for r in held}
    kept = [r for r in training if normalise(r.query) not in queries and normalise(r.positive) not in positives]
    return Sides(kept, held, duplicates, len(training) - len(kept))


def _unique(rows: Iterable[Row]) -> tuple[list[Row], int]:
    """Rows without those that repeat both texts of an earlier one, and how many those were."""
    seen: dict[tuple[str, str], Row] = {}
    total = 0
    for row in rows:
        total += 1
        seen.setdefault((normalise(row.query), normalise(row.positive)), row)
    return list(seen.values()), total - len(seen)
