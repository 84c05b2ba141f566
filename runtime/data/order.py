"""Which rows a stage takes, in which order an epoch visits them, and how steps cut that order.

All of it is a function of (seed, segment, epoch) and the rows. The order sorts by raw Philox
numbers, whose stream numpy keeps the same from version to version, unlike that of its shuffles.
"""

from __future__ import annotations

import numpy as np

from specrun.runtime.data.rows import Split
from specrun.spec.plan.data import FORMAT, TEXT_FORMATS, TextFormat
from specrun.spec.plan.segments import Selection


def select(split: Split, selection: Selection | None) -> np.ndarray:
    """Indices of the rows that a selection takes, rising. int64 [rows]"""
    if selection is None:
        return np.arange(len(split))
    taken = of_format(split, selection.format)
    if selection.field is None:
        return np.flatnonzero(taken)
    values = split.fields.get(selection.field)
    if values is None:
        return np.arange(0)
    taken &= ~np.isnan(values)
    if selection.minimum is not None:
        taken &= values >= selection.minimum
    if selection.maximum is not None:
        taken &= values <= selection.maximum
    return np.flatnonzero(taken)


def of_format(split: Split, format: TextFormat | None) -> np.ndarray:
    """Which rows are of a format; all for none named, and none where the rows have no formats. bool [rows]"""
    if format is None:
        return np.ones(len(split), np.bool_)
    numbers = split.fields.get(FORMAT)
    if numbers is None:
        return np.zeros(len(split), np.bool_)
    return np.asarray(numbers == TEXT_FORMATS.index(format))


def by_format(split: Split) -> list[np.ndarray]:
    """The rows of each format that there is, or all of them. Each int64, rising"""
    numbers = split.fields.get(FORMAT) if split.texts_only else None
    if numbers is None:
        return [np.arange(len(split))]
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


def epoch_order(seed: int, segment: int, epoch: int, rows: np.ndarray) -> np.ndarray:
    """The selected rows in the order of one epoch. int64 [rows]"""
    generator = np.random.Philox(key=np.array([seed, (segment << 32) | epoch], np.uint64))
    return rows[np.argsort(generator.random_raw(len(rows)), kind="stable")]


def steps_per_epoch(rows: int, rows_per_step: int, drop_last: bool) -> int:
    """Optimizer steps in an epoch: a short last one counts unless it is dropped."""
    return rows // rows_per_step if drop_last else -(-rows // rows_per_step)


def longest(lengths: np.ndarray, order: np.ndarray, rows_per_step: int, steps: int) -> np.ndarray:
    """The longest row of each step of an epoch. int64 [steps]"""
    found = np.zeros(steps * rows_per_step, np.int64)
    kept = order[: len(found)]
    found[: len(kept)] = lengths[kept]
    return found.reshape(steps, rows_per_step).max(axis=1, initial=0)
