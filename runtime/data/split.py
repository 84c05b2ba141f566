"""Which rows train and which are held out, so that nothing leaks and nothing moves.

A row's side depends on its own query alone: it is held out when a hash of the normalised query
falls below the fraction. So rows of equal query are on one side, and adding rows moves none. A
training row that repeats any text of a held-out row, on either side of the pair, is then dropped.

Negatives drop no row. They say what a query does not find, so a held-out positive among training
negatives gives no answer away, and a training text among held-out candidates is what search in one
collection is like; mined negatives come from the whole collection, and would empty the training side.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from specrun.runtime.data.raw import Row

_SALT = b"specrun split 1"


class Division(NamedTuple):
    """Training and held-out rows in the order read; repeated pairs and leaking rows are counted."""

    training: list[Row]
    validation: list[Row]
    duplicates: int
    dropped: int


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
    own, own_repeated = _unique(rows)
    given, given_repeated = _unique(held_out)
    limit = 0 if fraction is None else round(fraction * 2**64)
    sides = [_hash(query) < limit for _, query, _ in own]
    held = [x for x, side in zip(own, sides, strict=True) if side] + given
    left = [x for x, side in zip(own, sides, strict=True) if not side]
    taken = {text for _, query, positive in held for text in (query, positive)}
    training = [x[0] for x in left if x[1] not in taken and x[2] not in taken]
    return Division(
        training=training,
        validation=[x[0] for x in held],
        duplicates=own_repeated + given_repeated,
        dropped=len(left) - len(training),
    )


def _unique(rows: Iterable[Row]) -> tuple[Sequence[tuple[Row, str, str]], int]:
    """The first row of each normalised pair with both normalised texts, and how many repeat one."""
    found: dict[tuple[str, str], list[Row]] = {}
    count = 0
    for row in rows:
        count += 1
        same = found.setdefault((normalise(row.query), normalise(row.positive)), [])
        if not same or row.negatives or row.label:
            same.append(row)
    unique = [(_joined(same), query, positive) for (query, positive), same in found.items()]
    return unique, count - len(found)


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
