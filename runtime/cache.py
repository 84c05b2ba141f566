"""Content-addressed artefacts on disk: made once, written in one move, verified on every read.

An artefact is a folder ``<root>/<kind>/<key>`` with its files and a ``manifest.json`` of their digests. It is made
in a folder beside, and renamed when complete: a killed writer leaves nothing that is ever taken for an artefact.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from specrun.spec.diagnostics import RunError

MANIFEST = "manifest.json"
STALE_SECONDS = 24 * 3600


def cache_root() -> Path:
    """``SPECRUN_CACHE``, or ``~/.cache/specrun``."""
    given = os.environ.get("SPECRUN_CACHE")
    return Path(given).absolute() if given else Path.home() / ".cache" / "specrun"


def key_of(*parts: object) -> str:
    """A key from JSON values: the hex SHA-256 of their canonical text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """``sha256:…`` of a file's bytes."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def find(kind: str, key: str) -> Path | None:
    """The artefact's folder when it is there and every file has its digest; a damaged one is removed."""
    folder = cache_root() / kind / key
    if not folder.is_dir():
        return None
    if _verified(folder):
        return folder
    _remove(folder)
    return None


def obtain(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The artefact's folder, made by ``make(folder)`` when it is not there or is damaged.

    Safe with several processes: whoever finishes first wins, the others take the winner's. RunError when the disk
    is full or the cache cannot be written; nothing half made is left.
    """
    return find(kind, key) or publish(kind, lambda folder: (make(folder), key)[1])


def publish(kind: str, make: Callable[[Path], str]) -> Path:
    """Make an artefact whose key is known only when it is made: ``make(folder)`` returns the key."""
    parent = cache_root() / kind
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        work = Path(tempfile.mkdtemp(prefix=".making-", dir=parent))
    except OSError as error:
        raise _unwritable(parent, error) from error
    try:
        key = make(work)
        _seal(work)
        return _move(work, parent / key)
    except OSError as error:
        raise _unwritable(parent, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def content_key(folder: Path) -> str:
    """Hex SHA-256 over names and digests of the files in a folder."""
    return key_of(sorted((p.name, file_digest(p)) for p in folder.iterdir() if p.name != MANIFEST))


def _seal(folder: Path) -> None:
    digests = {p.name: file_digest(p) for p in sorted(folder.iterdir())}
    for path in folder.iterdir():
        _sync(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(digests, sort_keys=True))
    _sync(manifest)


def _move(work: Path, target: Path) -> Path:
    try:
        os.rename(work, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        if not _verified(target):
            _remove(target)
            os.rename(work, target)
    _sync(target.parent)
    return target


def _verified(folder: Path) -> bool:
    try:
        digests = json.loads((folder / MANIFEST).read_text())
        names = {p.name for p in folder.iterdir()} - {MANIFEST}
        return names == set(digests) and all(file_digest(folder / n) == d for n, d in digests.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _remove(folder: Path) -> None:
    """Out of sight first, so that nobody opens a folder that is being emptied."""
    aside = folder.with_name(f".damaged-{os.getpid()}-{folder.name}")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(folder, error) from error
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what killed writers left behind a day ago or longer."""
    for path in parent.glob(".*-*"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:
            continue


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write the cache at {path}: {error.strerror}; "
        "free space there, or set SPECRUN_CACHE to another folder. Nothing half written was kept"
    )
