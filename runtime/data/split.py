"""Which rows train and which are held out, so that nothing leaks and nothing moves.

A row's side depends on its own query alone, or on its group where it has one, which for a text is the
paragraph that it comes from: it is held out when a hash of that, normalised, falls below the fraction. So
rows of equal query or group are on one side, and adding rows moves none. A training row that repeats
any text of a held-out row of its family, on either side of the pair, is then dropped.

Negatives drop no row. They say what a query does not find, so a held-out positive among training
negatives gives no answer away, and a training text among held-out candidates is what search in one
collection is like; mined negatives come from the whole collection, and would empty the training side.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from specrun.runtime.data.raw import Row

_SALT = b"specrun split 1"


class Division(NamedTuple):
    """Training and held-out rows in the order read; repeated pairs and leaking rows are counted, by family."""

    training: list[Row]
    validation: list[Row]
    repeats: Counter[str]
    leaks: Counter[str]

    @property
    def duplicates(self) -> int:
        return self.repeats.total()

    @property
    def dropped(self) -> int:
        return self.leaks.total()


def repeated(rows: Sequence[Row]) -> int:
    """Rows that share their query or their positive with another row, but not its label."""
    found: set[int] = set()
    for text_of in (lambda row: row.query, lambda row: row.positive):
        groups: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(normalise(text_of(row)), []).append(i)
        for group in groups.values():
            labels = {rows[i].label for i in group}
            if len(group) > 1 and (len(labels) > 1 or not min(labels)):
                found.update(group)
    return len(found)


def normalise(text: str) -> str:
    """A text without what does not tell texts apart: compatibility forms, case, and runs of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def divide(
    rows: Iterable[Row], fraction: float | None = None, held_out: Iterable[Row] = ()
) -> Division:
    """De-duplicate rows and divide them: by ``fraction`` of a hash, or from the given held-out rows."""
    limit = 0 if fraction is None else round(fraction * 2**64)
    own, own_repeated = _unique(rows, limit)
    given, given_repeated = _unique(held_out, limit)
    held = [x for x in own if x.held] + given
    left = [x for x in own if not x.held]
    taken = {(x.row.family, text) for x in held for text in (x.query, x.positive)}
    training = [x for x in left if taken.isdisjoint(x.texts)]
    kept = Counter(x.row.family for x in training)
    return Division(
        training=[x.row for x in training],
        validation=[x.row for x in held],
        repeats=own_repeated + given_repeated,
        leaks=Counter(x.row.family for x in left) - kept,
    )


class _Unique(NamedTuple):
    """A row with its two texts normalised, and whether its own hash holds it out."""

    row: Row
    query: str
    positive: str
    held: bool

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        return (self.row.family, self.query), (self.row.family, self.positive)


def _unique(rows: Iterable[Row], limit: int) -> tuple[list[_Unique], Counter[str]]:
    """The first row of each normalised pair of a family and a side, and how many of each family repeat one."""
    found: dict[tuple[str, str, str, bool], list[Row]] = {}
    counts: Counter[str] = Counter()
    hashes: dict[str, int] = {}
    for row in rows:
        counts[row.family] += 1
        query = normalise(row.query)
        positive = query if row.positive is row.query else normalise(row.positive)
        if row.group and row.group not in hashes:
            hashes[row.group] = _hash(normalise(row.group))
        held = (hashes[row.group] if row.group else _hash(query)) < limit
        same = found.setdefault((row.family, query, positive, held), [])
        if not same or row.negatives or row.label:
            same.append(row)
    unique = [
        _Unique(_joined(same), query, positive, held)
        for (_, query, positive, held), same in found.items()
    ]
    return unique, counts - Counter(x.row.family for x in unique)


def _joined(same: Sequence[Row]) -> Row:
    """The first of rows with one pair, with the negatives of all and the first label.

    So (query, positive, negative) rows that repeat a pair for each negative lose none of them.
    """
    if len(same) == 1:
        return same[0]
    negatives: dict[str, tuple[str, float]] = {}
    for row in same:
        scores = row.negative_scores or (math.nan,) * len(row.negatives)
        for text, score in zip(row.negatives, scores, strict=True):
            negatives.setdefault(normalise(text), (text, score))
    label = next((row.label for row in same if row.label), "")
    scored = any(row.negative_scores for row in same)
    return replace(
        same[0],
        negatives=tuple(text for text, _ in negatives.values()),
        label=label,
        negative_scores=tuple(score for _, score in negatives.values()) if scored else (),
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=_SALT).digest(), "big")
