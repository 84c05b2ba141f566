"""Which of the training texts are the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from specrun.runtime.data.rows import Split
from specrun.runtime.data.split import normalise


class Numbers(NamedTuple):
    """A number for each text, equal where texts normalise alike; positives and negatives share one numbering."""

    queries: np.ndarray  # int32 [rows]
    positives: np.ndarray  # int32 [rows]
    negatives: np.ndarray | None  # int32 [all negatives]


def numbered(split: Split) -> Numbers:
    """The numbers of one side's texts."""
    queries: dict[str, int] = {}
    answers: dict[str, int] = {}
    negatives = split.negatives
    return Numbers(
        _numbers(split.queries, queries),
        _numbers(split.positives, answers),
        None if negatives is None else _numbers(negatives.texts, answers),
    )


def _numbers(texts: Iterable[str], known: dict[str, int]) -> np.ndarray:
    found = [known.setdefault(normalise(text), len(known)) for text in texts]
    return np.array(found, np.int32)
