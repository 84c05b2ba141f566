"""Keeps the background writers' own tracebacks off the user's terminal: the run reports their failures itself."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

LOGGER = "absl"
"""Orbax logs through it."""


@contextmanager
def quiet_writers() -> Iterator[None]:
    """While entered, nothing is printed about failed writes that reach the run as exceptions anyway.

    Orbax logs each with a traceback. TensorStore's threads, answering a loop that a failure has
    ended, print "Event loop is closed" through ``sys.excepthook``.
    """
    logger, hook = logging.getLogger(LOGGER), sys.excepthook

    def without_closed_loops(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not (kind is RuntimeError and str(error) == "Event loop is closed"):
            hook(kind, error, trace)

    logger.addFilter(_is_not_orbax)
    sys.excepthook = without_closed_loops
    try:
        yield
    finally:
        logger.removeFilter(_is_not_orbax)
        sys.excepthook = hook


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname
