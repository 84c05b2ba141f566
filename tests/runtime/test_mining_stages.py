"""Mining that begins with a later stage: before it, a step is what it is without any mining."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from specrun.api import compile
from specrun.runtime.aot import abstract_batch
from specrun.runtime.loop.run import run
from specrun.spec.plan.plan import Plan
from tests.faults.bench import SPEC, tiny_rows

BASE = (
    "evaluation=null",
    "data.validation=null",
    "curriculum.stages[0].epochs=1",
    "curriculum.stages[1].epochs=1",
    "curriculum.stages[1].reset_optimizer=false",
    "train.log_every_steps=1",
)
MINED = (
    "data.negatives={kind: mined, refresh_every_steps: 6, top_k: 20, num_negatives: 2}",
    "curriculum.stages[0].mining=false",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rows.jsonl").write_text(tiny_rows(), encoding="utf-8")
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(plan: Plan) -> list[dict[str, Any]]:
    run(plan, quiet=True)
    return [
        json.loads(line)
        for line in (Path(plan.output_dir) / "metrics.jsonl").open(encoding="utf-8")
    ]


@pytest.mark.parametrize("loss", ["infonce", "triplet", "siglip"])
def test_negatives_come_with_the_stage_that_mines(folder: Path, loss: str) -> None:
    """The first stage's losses equal those of a plan without mining, bit for bit; the second's do not."""
    spec = SPEC.format(rows=folder / "rows.jsonl")
    losses = f"losses=[{{kind: {loss}, name: contrast}}]"
    mining = compile(spec, overrides=(*BASE, losses, *MINED, "output_dir=mining"))
    plain = compile(spec, overrides=(*BASE, losses, "output_dir=plain"))
    begin, end = mining.segments[1].first_step, mining.train.total_steps
    assert mining.data.mining is not None
    assert mining.data.mining.after == tuple(range(begin, end, 6))
    assert len(mining.traces) == len(plain.traces) + 1
    shapes = [abstract_batch(mining, trace).negative_weight for trace in mining.traces]
    assert [None if x is None else x.shape for x in shapes] == [None, (1, 16, 2)]
    left, right = told(mining), told(plain)
    assert [x["loss"] for x in left[:begin]] == [x["loss"] for x in right[:begin]]
    assert all(x["loss"] != y["loss"] for x, y in zip(left[begin:], right[begin:], strict=True))
    result = json.loads((folder / "mining/result.json").read_text())
    assert result["traces"]["counted"] == result["traces"]["promised"] == len(mining.traces)
    events = (folder / "mining/events.jsonl").read_text().splitlines()
    assert [json.loads(e)["after"] for e in events] == list(mining.data.mining.after)
