"""Two or more sides that do the same work: a process for each, asked in turn, compared as paired ratios.

Processes of their own keep one library from changing the other's allocator or threads. Between two questions
there is a pause in which threads that spin go to sleep.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

PAUSE = 0.3

Actions = dict[str, Callable[[], "float | None"]]
"""What a side can do, by name. One that returns a number is asked for it, any other for its seconds."""


class Taken(NamedTuple):
    """One action: seconds on the clock (or the number it returned), and seconds of the processors."""

    seconds: float
    processor: float


class Side:
    """A process that does the named actions of ``make(*arguments)`` and says how long each took."""

    def __init__(self, make: Callable[..., Actions], *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
        self._process.start()
        other.close()  # else the end of that process would not be seen

    def ask(self, name: str) -> float:
        """Seconds of an action, or the number it returns; of ``peak``, the megabytes the process took at most."""
        return self.time(name).seconds

    def time(self, name: str) -> Taken:
        """As ``ask``, with the time of all the process's threads, which a busy machine changes less.

        SystemExit when the process ended instead.
        """
        time.sleep(PAUSE)
        try:
            self._pipe.send(name)
            return Taken(*self._pipe.recv())
        except (EOFError, OSError) as error:
            raise SystemExit(f"a side ended before it answered `{name}`, see above") from error

    def close(self) -> None:
        self._pipe.send("")
        self._process.join()


def _serve(pipe: Connection, make: Callable[..., Actions], arguments: tuple[Any, ...]) -> None:
    actions: Actions = {"peak": _peak} | make(*arguments)
    while name := pipe.recv():
        start, worked = time.perf_counter(), time.process_time()
        found = actions[name]()
        wall, work = time.perf_counter() - start, time.process_time() - worked
        pipe.send((wall if found is None else found, work))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def cores() -> int:
    """Cores this process may use: XLA takes as many threads, and torch is told to."""
    return len(os.sched_getaffinity(0))


def in_turn(sides: Mapping[str, Side], name: str, repeats: int) -> dict[str, list[Taken]]:
    """What each side took for an action, ``repeats`` times, after a round that is not counted.

    Every other round runs backwards, so that none always comes behind the same.
    """
    found: dict[str, list[Taken]] = {side: [] for side in sides}
    for i in range(repeats + 1):
        for side in reversed(sides) if i % 2 else sides:
            taken = sides[side].time(name)
            if i:
                found[side].append(taken)
    return found


def medians(taken: Sequence[Taken]) -> dict[str, float]:
    """Seconds on the clock and of the processors."""
    return {
        "seconds": round(statistics.median(t.seconds for t in taken), 4),
        "processor_s": round(statistics.median(t.processor for t in taken), 4),
    }


def paired(ours: Sequence[Taken], theirs: Sequence[Taken]) -> dict[str, float]:
    """The ratio of neighbours in time: median, least and greatest. Below 1 the first is faster."""
    pairs = list(zip(ours, theirs, strict=True))
    ratios = sorted(a.seconds / b.seconds for a, b in pairs)
    worked = statistics.median(a.processor / b.processor for a, b in pairs)
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_low": round(ratios[0], 3),
        "ratio_high": round(ratios[-1], 3),
        "processor_ratio": round(worked, 3),
    }
