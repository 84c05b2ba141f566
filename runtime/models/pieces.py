"""The JSON files of a model directory: read once, faults gathered, digested together. Imports no jax."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.data import Input

MAX_BYTES = 16_000_000
"""Configuration files are small; a larger one is not read."""


class Folder:
    """A directory being inspected. Faults of it and of all folders below it are gathered in one list."""

    def __init__(self, path: Path, root: Folder | None = None):
        self.path = path.absolute()
        self._root = root or self
        if root is None:
            self._faults: list[Diagnostic] = []
            self._read: dict[Path, bytes] = {}

    def below(self, relative: str) -> Folder:
        """The folder ``relative``; "" is this one. A path that leads out of the directory is a fault."""
        path = self.path / relative
        if not relative:
            return self
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            self.fault(
                "modules.json", f"a module's path must lie inside, found {relative!r}", _WRITE
            )
            return self
        return Folder(path, self._root)

    @property
    def faults_found(self) -> int:
        return len(self._root._faults)

    def fault(self, name: str, message: str, hint: str) -> None:
        """Note what is wrong in the file ``name``."""
        diagnostic = Diagnostic(
            code="pretrained", message=message, file=str(self.path / name), hint=hint
        )
        self._root._faults.append(diagnostic)

    def require_directory(self) -> None:
        """Raises InputError unless the directory exists."""
        if not self.path.is_dir():
            what = "a file" if self.path.exists() else "nothing there"
            self.fault("", f"a model directory is needed, found {what}", "check the path")
            self.finish()

    def require(self, name: str, what: str, hint: str) -> dict[str, Any] | None:
        """The object in ``name``; a fault that ``what`` is needed when the file is absent."""
        if not (self.path / name).is_file():
            self.fault(name, f"{what} is needed, found none", hint)
            return None
        return self.json(name)

    def json(self, name: str) -> dict[str, Any] | None:
        """The object in ``name``; None when the file is absent or faulty (then a fault is noted)."""
        value = self.any_json(name)
        if value is None or isinstance(value, dict):
            return value
        self.fault(name, f"a JSON object is needed, found {type(value).__name__}", _WRITE)
        return None

    def any_json(self, name: str) -> Any:
        """The JSON value in ``name``; None when the file is absent or faulty."""
        path = self.path / name
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_BYTES:
            self.fault(name, f"a configuration above {MAX_BYTES} bytes is not read", _WRITE)
            return None
        try:
            content = self._root._read[path] = path.read_bytes()
        except OSError as error:
            self.fault(name, f"the file cannot be read: {error.strerror or error}", _OPEN)
            return None
        try:
            value = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            self.fault(name, f"the file is not JSON: {error}", _WRITE)
            return None
        if value is None:
            self.fault(name, "the file holds nothing but null", _WRITE)
        return value

    def finish(self) -> None:
        """Raises one InputError with every fault noted so far."""
        if self._root._faults:
            raise InputError(self._root._faults)

    def digest(self, role: str) -> Input:
        """All files read, as one input: SHA-256 over relative names, sizes and contents."""
        total = hashlib.sha256()
        read = {str(path.relative_to(self.path)): data for path, data in self._root._read.items()}
        for name, data in sorted(read.items()):
            total.update(f"{name}\0{len(data)}\0".encode())
            total.update(data)
        size = sum(map(len, read.values()))
        return Input(
            role=role, path=str(self.path), digest=total.hexdigest(), bytes=size, files=len(read)
        )


_OPEN = "check its permissions"
_WRITE = "fetch the file again, or save the model again"
