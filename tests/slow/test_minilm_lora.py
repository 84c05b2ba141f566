"""The real MiniLM under LoRA on the standard library: better than itself without training, on the same held-out rows."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

import specrun
from tests.minilm import minilm

pytestmark = pytest.mark.slow


def test_lora_beats_zero_shot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = files("specrun.configs").joinpath("examples", "minilm-lora.yaml")
    (tmp_path / "spec.yaml").write_text(example.read_text(encoding="utf-8"))
    (tmp_path / "specrun.local.yaml").write_text(f"all-MiniLM-L6-v2: {json.dumps(str(minilm()))}\n")
    result = specrun.run(specrun.compile("spec.yaml", environ={}))
    rows = [
        json.loads(line)
        for line in (tmp_path / "runs/minilm-lora/metrics.jsonl").read_text().splitlines()
    ]
    measured = {row["step"]: row["mrr@10"] for row in rows if "mrr@10" in row}
    print(
        f"MRR@10 zero-shot {measured[0]:.4f}, after {result.steps} steps of LoRA {measured[result.steps]:.4f}"
    )
    assert measured[0] == pytest.approx(0.689, abs=0.02)
    assert measured[result.steps] > measured[0] + 0.02
