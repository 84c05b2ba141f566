"""Settings of all tests: compiled functions are kept between tests and processes, and no test touches the user's cache."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

_COMPILED = Path(tempfile.gettempdir()) / f"specrun-tests-compiled-{os.getuid()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Artefacts of tests lie in a folder of this session."""
    os.environ.setdefault("SPECRUN_CACHE", str(tmp_path_factory.getbasetemp() / "specrun-cache"))
