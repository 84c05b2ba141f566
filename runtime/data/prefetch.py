"""Batches made ahead of the step that takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from specrun.runtime.data.batches import Batch, Batches

AHEAD = 2
_POLL_SECONDS = 0.1


def prefetch(batches: Batches, start: int, stop: int) -> Iterator[tuple[int, str, Batch]]:
    """(step, trace, batch) for the steps from ``start`` to before ``stop``.

    An error of making a batch is raised here. Closing the generator, or an error in the loop that
    uses it, ends the thread.
    """
    ready: queue.Queue[tuple[int, str, Batch] | BaseException] = queue.Queue(AHEAD)
    closed = threading.Event()

    def work() -> None:
        try:
            for step in range(start, stop):
                if not _put(ready, (step, *batches.at(step)), closed):
                    return
        except BaseException as error:
            _put(ready, error, closed)

    thread = threading.Thread(target=work, name="specrun-prefetch", daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            found = ready.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        closed.set()
        thread.join()


def _put(ready: queue.Queue[Any], item: object, closed: threading.Event) -> bool:
    """Wait for room; False when nobody wants it any more."""
    while not closed.is_set():
        try:
            ready.put(item, timeout=_POLL_SECONDS)
            return True
        except queue.Full:
            continue
    return False
