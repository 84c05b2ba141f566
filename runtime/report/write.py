"""Writing report.html from a run's folder."""

from __future__ import annotations

from pathlib import Path

from specrun.runtime.loop.folder import RunFolder, write_atomic, writing
from specrun.runtime.report.page import page
from specrun.runtime.report.record import read_record


def write_report(folder: Path) -> Path:
    """Write report.html of a run, finished or not; its path.

    InputError names what is missing or damaged, RunError says why the page cannot be written.
    """
    text = page(read_record(folder))
    path = RunFolder(folder).report
    with writing(str(path)):
        write_atomic(path, text.encode())
    return path
