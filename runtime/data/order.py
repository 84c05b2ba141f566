"""Which rows a step takes: a pure function of (seed, segment, epoch, window)."""

from __future__ import annotations

import numpy as np

from specrun.runtime.data.rows import Split
from specrun.spec.plan.training import Selection

NOBODY = -1
"""Stands in a window for a row that is not there."""


def selected(split: Split, selection: Selection | None) -> np.ndarray:
    """Indices of the rows whose field lies in the closed range, int64, rising; all rows without a selection."""
    if selection is None:
        return np.arange(len(split))
    values = split.fields.get(selection.field)
    if values is None:
        return np.zeros(0, np.int64)
    low = -np.inf if selection.minimum is None else selection.minimum
    high = np.inf if selection.maximum is None else selection.maximum
    return np.flatnonzero((values >= low) & (values <= high))  # NaN is in no range


def permutation(count: int, seed: int, segment: int, epoch: int) -> np.ndarray:
    """A permutation of ``range(count)``: the order of raw Philox numbers, whose stream numpy keeps for ever."""
    stream = np.random.Philox(np.random.SeedSequence([seed, segment, epoch]))
    return np.argsort(stream.random_raw(count), kind="stable")


def windows(count: int, optimizer_batch: int, drop_last: bool) -> int:
    """Optimizer steps of an epoch: no window crosses its end."""
    return count // optimizer_batch if drop_last else -(-count // optimizer_batch)


def window(order: np.ndarray, index: int, optimizer_batch: int) -> np.ndarray:
    """The rows of window ``index``, [optimizer_batch], filled up with NOBODY."""
    rows = order[index * optimizer_batch : (index + 1) * optimizer_batch]
    return np.concatenate([rows, np.full(optimizer_batch - len(rows), NOBODY, rows.dtype)])


def lengths_by_window(lengths: np.ndarray, order: np.ndarray, optimizer_batch: int, count: int) -> np.ndarray:
    """The longest of each window, [count], for all windows of an epoch at once."""
    taken = lengths[order[: count * optimizer_batch]]
    padded = np.zeros(count * optimizer_batch, np.int64)
    padded[: len(taken)] = taken
    return padded.reshape(count, optimizer_batch).max(axis=1)
