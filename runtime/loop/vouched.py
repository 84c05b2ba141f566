"""Files of the run's folder that depended on the weights, each vouched for by an event that holds its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from specrun.runtime.loop.events import Event
from specrun.runtime.loop.folder import write_atomic
from specrun.spec.diagnostics import RunError


class Vouched(NamedTuple):
    """Files in ``inside``, a folder of the run's folder ``root``, of the events of one ``kind``.

    ``made`` is what messages call their content, such as "the negatives mined".
    """

    root: Path
    inside: Path
    kind: str
    made: str

    def write(self, name: str, content: bytes) -> tuple[str, str]:
        """Write a file in one move; its name in the run's folder, and its SHA-256, for the event."""
        path = self.inside / name
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, content)
        return path.relative_to(self.root).as_posix(), hashlib.sha256(content).hexdigest()

    def read(self, event: Event) -> bytes:
        """The content that an event vouches for. RunError when the file is gone or another."""
        try:
            content = self._path(event).read_bytes()
        except OSError as error:
            raise self.lost(event, f"cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != event["sha256"]:
            raise self.lost(event, "was changed: it does not match the digest in events.jsonl")
        return content

    def lost(self, event: Event, what: str) -> RunError:
        """The RunError for a file that cannot be used; ``what`` says why, after "the file"."""
        return RunError(
            f"{self.made} after step {event['after']}, {self._path(event)}: the file {what}. The weights of that step "
            "are gone, so they cannot be made again. Put the file back, or remove the run's folder and start again"
        )

    def remove_unknown(self, events: Iterable[Event]) -> None:
        """Remove what no event vouches for: it is made again."""
        known = {self.root / str(e["file"]) for e in events if e["kind"] == self.kind}
        for path in list(self.inside.iterdir()) if self.inside.is_dir() else []:
            if path not in known:
                path.unlink()

    def _path(self, event: Event) -> Path:
        return self.root / str(event["file"])
