"""Mined negatives as files of the run's folder, each vouched for by an event."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from specrun.runtime.loop.events import Event
from specrun.runtime.loop.folder import RunFolder, write_atomic
from specrun.spec.diagnostics import RunError

MINED = "mined"
"""Kind of the event."""


def write_snapshot(folder: RunFolder, step: int, rows: np.ndarray) -> tuple[str, str]:
    """Write int32 [rows, N] mined after ``step`` steps; its name in the run's folder, and its SHA-256."""
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    path = folder.negatives / f"{step:08d}.npy"
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, content.getvalue())
    name = path.relative_to(folder.root).as_posix()
    return name, hashlib.sha256(content.getbuffer()).hexdigest()


def read_snapshot(folder: RunFolder, event: Event, shape: tuple[int, int]) -> np.ndarray:
    """The negatives that an event vouches for, int32 of ``shape``. RunError when they are gone or others."""
    path = folder.root / str(event["file"])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _lost(path, event, f"cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != event["sha256"]:
        raise _lost(path, event, "was changed: it does not match the digest in events.jsonl")
    rows = np.load(io.BytesIO(content), allow_pickle=False)
    if rows.shape != shape or rows.dtype != np.int32:
        raise _lost(path, event, f"holds {rows.dtype} {list(rows.shape)}, not int32 {list(shape)}")
    return rows


def remove_unknown(folder: RunFolder, events: Iterable[Event]) -> None:
    """Remove what no event vouches for: it is mined again."""
    known = {str(e["file"]) for e in events if e["kind"] == MINED}
    for path in list(folder.negatives.iterdir()) if folder.negatives.is_dir() else []:
        if path.relative_to(folder.root).as_posix() not in known:
            Path(path).unlink()


def _lost(path: Path, event: Event, what: str) -> RunError:
    return RunError(
        f"the negatives mined after step {event['after']}, {path}: the file {what}. The weights of "
        "that step are gone, so it cannot be made again. Put the file back, or remove the run's "
        "folder and start again"
    )
