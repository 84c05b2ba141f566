"""Rows that a model adds to a segment's: numbers behind those of the training rows, and texts once they are made.

Before they are made only one thing is known of them: none is longer than the segment's longest row. So steps that
hold one are laid out for that length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from specrun.runtime.data.tokens import Ragged
from specrun.spec.diagnostics import RunError


def with_pseudo(chosen: np.ndarray, rows: int, count: int) -> np.ndarray:
    """A segment's rows, and the numbers of ``count`` more behind all ``rows`` of the training side. int64"""
    return np.concatenate([chosen, rows + np.arange(count)]) if count else chosen


def lengths_with_pseudo(lengths: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    """Tokens of every row, and of each of ``count`` more at most. int64 [rows + count]"""
    if not count:
        return lengths
    return np.concatenate([lengths, np.full(count, lengths[chosen].max(initial=0))])


@dataclass(frozen=True)
class Widened:
    """The training texts with those of one segment's model behind them; ``longest`` bounds their tokens."""

    texts: Ragged
    longest: int
    made: Ragged | None = None

    def lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """Tokens that a row has, or may have. int64, of the shape of ``rows``"""
        own = rows < len(self.texts)
        return np.where(own, self.texts.lengths_of(np.where(own, rows, 0)), self.longest)

    def gather(self, rows: np.ndarray, length: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
        """As ``Ragged.gather``. RunError where a row is asked for that is not made yet."""
        own = rows < len(self.texts)
        ids, mask = self.texts.gather(np.where(own, rows, 0), length, pad_id)
        if own.all():
            return ids, mask
        if self.made is None:
            raise RunError("a step takes texts that the model makes, and none are made yet")
        others, there = self.made.gather(np.where(own, 0, rows - len(self.texts)), length, pad_id)
        return np.where(own[..., None], ids, others), np.where(own[..., None], mask, there)


def ragged(rows: list[np.ndarray]) -> Ragged:
    """Arrays int32 [tokens] behind one another."""
    ends = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Ragged(np.concatenate(rows).astype(np.int32) if rows else np.empty(0, np.int32), ends)
