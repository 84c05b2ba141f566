"""A small encoder under MiniLM on the standard library: better than without a teacher, and the same in chunks."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

import specrun
from tests.minilm import minilm

pytestmark = pytest.mark.slow


def test_a_teacher_helps_and_chunks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = files("specrun.configs").joinpath("examples", "distill-minilm.yaml")
    (tmp_path / "spec.yaml").write_text(example.read_text(encoding="utf-8"))
    (tmp_path / "specrun.local.yaml").write_text(f"all-MiniLM-L6-v2: {json.dumps(str(minilm()))}\n")
    runs = {
        "taught": (),
        "cached": ("train.gradient_cache={chunk_size: 32}",),
        "alone": ("losses=[{kind: infonce, temperature: 0.05}]",),
    }
    found = {}
    for name, overrides in runs.items():
        plan = specrun.compile("spec.yaml", overrides=(f"name={name}", *overrides), environ={})
        result = specrun.run(plan, quiet=True)
        found[name] = result.best["value"] if result.best else 0.0
        print(f"{name}: best MRR@10 {found[name]:.4f}, {result.times['total']:.0f} s")
    assert found["taught"] > found["alone"] + 0.02
    assert found["cached"] == pytest.approx(found["taught"], abs=0.02)
