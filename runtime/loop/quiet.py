"""Keeps the background writers' own tracebacks off the user's terminal: the run reports their failures itself."""

from __future__ import annotations

import gc
import inspect
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

LOGGER = "absl"
"""Orbax logs through it."""

ASYNCIO = "asyncio"
"""Reports what Orbax's coroutines raised after the first of them had failed."""


@contextmanager
def quiet_writers() -> Iterator[None]:
    """While entered, nothing is printed about failed reads and writes that reach the run as exceptions anyway.

    Orbax logs each with a traceback, and leaves unfinished coroutines, and the failures of all but the
    first, to the garbage collector, which reports them. TensorStore's threads, answering a loop that a failure has ended, print "Event loop
    is closed".
    """
    logger, asyncio = logging.getLogger(LOGGER), logging.getLogger(ASYNCIO)
    hook, unraisable = sys.excepthook, sys.unraisablehook

    def on_exception(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not _is_closed_loop(error):
            hook(kind, error, trace)

    def on_unraisable(found: sys.UnraisableHookArgs) -> None:
        if not (_is_closed_loop(found.exc_value) or _is_coroutine_of_orbax(found.object)):
            unraisable(found)

    logger.addFilter(_is_not_orbax)
    asyncio.addFilter(_is_retrieved)
    sys.excepthook, sys.unraisablehook = on_exception, on_unraisable
    try:
        yield
    finally:
        gc.collect()  # what Orbax left is reported now, not after the hooks are gone
        logger.removeFilter(_is_not_orbax)
        asyncio.removeFilter(_is_retrieved)
        sys.excepthook, sys.unraisablehook = hook, unraisable


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _is_retrieved(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()


def _is_closed_loop(error: BaseException | None) -> bool:
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"


def _is_coroutine_of_orbax(found: Any) -> bool:
    return inspect.iscoroutine(found) and "orbax" in found.cr_code.co_filename
