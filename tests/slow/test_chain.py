"""The two-spec chain on the standard library: a baseline, then hard negatives from its parameters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.bench_chain import chain, paired, told

pytestmark = pytest.mark.slow


def metrics_of(folder: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["mrr@10"] for row in rows if "mrr@10" in row}


def test_the_chain_of_two_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins where the first was best. The gain is printed with its interval, whatever it is."""
    monkeypatch.chdir(tmp_path)
    found = chain()
    print("\n" + told(found))
    first, hard = (
        tmp_path / "runs" / f"code-search-{name}" for name in ("baseline", "hard-negatives")
    )
    best = json.loads((first / "result.json").read_text())["best"]
    start = metrics_of(hard)[0]
    assert start == pytest.approx(best["value"], abs=1e-6)
    assert start == pytest.approx(found.baseline.mean(), abs=1e-3)
    result = json.loads((hard / "result.json").read_text())
    assert metrics_of(hard)[result["steps"]] == pytest.approx(found.hard.mean(), abs=1e-3)
    assert result["traces"]["counted"] == result["traces"]["promised"]
    mined = [json.loads(x) for x in (hard / "events.jsonl").read_text().splitlines()]
    plan = json.loads((hard / "plan.json").read_text())["plan"]
    assert [e["after"] for e in mined] == plan["data"]["mining"]["after"]
    assert all(e["negatives"] > e["rows_without"] for e in mined)
    gain = paired(found.baseline, found.hard)
    assert gain.low < gain.mean < gain.high
    assert gain.mean > -0.03, "mined negatives cost more than the noise of this split"


def test_the_interval_is_that_of_the_mean() -> None:
    """Against the normal approximation, which is good for so many queries."""
    draw = np.random.default_rng(3)
    before = draw.random(2000)
    after = before + draw.normal(0.02, 0.3, 2000)
    mean, low, high = paired(before, after)
    spread = (after - before).std() / np.sqrt(2000)
    assert mean == pytest.approx((after - before).mean())
    assert (low, high) == pytest.approx((mean - 1.96 * spread, mean + 1.96 * spread), abs=1e-3)
