"""How fast a run goes and what memory it takes: for people and times.jsonl, never for metrics.jsonl."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/statm")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """``kind`` is ``device``, or ``process`` where the platform counts none: the resident set then."""

    kind: str
    bytes: int
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of this process alone. A row is a pair of query and positive; padding rows do not count.

    ``steps_per_second`` is that between the last two moments at which results were there, ``mean`` over
    all steps of this process, both without the time of evaluations, checkpoints and the first
    compilation. ``left`` is in seconds, with evaluations and checkpoints as they were so far.
    """

    steps_per_second: float
    rows_per_second: float
    mean: float
    left: float
    memory: Memory


@dataclass(frozen=True, kw_only=True)
class _Moment:
    """When the results of ``step`` steps were there: ``whole`` seconds since the start, ``training`` of them of steps."""

    step: int
    whole: float = 0.0
    training: float = 0.0


class Pace:
    """Measures a process's steps. Time counts as training unless it is named otherwise by ``spent``.

    A step is begun long before it is done, and metrics are fetched several steps at a time: rates are
    taken between the moments of ``ready``, never between those of ``at``.
    """

    def __init__(self, step: int, total: int, clock: Callable[[], float] = time.monotonic):
        self._first, self._total, self._clock = step, total, clock
        self._begun: float | None = None
        self._elsewhere = 0.0
        self._told = self._before = self._last = _Moment(step=step)

    def begin(self) -> None:
        """The first step was started, so it is compiled: the time counts from now."""
        if self._begun is None:
            self._begun = self._clock()

    def spent(self, seconds: float) -> None:
        """So many seconds went into something that is no training."""
        if self._begun is not None:
            self._elsewhere += seconds

    def skip(self, steps: int) -> None:
        """So many steps will not be made: they count for no rate."""
        self._first += steps
        self._told, self._before, self._last = (
            replace(moment, step=moment.step + steps)
            for moment in (self._told, self._before, self._last)
        )

    def ready(self, step: int) -> None:
        """The results of ``step`` steps are there now, and perhaps have been for a while."""
        if step <= self._last.step:
            return
        whole = 0.0 if self._begun is None else self._clock() - self._begun
        self._last = _Moment(step=step, whole=whole, training=whole - self._elsewhere)

    def at(self, rows_per_step: float, memory: Memory) -> Speed:
        """The speed up to the last moment of ``ready``; since the moment of the report before it, if that was earlier."""
        last = self._last
        if last.step > self._told.step:
            self._before, self._told = self._told, last
        before = self._before
        now = _rate(last.step - before.step, last.training - before.training)
        each = last.whole / max(last.step - self._first, 1)
        return Speed(
            steps_per_second=now,
            rows_per_second=now * rows_per_step,
            mean=_rate(last.step - self._first, last.training),
            left=each * (self._total - last.step),
            memory=memory,
        )

    def mean(self, step: int) -> float | None:
        """Steps per second of this process; None when it made no step."""
        if self._begun is None or step <= self._first:
            return None
        return _rate(step - self._first, self._clock() - self._begun - self._elsewhere)


def memory_of(device: Any) -> Memory:
    """Bytes in use and their peak: on the device where it counts them, else of this process."""
    stats = device.memory_stats()
    if stats and "bytes_in_use" in stats:
        used = int(stats["bytes_in_use"])
        return Memory(
            kind="device", bytes=used, peak_bytes=int(stats.get("peak_bytes_in_use", used))
        )
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    now = _resident(peak)
    return Memory(kind="process", bytes=now, peak_bytes=max(now, peak))


def _resident(peak: int) -> int:
    """The resident set now; its peak where the system does not tell."""
    try:
        return int(STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return peak


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
