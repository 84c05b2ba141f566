"""Telling how a long job goes: reading data, training a tokenizer, tokenising, evaluating, encoding.

A job is handed a function and calls it with its name, how much is done and how much there is (0:
not known). Nothing is global; ``silent`` is the default everywhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

Tell = Callable[[str, int, int], None]
"""(job, done, of how many or 0): called as often as the job likes, the last time with done == total."""

PATIENCE = 2.0
"""Seconds before a job is worth a line in a log."""

PAUSE = 10.0
"""Seconds between two lines of a job in a log."""

BLINK = 0.1
"""Seconds between two states of a line on a terminal."""


def silent(job: str, done: int, total: int) -> None:
    """Tells nothing."""


def teller(quiet: bool) -> Tell:
    """What fits this process's stderr: nothing, a line that changes in place, or plain lines."""
    if quiet:
        return silent
    return InPlace(sys.stderr) if sys.stderr.isatty() else PlainJobs(sys.stderr)


def shown(job: str, done: int, total: int) -> str:
    """``tokenising 1,200/8,000``"""
    if total:
        return f"{job} {done:,}/{total:,}"
    return f"{job} {done:,}" if done else job


@dataclass
class Counted:
    """Counts what is done batch by batch, where a word is only said before each batch."""

    job: str
    total: int
    tell: Tell
    done: int = 0

    def batch(self, size: int) -> None:
        """A batch of ``size`` begins: what was begun before is done."""
        self.tell(self.job, min(self.done, self.total - 1), self.total)
        self.done += size

    def finish(self) -> None:
        """All is done."""
        self.tell(self.job, self.total, self.total)


def size(count: float) -> str:
    """Bytes with a binary unit: ``1.5 GiB``."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    unit = 0
    while count >= 1024 and unit < len(units) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.0f} B" if unit == 0 else f"{count:.1f} {units[unit]}"


def duration(seconds: float) -> str:
    """``7.2 s``, and from a minute on ``12:03`` or ``5:00:00``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class InPlace:
    """One line on a terminal that changes, and is gone when the job is done."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic):
        self._stream, self._clock, self._last = stream, clock, -BLINK

    def __call__(self, job: str, done: int, total: int) -> None:
        if total and done >= total:
            self._write("\r\x1b[2K")
            self._last = -BLINK
        elif (now := self._clock()) - self._last >= BLINK:
            self._last = now
            self._write(f"\r\x1b[2K{shown(job, done, total)}")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


class PlainJobs:
    """Lines in a log for jobs that take long; nothing for one that is quickly done."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self._stream, self._clock = stream, clock
        self._job, self._begun, self._last, self._told = "", 0.0, 0.0, False

    def __call__(self, job: str, done: int, total: int) -> None:
        now = self._clock()
        if job != self._job:
            self._job, self._begun, self._last, self._told = job, now, now - PAUSE + PATIENCE, False
        finished = bool(total) and done >= total
        if finished and self._told:
            self._print(f"{shown(job, done, total)}  {now - self._begun:.0f} s")
        elif not finished and now - self._last >= PAUSE:
            self._last, self._told = now, True
            self._print(shown(job, done, total))
        if finished:
            self._job = ""

    def _print(self, text: str) -> None:
        with suppress(OSError, ValueError):
            print(text, file=self._stream or sys.stderr, flush=True)
