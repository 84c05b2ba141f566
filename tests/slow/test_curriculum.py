"""The example of a curriculum by difficulty: what its first lines claim, which is that it gains nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.bench_chain import paired
from tests.benchmarks.bench_curriculum import told, variants

pytestmark = pytest.mark.slow


def test_the_stages_are_compared_with_as_many_steps_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = variants("seed=0")
    print(told(found))
    assert {ranks.mean() > 0.70 for ranks in found.values()} == {True}
    for name in ("easy first", "hard first"):
        assert abs(paired(found["no curriculum"], found[name]).mean) < 0.04
