"""Telling how a run goes: a live line on a terminal, plain lines elsewhere, or a function of the caller's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from specrun.runtime.loop.speed import Speed
from specrun.runtime.telling import InPlace, PlainJobs, duration, shown, size
from specrun.spec.plan.plan import Plan

OnProgress = Callable[[str, int, Mapping[str, float]], None]
"""Called with ``training`` or ``evaluation``, the number of finished steps, and the values."""


class Reporter(Protocol):
    """What the loop tells. No method may fail or change the run."""

    def start(self, plan: Plan, step: int) -> None: ...
    def training(self, step: int, values: Mapping[str, float], speed: Speed) -> None: ...
    def evaluation(self, step: int, values: Mapping[str, float], best: bool) -> None: ...
    def work(self, job: str, done: int, total: int) -> None: ...
    def note(self, text: str) -> None: ...
    def close(self) -> None: ...


class Silent:
    """Tells nothing, but calls the caller's function."""

    def __init__(self, on_progress: OnProgress | None = None):
        self._call = on_progress or (lambda kind, step, values: None)

    def start(self, plan: Plan, step: int) -> None:
        pass

    def training(self, step: int, values: Mapping[str, float], speed: Speed) -> None:
        self._call("training", step, values)

    def evaluation(self, step: int, values: Mapping[str, float], best: bool) -> None:
        self._call("evaluation", step, values)

    def work(self, job: str, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class PlainLines(Silent):
    """One line an event, at most one training line in ``pause`` seconds."""

    def __init__(self, on_progress: OnProgress | None = None, pause: float = 5.0):
        super().__init__(on_progress)
        self._pause, self._last, self._total = pause, -pause, 0
        self._jobs = PlainJobs()

    def start(self, plan: Plan, step: int) -> None:
        self._total = plan.train.total_steps
        begun = f"from step {step}" if step else "from the beginning"
        self._print(f"{plan.name}: {self._total} steps, {begun}")

    def training(self, step: int, values: Mapping[str, float], speed: Speed) -> None:
        super().training(step, values, speed)
        now = time.monotonic()
        if now - self._last >= self._pause or step == self._total:
            self._last = now
            self._print(f"step {step}/{self._total}  {_values(values)}  {_speed(speed)}")

    def evaluation(self, step: int, values: Mapping[str, float], best: bool) -> None:
        super().evaluation(step, values, best)
        self._print(f"step {step}/{self._total}  {_values(values)}{'  (best)' if best else ''}")

    def work(self, job: str, done: int, total: int) -> None:
        self._jobs(job, done, total)

    def note(self, text: str) -> None:
        self._print(text)

    def _print(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a reader that went away does not end the run
            print(text, file=sys.stderr, flush=True)


class Live(Silent):
    """A progress bar by rich on the terminal of stderr, evaluations as lines above it."""

    def __init__(self, on_progress: OnProgress | None = None):
        super().__init__(on_progress)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        rest: dict[str, Any] = {"ratio": 1, "no_wrap": True, "overflow": "ellipsis"}
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}", markup=False, table_column=Column(**rest)),
            console=Console(stderr=True),
            expand=True,
        )
        self._task: Any = None
        self._before = InPlace(sys.stderr)

    def start(self, plan: Plan, step: int) -> None:
        self._task = self._bar.add_task(
            plan.name, total=plan.train.total_steps, completed=step, values=""
        )
        self._bar.start()

    def training(self, step: int, values: Mapping[str, float], speed: Speed) -> None:
        super().training(step, values, speed)
        text = f"{_speed(speed)}  {_values(values)}"  # the end is cut on a narrow terminal
        self._bar.update(self._task, completed=step, values=text)

    def evaluation(self, step: int, values: Mapping[str, float], best: bool) -> None:
        super().evaluation(step, values, best)
        mark = "  (best)" if best else ""
        self._bar.console.print(
            f"step {step}  {_values(values)}{mark}", markup=False, highlight=False
        )

    def work(self, job: str, done: int, total: int) -> None:
        """In a line of its own before the bar is there; afterwards in the bar."""
        if self._task is None:
            self._before(job, done, total)
        else:
            finished = bool(total) and done >= total
            self._bar.update(self._task, values="" if finished else shown(job, done, total))

    def note(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._bar.stop()


def make_reporter(quiet: bool, on_progress: OnProgress | None) -> Reporter:
    """The reporter for this process's stderr."""
    if quiet:
        return Silent(on_progress)
    return Live(on_progress) if sys.stderr.isatty() else PlainLines(on_progress)


def _values(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _speed(speed: Speed) -> str:
    memory = speed.memory
    where = "device" if memory.kind == "device" else "process"
    return (
        f"{speed.steps_per_second:.3g} steps/s  {speed.rows_per_second:,.0f} rows/s  "
        f"left {duration(speed.left)}  "
        f"{where} {size(memory.bytes)} (peak {size(memory.peak_bytes)})"
    )
