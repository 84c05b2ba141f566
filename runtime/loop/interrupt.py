"""SIGINT and SIGTERM as a question asked at safe points, so that a run can save before it ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from specrun.spec.diagnostics import SpecrunError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SpecrunError):
    """The run was asked to stop, and everything is saved. ``exit_code`` is 130 or 143."""

    def __init__(self, number: int, message: str = ""):
        self.signal = signal.Signals(number)
        self.exit_code = 128 + number
        super().__init__(message or f"stopped by {self.signal.name}")


class Interrupts:
    """While entered, the first signal is only noted; a second one acts as it did before entering.

    Outside the main thread Python allows no handlers: then signals act as ever.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def check(self) -> None:
        """Raise Interrupted when a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # None is a handler that was not set from Python
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
