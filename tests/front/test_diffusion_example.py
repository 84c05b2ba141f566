"""The example of masked diffusion in seconds: the same words and joints, a smaller network, one package of the library."""

from __future__ import annotations

import json
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from specrun.cli import main
from specrun.spec.plan.file import read_plan
from specrun.spec.plan.plan import Plan

EXAMPLE = "diffusion-stdlib.yaml"
SMALLER = (
    "seed=0",
    "output_dir=run",
    "model.hidden_size=32",
    "model.num_attention_heads=2",
    "model.intermediate_size=48",
    "model.num_hidden_layers=1",
    "tokenizer.vocab_size=300",
    "data.pattern=email/**",
    "data.max_length=32",
    "train.batch_size=32",
    "optimizer.learning_rate=1e-2",
    "generation.steps=4",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("example")
    text = files("specrun.configs").joinpath("examples", EXAMPLE).read_text(encoding="utf-8")
    (found / EXAMPLE).write_text(text)
    return found


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SPECRUN_CACHE", str(folder / "cache"))


@pytest.fixture(scope="module")
def plan(folder: Path) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(folder / "cache"))
        short = [f"curriculum.stages[{i}].epochs=1" for i in range(3)]
        spec = folder / EXAMPLE
        arguments = [x for word in (*SMALLER, *short) for x in ("--set", word)]
        target = str(folder / "plan.json")
        assert main(["compile", str(spec), "-o", target, "--quiet", *arguments]) == 0
    return read_plan(target)


def test_three_stages_of_falling_rates_over_three_formats(plan: Plan) -> None:
    spans = [s.masking for s in plan.segments]
    assert all(a.minimum > b.maximum for a, b in pairwise(spans) if a and b)
    assert [s.selection.format for s in plan.segments if s.selection] == ["sentences", "pairs", "paragraphs"]  # fmt: skip
    assert {f.format for f in plan.data.scan.formats} == {"sentences", "pairs", "paragraphs"}
    assert all(f.training_rows > 0 and f.validation_rows > 0 for f in plan.data.scan.formats)
    assert plan.evaluation is not None
    assert plan.generation is not None


def test_it_learns_is_compared_and_writes(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", "plan.json"]) == 0
    before = capsys.readouterr().out
    assert "unigram" in before
    assert " run" not in before
    assert main(["run", "plan.json", "--quiet"]) == 0
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    held = {line["step"]: line["loss"] for line in lines if line["kind"] == "evaluation"}
    ends = [held[segment.stop_step] for segment in plan.segments]
    assert np.log(plan.tokenizer.vocab_size) > ends[0] > ends[-1]
    capsys.readouterr()
    assert main(["baseline", "plan.json"]) == 0
    title, *table = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert title == ["unigram", "bigram", "seen", "bigram", "run"]
    scores = {row[0]: [float(x) for x in row[1:]] for row in table}
    result = json.loads(Path("run/result.json").read_text())["metrics"]
    assert scores["loss"][3] == pytest.approx(result["loss"], abs=1e-4)
    assert plan.evaluation is not None
    assert set(scores) == {f"{m}{at}" for m in ("loss", "perplexity") for at in ("", *(f"@{r:g}" for r in plan.evaluation.masking_rates))}  # fmt: skip
    assert (
        scores["perplexity"][1]
        < scores["perplexity"][2]
        < scores["perplexity"][0]
        < plan.tokenizer.vocab_size
    )
    assert main(["generate", "run", "Return the [MASK] of"]) == 0
    assert capsys.readouterr().out.strip()
