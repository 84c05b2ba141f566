"""Every test of the data layer has a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, which does not exist yet."""
    folder = tmp_path / "the-cache"
    monkeypatch.setenv("SPECRUN_CACHE", str(folder))
    return folder
