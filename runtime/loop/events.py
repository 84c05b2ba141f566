"""events.jsonl: what depended on the weights and shaped the run, each line chained to the one before.

A line is ``{"after": steps, "kind": ..., ..., "previous": SHA-256 of the line before}``; the first
names 64 zeros. So no line can be changed, dropped or put between without breaking the chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.runtime.loop.lines import START, Lines, Position, json_line
from specrun.spec.diagnostics import RunError

Event = Mapping[str, Any]

EARLY_STOP = "early_stop"
ADVANCE = "advance"
"""A stage ended early, after step ``after``; ``to`` is the step after which the next one begins."""

NOTHING = "0" * 64
"""What the first line names as the line before it."""


class EventLog:
    """The events of a run up to ``position``; RunError when the chain up to there is broken."""

    def __init__(self, path: Path, position: Position = START):
        self._lines = Lines(path, position)
        self.events = read_events(path)
        self._previous = _hash(self.events[-1]) if self.events else NOTHING

    def record(self, kind: str, after: int, **facts: Any) -> None:
        """Append an event that happened when ``after`` steps were finished."""
        event = {"after": after, "kind": kind, **facts, "previous": self._previous}
        self._lines.append(event)
        self.events = (*self.events, event)
        self._previous = _hash(event)

    def find(self, kind: str) -> Event | None:
        """The last event of a kind."""
        return next((e for e in reversed(self.events) if e["kind"] == kind), None)

    def all(self, kind: str) -> tuple[Event, ...]:
        """The events of a kind, oldest first."""
        return tuple(e for e in self.events if e["kind"] == kind)

    def settle(self) -> Position:
        """Bring the log onto the disk; the position reached."""
        return self._lines.settle()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def read_events(path: Path) -> tuple[Event, ...]:
    """All events of a file, the chain verified. RunError names the first broken line."""
    events: list[Event] = []
    previous = NOTHING
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        event = _parsed(line)
        if event is None or event.get("previous") != previous:
            raise RunError(
                f"{path}:{number}: the chain of events is broken here: the line before it or this "
                "one was changed. Put the file back, or remove the run's folder and start again"
            )
        events.append(event)
        previous = _hash(event)
    return tuple(events)


def _parsed(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    canonical = isinstance(event, dict) and json_line(event).rstrip(b"\n") == line
    return event if canonical and "kind" in event and "after" in event else None


def _hash(event: Event) -> str:
    return hashlib.sha256(json_line(event)).hexdigest()
