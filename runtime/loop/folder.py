"""The folder of a run: its names, its lock, and files that appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from specrun.runtime.disk import sync
from specrun.spec.diagnostics import InputError, RunError


class RunFolder:
    """Paths of a run's files."""

    def __init__(self, root: Path):
        self.root = root
        self.plan = root / "plan.json"
        self.tokenizer = root / "tokenizer.json"
        self.metrics = root / "metrics.jsonl"
        self.events = root / "events.jsonl"
        self.times = root / "times.jsonl"
        self.negatives = root / "negatives"
        self.pseudo = root / "pseudo"
        self.checkpoints = root / "checkpoints"
        self.best = root / "best"
        self.best_versions = root / ".best"
        self.final = root / "final"
        self.result = root / "result.json"
        self.report = root / "report.html"
        self.lock = root / ".lock"

    def holds_a_run(self) -> bool:
        """Whether any file of a run is there, the plan apart."""
        saved = self.checkpoints.is_dir() and any(self.checkpoints.iterdir())
        return saved or any(p.exists() for p in (self.metrics, self.result, self.final))


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold the folder for this process alone. InputError when another process has it.

    The system gives the lock back when the process ends, however it ends.
    """
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        file = folder.lock.open("ab")
    except OSError as error:
        raise InputError(
            f"cannot write to the output folder {folder.root}: {error.strerror}",
            code="unwritable",
            hint="set output_dir to a folder that can be written",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is running in {folder.root}",
                code="locked",
                hint="wait for it, stop it, or give this run another output_dir",
            ) from None
        yield


@contextmanager
def writing(what: str, saved: Callable[[], str] | None = None) -> Iterator[None]:
    """Turn a failed write into a RunError that says what it means and what to do.

    ``saved()`` is a clause about what there is already.
    """
    try:
        yield
    except OSError as error:
        raise write_failed(what, error, saved() if saved else "") from error


def write_failed(what: str, error: BaseException, saved: str = "") -> RunError:
    """The RunError for a write that failed; ``saved`` is a clause about what there is already."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    full = full or "no space left" in str(error).lower() or "file too large" in str(error).lower()
    reason = "the disk is full" if full else str(error).splitlines()[0][:300]
    mend = "make room" if full else "mend that"
    kept = f"; {saved}" if saved else ""
    return RunError(
        f"cannot write {what}: {reason}. What was saved before is kept{kept}; {mend} and run again"
    )


def write_atomic(path: Path, content: bytes) -> None:
    """Replace ``path`` in one move: a reader sees the old content or the new, a crash leaves one of them."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write readable JSON in one move."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomic(path, (text + "\n").encode())


def replace_folder(new: Path, path: Path) -> None:
    """Put the complete folder ``new`` in the place of ``path``, which a reader never finds missing.

    Where the system cannot exchange two folders there is a moment without either.
    """
    if not path.exists():
        os.rename(new, path)
    elif _exchange(new, path):
        shutil.rmtree(new)
    else:
        old = new.with_name(f"{new.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(path, old)
        os.rename(new, path)
        shutil.rmtree(old)
    sync(path.parent)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _exchange(left: Path, right: Path) -> bool:
    """Exchange two paths in one move (Linux, most file systems); False where that cannot be done."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    done = rename(_AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _RENAME_EXCHANGE)
    return done == 0
