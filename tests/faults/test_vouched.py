"""Files that events vouch for: gone, changed, cut short or of no event, for everything that keeps such files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.runtime.loop import pseudo
from specrun.runtime.loop.events import Event, EventLog
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.vouched import Vouched
from specrun.runtime.mining import snapshots
from specrun.spec.diagnostics import RunError

MINED = np.arange(6, dtype=np.int32).reshape(3, 2)
TEXTS = pseudo.Made(("ein Straße", "zwei"), (4, 1), {"too_short": 3})


@dataclasses.dataclass(frozen=True, kw_only=True)
class User:
    """What keeps such files: how it writes one by number and reads it, and what it calls the content."""

    kind: str
    files: Callable[[RunFolder], Vouched]
    write: Callable[[RunFolder, int], tuple[str, str]]
    read: Callable[[RunFolder, Event], Any]
    content: Any
    called: str


USERS = (
    User(
        kind=snapshots.MINED,
        files=snapshots.snapshots,
        write=lambda folder, number: snapshots.write_snapshot(folder, number, MINED),
        read=lambda folder, event: snapshots.read_snapshot(folder, event, (3, 2)).tolist(),
        content=MINED.tolist(),
        called="the negatives mined after step 7",
    ),
    User(
        kind=pseudo.PSEUDO,
        files=pseudo.texts_of,
        write=lambda folder, number: pseudo.write(folder, number, TEXTS),
        read=pseudo.read,
        content=TEXTS,
        called="the texts made after step 7",
    ),
)


@pytest.fixture(params=USERS, ids=lambda user: user.kind)
def user(request: pytest.FixtureRequest) -> User:
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def events(folder: RunFolder) -> Iterator[EventLog]:
    folder.events.touch()
    log = EventLog(folder.events)
    yield log
    log.close()


def kept(user: User, folder: RunFolder, events: EventLog) -> tuple[Path, Event]:
    """A file, and the event that vouches for it."""
    name, digest = user.write(folder, 7)
    events.record(user.kind, 7, file=name, sha256=digest)
    return folder.root / name, events.events[-1]


def test_what_was_written_is_read(user: User, folder: RunFolder, events: EventLog):
    _, event = kept(user, folder, events)
    assert user.read(folder, event) == user.content


def changed(content: bytes) -> bytes:
    return content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file or directory"),
        (lambda path: path.write_bytes(changed(path.read_bytes())), "was changed"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "was changed"),
        (lambda path: path.write_bytes(b""), "was changed"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
    ],
    ids=["gone", "changed", "truncated", "empty", "a folder"],
)
def test_a_file_that_is_not_the_one_written_is_an_error(
    user: User,
    folder: RunFolder,
    events: EventLog,
    damage: Callable[[Path], object],
    said: str,
):
    path, event = kept(user, folder, events)
    damage(path)
    with pytest.raises(RunError) as error:
        user.read(folder, event)
    assert str(error.value).startswith(f"{user.called}, {path}: the file {said}")
    assert "Put the file back" in str(error.value)


def test_negatives_of_other_rows_are_an_error(folder: RunFolder, events: EventLog):
    _, event = kept(USERS[0], folder, events)
    with pytest.raises(RunError, match=r"the file holds int32 \[3, 2\], not int32 \[4, 2\]"):
        snapshots.read_snapshot(folder, event, (4, 2))


def test_only_files_of_no_event_are_removed(user: User, folder: RunFolder, events: EventLog):
    """One written without its event, and one that a crash left half written; another kind's event vouches for none."""
    path, event = kept(user, folder, events)
    name, digest = user.write(folder, 8)
    events.record("another", 8, file=name, sha256=digest)
    half = path.with_name(f".{path.name}.x1y2")
    half.write_bytes(b"half")
    user.files(folder).remove_unknown(events.events)
    assert list(path.parent.iterdir()) == [path]
    assert user.read(folder, event) == user.content


def test_a_folder_that_was_never_made_holds_nothing_to_remove(user: User, folder: RunFolder):
    user.files(folder).remove_unknown(())
    assert list(folder.root.iterdir()) == []
