"""Artefacts that cost time to make, kept in folders that are complete or absent, and verified when read.

A writer fills a folder of its own and moves it into place in one step, so a killed writer leaves
nothing that could be taken for an artefact, and several processes may make the same one at once.
``manifest.json`` holds the SHA-256 of every file, and the folder's name is the digest of the manifest
or stands in it; a folder where any of that does not hold is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from specrun.runtime.disk import sync
from specrun.spec.diagnostics import RunError

MANIFEST = "manifest.json"

_WRITING = ".writing-"
_LEFT_BEHIND_SECONDS = 24 * 3600.0
_BLOCK = 1 << 20

Write = Callable[[Path], None]
"""Fills an empty folder with the artefact's files."""


def cache_root() -> Path:
    """The cache's folder: ``$SPECRUN_CACHE``, else ``$XDG_CACHE_HOME/specrun``, else ``~/.cache/specrun``."""
    try:
        if own := os.environ.get("SPECRUN_CACHE"):
            return Path(own).expanduser().absolute()
        if shared := os.environ.get("XDG_CACHE_HOME"):
            return Path(shared).expanduser().absolute() / "specrun"
        return Path.home() / ".cache" / "specrun"
    except RuntimeError as error:
        raise RunError(
            f"there is no place for the cache: {error}; name a folder by the variable SPECRUN_CACHE"
        ) from error


def find(kind: str, key: str) -> Path | None:
    """The folder of an artefact, its files verified; None when it is absent or damaged.

    A damaged one is removed, so that it is made again. ``key`` may carry the prefix ``sha256:``.
    RunError when the cache cannot be read.
    """
    folder = _place(kind, key)
    try:
        if not folder.is_dir():
            return None
    except OSError as error:
        raise _failed("read", folder.parent, error) from error
    if _intact(folder):
        return folder
    _remove(folder)
    return None


def make(kind: str, key: str, write: Write) -> Path:
    """The folder of an artefact, written by ``write`` unless it is there. Raises RunError when it cannot be."""
    bare = key.removeprefix("sha256:")
    return find(kind, key) or _publish(kind, write, {"key": bare})[1]


def add(kind: str, write: Write) -> tuple[str, Path]:
    """Store an artefact under the digest of its content: ``("sha256:...", folder)``. Raises RunError."""
    return _publish(kind, write, {})


def digest_of(value: Any) -> str:
    """SHA-256 of a plain value's canonical JSON: the key of what is made from that value alone."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _publish(kind: str, write: Write, head: dict[str, str]) -> tuple[str, Path]:
    """Write an artefact and move it into place, under the key in the manifest's head or else its digest."""
    parent = cache_root() / kind
    folder: Path | None = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _clean(parent)
        folder = Path(tempfile.mkdtemp(prefix=_WRITING, dir=parent))
        write(folder)
        text = _seal(folder, head)
        key = head.get("key") or _digest_of_text(text)
        return "sha256:" + key, _move(folder, _place(kind, key))
    except OSError as error:
        raise _failed("write", parent, error) from error
    finally:
        if folder is not None:
            _remove(folder)


def _failed(what: str, folder: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot {what} the cache below {folder}: {error.strerror or error}; "
        "free some space there and allow writing, or name another folder by the variable SPECRUN_CACHE"
    )


def _seal(folder: Path, head: dict[str, str]) -> str:
    """Write the manifest and bring everything to the disk. Returns the manifest's text."""
    files = {p.name: [file_digest(p), p.stat().st_size] for p in sorted(folder.iterdir())}
    text = json.dumps({"files": files, **head}, sort_keys=True, separators=(",", ":"))
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        sync(path)
    return text


def _move(folder: Path, place: Path) -> Path:
    """Put a finished folder in its place. An intact one that came first stays; a damaged one goes."""
    if place.exists() and not _intact(place):
        _remove(place)
    try:
        os.rename(folder, place)
    except OSError:
        if not _intact(place):
            raise
    sync(place.parent)
    return place


def _intact(folder: Path) -> bool:
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        return folder.name == (manifest.get("key") or _digest_of_text(text)) and all(
            (folder / name).stat().st_size == size and file_digest(folder / name) == digest
            for name, (digest, size) in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _place(kind: str, key: str) -> Path:
    return cache_root() / kind / key.removeprefix("sha256:")


def _remove(folder: Path) -> None:
    """Delete a folder, or a file in its place; it loses its name first, so that nobody finds it half deleted."""
    away = folder.with_name(f"{_WRITING}gone-{os.getpid()}-{time.monotonic_ns()}")
    with contextlib.suppress(OSError):
        os.rename(folder, away)
        _delete(away)


def _clean(parent: Path) -> None:
    """Remove what killed writers left more than a day ago."""
    for path in parent.glob(f"{_WRITING}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _LEFT_BEHIND_SECONDS:
                _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
