"""Mined negatives as files of the run's folder."""

from __future__ import annotations

import io

import numpy as np

from specrun.runtime.loop.events import Event
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.vouched import Vouched

MINED = "mined"
"""Kind of the event."""


def snapshots(folder: RunFolder) -> Vouched:
    """The files of a run's mined negatives."""
    return Vouched(folder.root, folder.negatives, MINED, "the negatives mined")


def write_snapshot(folder: RunFolder, step: int, rows: np.ndarray) -> tuple[str, str]:
    """Write int32 [rows, N] mined after ``step`` steps; its name in the run's folder, and its SHA-256."""
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    return snapshots(folder).write(f"{step:08d}.npy", content.getvalue())


def read_snapshot(folder: RunFolder, event: Event, shape: tuple[int, int]) -> np.ndarray:
    """The negatives that an event vouches for, int32 of ``shape``. RunError when they are gone or others."""
    files = snapshots(folder)
    rows = np.load(io.BytesIO(files.read(event)), allow_pickle=False)
    if rows.shape != shape or rows.dtype != np.int32:
        found = f"{rows.dtype} {list(rows.shape)}"
        raise files.lost(event, f"holds {found}, not int32 {list(shape)}")
    return rows
