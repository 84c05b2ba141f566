"""Metrics of steps, fetched late: the host never waits for the step that it has just started."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice, takewhile
from typing import Any, NamedTuple

import jax

LAG = 8
"""Steps whose metrics may be outstanding: enough to hide the host, few enough to bound memory."""

SLOW_SECONDS = 0.1
"""Steps longer than this hide the host with one outstanding; more would only delay the answer to Ctrl-C."""

Write = Callable[[int, dict[str, float]], None]
Ready = Callable[[int], None]


class NotFinite(Exception):
    """A metric of a step is NaN or infinite."""

    def __init__(self, step: int, metric: str, value: float):
        self.step, self.metric, self.value = step, metric, value
        super().__init__(f"{metric} is {value} at step {step}")


class _Outstanding(NamedTuple):
    step: int
    metrics: Mapping[str, Any]
    facts: dict[str, float]


class Watch:
    """Takes each step's metrics as they are on the device; checks all, writes every ``every``-th step's.

    ``write(step, values)`` gets Python floats; ``step`` counts finished steps. The step ``last``
    is always written. ``ready(step)`` is told, before they are written, up to which step the results are there.
    """

    def __init__(self, every: int, last: int, write: Write, ready: Ready):
        self._every, self._last, self._write, self._ready = every, last, write, ready
        self._outstanding: deque[_Outstanding] = deque()
        self._lag = LAG

    def add(self, step: int, metrics: Mapping[str, Any], facts: dict[str, float]) -> None:
        """Take the metrics of a step just started. Raises NotFinite for one that is long finished."""
        self._outstanding.append(_Outstanding(step, metrics, facts))
        if len(self._outstanding) >= 2 * self._lag:
            begun, count = time.monotonic(), len(self._outstanding) - self._lag
            self.drain(self._lag)
            self._lag = 1 if time.monotonic() - begun > SLOW_SECONDS * count else LAG

    def drain(self, keep: int = 0) -> None:
        """Fetch and check all but the newest ``keep``. Raises NotFinite for the earliest bad one."""
        if len(self._outstanding) <= keep:
            return
        count = len(self._outstanding) - keep
        jax.block_until_ready(self._outstanding[count - 1].metrics)
        self._ready(self._newest(count))
        for _ in range(count):
            step, metrics, facts = self._outstanding.popleft()
            values = {name: float(value) for name, value in metrics.items()}
            for name, value in values.items():
                if not math.isfinite(value):
                    self._outstanding.clear()
                    raise NotFinite(step, name, value)
            if step % self._every == 0 or step == self._last:
                self._write(step, {**values, **facts})

    def _newest(self, count: int) -> int:
        """The newest step whose metrics are there, where those of the first ``count`` are."""
        later = takewhile(_is_there, islice(self._outstanding, count, None))
        return [self._outstanding[count - 1], *later][-1].step


def _is_there(outstanding: _Outstanding) -> bool:
    return all(leaf.is_ready() for leaf in jax.tree.leaves(outstanding.metrics))
