"""A file of JSON lines that only grows, and can be cut back to where a checkpoint knew it to be."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypedDict

from specrun.spec.diagnostics import RunError


class Position(TypedDict):
    """How far a file had grown: its bytes and their SHA-256."""

    bytes: int
    sha256: str


START = Position(bytes=0, sha256=hashlib.sha256(b"").hexdigest())
"""The position of an empty file."""


def json_line(row: Mapping[str, Any]) -> bytes:
    """One row as its line. Keys keep their order; numbers must be finite."""
    return (json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n").encode()


class Lines:
    """``path`` opened for appending after being cut back to ``position``.

    RunError when the file is not what it was at that position: then something else wrote to it.
    """

    def __init__(self, path: Path, position: Position = START):
        self.path = path
        self._hash = hashlib.sha256(_verified(path, position))
        self._bytes = position["bytes"]
        # Unbuffered: a line that could not be written must not come back when the file is closed.
        self._file = path.open("ab", buffering=0)
        self._file.truncate(self._bytes)

    @classmethod
    def at_end(cls, path: Path) -> Self:
        """``path`` opened for appending after its last whole line, whatever it holds."""
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        return cls(path, Position(bytes=len(whole), sha256=hashlib.sha256(whole).hexdigest()))

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row and hand it to the system, so that a killed process loses none."""
        line = json_line(row)
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._hash.update(line)
        self._bytes += len(line)

    def settle(self) -> Position:
        """Bring everything onto the disk; the position reached."""
        os.fsync(self._file.fileno())
        return Position(bytes=self._bytes, sha256=self._hash.hexdigest())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _verified(path: Path, position: Position) -> bytes:
    """The file's content up to ``position``."""
    content = b""
    if path.exists():
        with path.open("rb") as file:
            content = file.read(position["bytes"])
    if len(content) < position["bytes"]:
        raise RunError(
            f"{path} has {len(content)} bytes, but the checkpoint knew {position['bytes']}: "
            f"it was cut or removed. {_MEND}"
        )
    if hashlib.sha256(content).hexdigest() != position["sha256"]:
        raise RunError(
            f"{path} was changed since the checkpoint: its first {position['bytes']} bytes "
            f"do not match their digest. {_MEND}"
        )
    return content


_MEND = "Put the file back, or remove the run's folder and start again"
