"""Names to places: what a spec calls ``stdlib``, ``train.jsonl`` or ``all-MiniLM-L6-v2`` on this machine."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Mapping
from pathlib import Path


def locate(name: str, folder: Path, local: Mapping[str, Path]) -> Path:
    """The absolute path of ``name``: the local file's mapping first, then a path relative to the spec's folder."""
    if name in local:
        return local[name].absolute()
    return (folder / Path(name).expanduser()).absolute()


def locate_root(name: str, folder: Path, local: Mapping[str, Path]) -> Path:
    """A root of Python source; ``stdlib`` is the running interpreter's library."""
    if is_library(name, local):
        return Path(sysconfig.get_path("stdlib"))
    return locate(name, folder, local)


def is_library(name: str, local: Mapping[str, Path]) -> bool:
    """Whether a name is that of the running interpreter's library, and not of the user's own folder."""
    return name == "stdlib" and name not in local


def locate_model(name: str, folder: Path, local: Mapping[str, Path]) -> Path | None:
    """A model's directory: the local mapping, a path, or a snapshot in the Hugging Face cache; None when in none."""
    path = locate(name, folder, local)
    if path.is_dir():
        return path
    return _cached_snapshot(name)


def _cached_snapshot(name: str) -> Path | None:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        return None
    repository = _hub_cache() / ("models--" + name.replace("/", "--"))
    try:
        revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = repository / "snapshots" / revision
    return snapshot if re.fullmatch(r"[0-9a-f]{7,64}", revision) and snapshot.is_dir() else None


def _hub_cache() -> Path:
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"
