"""The benchmarks run on tiny networks, so that they do not rot; no time is judged."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import specrun
from specrun.runtime.cache import cache_root
from tests.benchmarks import bench_gradient_cache, bench_input, bench_masked, bench_steps
from tests.benchmarks.networks import FULL, TINY, tables, thin
from tests.benchmarks.sides import Side, Taken, in_turn, paired
from tests.runtime.plans import make_config

QUICK = ["--tiny", "--repeats", "1", "--peak", "2e12"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks name a cache of their own; it does not outlive the test."""
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_step_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench_steps, "find_spec", lambda name: None)  # ours alone
    bench_steps.main([*QUICK, "--models", "clip", "--precision", "float32"])
    [found] = lines(capsys)
    ours = found["ours"]
    assert 0.5 * math.log(4) < ours["loss"] < 2 * math.log(4)  # chance among four rows
    assert ours["flop_per_s"] == pytest.approx(ours["flop"] / ours["seconds"], rel=0.05)
    assert ours["mfu"] == pytest.approx(ours["flop_per_s"] / 2e12, abs=1e-4)
    assert "torch" in found["torch_side"]


@pytest.mark.parity
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("name", ["clip", "bert"])
def test_both_sides_begin_with_one_loss(name: str, capsys: pytest.CaptureFixture[str]):
    bench_steps.main([*QUICK, "--models", name])
    for found in lines(capsys):
        assert abs(found["ours"]["loss"] - found["torch"]["loss"]) < 1e-3
        assert (
            found["torch"]["ratio_low"] <= found["torch"]["ratio"] <= found["torch"]["ratio_high"]
        )


def test_a_masked_step_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bench_masked, "find_spec", lambda name: None)  # ours alone
    bench_masked.main([*QUICK, "--precision", "float32"])
    [found] = lines(capsys)
    ours = found["ours"]
    assert ours["loss"] == pytest.approx(math.log(200), rel=0.02)  # nothing is learned yet
    assert ours["tokens_per_s"] == pytest.approx(4 * 16 / ours["seconds"], rel=0.05)
    assert ours["mfu"] == pytest.approx(ours["flop_per_s"] / 2e12, abs=1e-4)
    assert "torch" in found["torch_side"]


@pytest.mark.parity
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_both_masked_sides_begin_with_one_loss(capsys: pytest.CaptureFixture[str]):
    bench_masked.main(QUICK)
    single, half = lines(capsys)
    assert single["torch"]["loss"] == pytest.approx(single["ours"]["loss"], rel=1e-5)
    assert half["torch"]["loss"] == pytest.approx(half["ours"]["loss"], rel=1e-3)
    assert single["torch"]["tokens_per_s"] > 0


@pytest.mark.parametrize(("name", "count"), [("tiny", 33_440), ("tiny_125m", 123_353_856)])
def test_the_masked_shapes_are_those_of_the_guide(name: str, count: int, tmp_path: Path):
    options = bench_masked._options(["--rows", "1", "--tokens", "8"])
    plan = specrun.compile(bench_masked.spec(tmp_path, name, "float32", options))
    assert sum(p.size for p in plan.model.parameters) == count


@pytest.mark.parity
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_cached_losses_are_compared(tmp_path: Path):
    found = bench_gradient_cache.timed(tmp_path, 32, 1)
    assert [line["side"] for line in found] == ["at once", "chunked", "sentence-transformers"]
    once, chunked, theirs = (line["loss"] for line in found)
    assert chunked == pytest.approx(once, rel=2e-3)
    assert 0.5 * once < theirs < 2 * once  # torch draws its dropout otherwise


def test_sides_of_different_losses_are_not_compared():
    sides: Any = {
        name: SimpleNamespace(ask=lambda _, loss=loss: loss)
        for name, loss in (("ours", 2.0), ("torch", 2.1))
    }
    with pytest.raises(SystemExit, match=r"losses differ: 2\.0 and 2\.1 \(torch\)"):
        bench_steps.first_losses(sides, "float32")


def test_the_table_of_peaks_is_read_by_name():
    assert bench_steps.peak_of("NVIDIA H200") == 989e12
    assert bench_steps.peak_of("NVIDIA H100 PCIe") == 756e12
    assert bench_steps.peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert bench_steps.peak_of("NVIDIA L40S") == 362e12
    assert bench_steps.peak_of("NVIDIA L4") == 121e12
    assert bench_steps.peak_of("NVIDIA A100-SXM4-80GB") == 312e12
    assert bench_steps.peak_of("cpu") is None
    told = bench_steps.rate(10**12, 0.5, Namespace(platform="cpu", peak=None))
    assert told["flop_per_s"] == 2e12
    assert "mfu" not in told


def test_sides_take_turns_and_the_first_round_does_not_count():
    asked: list[str] = []

    def side(name: str, seconds: float) -> Any:
        return SimpleNamespace(time=lambda _: asked.append(name) or Taken(seconds, 2 * seconds))

    taken = in_turn({"a": side("a", 1.0), "b": side("b", 4.0)}, "train", 2)
    assert asked == ["a", "b", "b", "a", "a", "b"]
    assert [len(x) for x in taken.values()] == [2, 2]
    assert paired(taken["a"], taken["b"]) == {
        "ratio": 0.25,
        "ratio_low": 0.25,
        "ratio_high": 0.25,
        "processor_ratio": 0.25,
    }


def test_a_side_that_fails_ends_the_benchmark(capfd: pytest.CaptureFixture[str]):
    side = Side(divmod, 1, 0)
    with pytest.raises(SystemExit, match="ended before it answered `train`"):
        side.time("train")
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["clip", "bert"])
def test_the_input_pipeline_is_measured(name: str, tmp_path: Path):
    plan = bench_input.plan_of(tmp_path, thin(TINY[name]), 12, 4)
    assert bench_input.batch_seconds(plan, 1) > 0
    if name == "bert":
        assert bench_input.texts(plan, 1)["tokenised_texts_per_s"] > 0
        return
    found = bench_input.images(plan, 1)
    assert found["pictures_per_s_1"] > 0
    assert found["two_threads_speed_up"]["ratio"] > 0
    assert any((cache_root() / "images").iterdir())


@pytest.mark.parametrize(("name", "count"), [("clip", 151_277_312), ("bert", 108_891_648)])
def test_the_shapes_are_those_of_the_models(name: str, count: int):
    parts = [table for _, table in tables(FULL[name])]
    assert sum(math.prod(row.shape) for table in parts for row in table) == count


def test_memory_of_chunks_is_measured():
    found = bench_gradient_cache.compiled(32, 8, make_config(max_position_embeddings=64))
    assert found["peak_mib"] > found["arguments_mib"] > 0
    assert found["temporary_mib"] > 0
