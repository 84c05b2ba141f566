"""The example of masked diffusion, whole: what its first lines claim."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

import specrun
from specrun.runtime.loop.ngrams import score_plan

pytestmark = pytest.mark.slow


def test_the_loss_falls_through_all_stages_and_beats_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = files("specrun.configs").joinpath("examples", "diffusion-stdlib.yaml").read_text()
    (tmp_path / "spec.yaml").write_text(text)
    plan = specrun.compile("spec.yaml", environ={})
    result = specrun.run(plan)
    counted = score_plan(plan)
    folder = Path(plan.output_dir)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    held = {line["step"]: line["loss"] for line in lines if line["kind"] == "evaluation"}
    ends = [held[segment.stop_step] for segment in plan.segments]
    print(ends, result.metrics, counted)
    assert ends[0] > ends[1] > ends[2]
    for name in ("unigram", "seen bigram"):
        assert {m: result.metrics[m] < value for m, value in counted[name].items()} == dict.fromkeys(counted[name], True)  # fmt: skip
    assert result.metrics["perplexity@0.15"] < 0.75 * counted["bigram"]["perplexity@0.15"]
