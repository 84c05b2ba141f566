"""Whole runs of a tiny plan in this process: results, going on, refusals."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from specrun.api import compile
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.interrupt import Interrupted
from specrun.runtime.loop.loop import Loop
from specrun.runtime.loop.parameters import read_manifest
from specrun.runtime.loop.result import RunResult
from specrun.runtime.loop.run import main, run
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.file import plan_digest, plan_text, read_plan, write_plan
from specrun.spec.plan.plan import Plan
from tests.faults.bench import SPEC, tiny_rows
from tests.runtime.runs import keeping_compiled, stop_after


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the rows, an own cache, and compiled functions that are kept between runs."""
    root = tmp_path_factory.mktemp("run")
    (root / "rows.jsonl").write_text(tiny_rows(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, keeping_compiled(root / "compiled"):
        patch.setenv("SPECRUN_CACHE", str(root / "cache"))
        yield root


@pytest.fixture(autouse=True)
def here(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECRUN_CACHE", str(work / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(work: Path, *overrides: str) -> Plan:
    return compile(SPEC.format(rows=work / "rows.jsonl"), overrides=overrides)


@pytest.fixture(scope="module")
def whole(work: Path) -> RunResult:
    """An undisturbed run, its folder kept in ``work``."""
    (work / "whole").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work / "whole")
        found = run(made(work), quiet=True)
    return dataclasses.replace(found, folder=work / "whole/run")


def copied(whole: RunResult) -> None:
    shutil.copytree(whole.folder, "run")


def interrupted(plan: Plan, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until a SIGTERM after ``step``."""
    with monkeypatch.context() as patch:
        stop_after(step, patch)
        with pytest.raises(Interrupted):
            run(plan, quiet=True)


def test_a_run_leaves_what_scripts_rely_on(work: Path, whole: RunResult):
    plan = made(work)
    written = json.loads((whole.folder / "result.json").read_text())
    assert written["plan_digest"] == plan_digest(plan)
    assert written["steps"] == plan.train.total_steps
    assert written["traces"]["counted"] == written["traces"]["promised"] == len(plan.traces)
    assert set(written["traces"]["by_name"]) == {t.name for t in plan.traces}
    assert written["best"]["metric"] == "mrr@10"
    assert written["best"]["value"] >= written["metrics"]["mrr@10"]
    assert written["stopped_early"] is False
    assert written["device"]["platform"] == "cpu"
    speed, foretold = written["speed"], written["foretold"]
    assert speed["memory"] == "process"
    assert speed["peak_bytes"] > foretold["estimate_bytes"] == plan.cost.peak_bytes > 0
    assert speed["rows_per_second"] > speed["steps_per_second"] > 0
    assert written["times"]["total"] > 0
    manifest = read_manifest(whole.folder / "final")
    assert manifest
    assert manifest["parameters_sha256"] == written["parameters_sha256"]
    assert manifest["leaves"].keys() == {p.path for p in plan.model.parameters}
    assert read_plan(whole.folder / "plan.json") == plan


def test_a_run_leaves_a_report_cards_and_its_worst_queries(work: Path, whole: RunResult):
    report = (whole.folder / "report.html").read_text()
    best = whole.best
    assert best
    assert f"<b>{best['value']:.4f}</b> mrr@10 after step {best['step']}" in report
    assert f"finished: {whole.steps} steps" in report
    worst = json.loads((whole.folder / "best/worst.json").read_text())
    assert worst["step"] == best["step"]
    ranks = [w["rank"] for w in worst["worst"]]
    assert len(ranks) == 10
    assert ranks == sorted(ranks, reverse=True)
    assert max(ranks) <= worst["candidates"]
    for name, step in (("best", best["step"]), ("final", whole.steps)):
        card = (whole.folder / name / "README.md").read_text()
        assert f"These are the {name} parameters, those after step {step} of" in card
        assert plan_digest(made(work)) in card
    assert f"| mrr@10 | {best['value']:.4f} |" in (whole.folder / "best/README.md").read_text()


def test_rates_go_to_times_and_the_result(work: Path, whole: RunResult):
    rows = [json.loads(line) for line in (whole.folder / "times.jsonl").read_text().splitlines()]
    logged = [row["step"] for row in rows]
    trained = (whole.folder / "metrics.jsonl").read_text().splitlines()
    assert logged == [r["step"] for r in map(json.loads, trained) if r["kind"] == "training"]
    assert all(row["steps_per_second"] > 0 and row["bytes"] > 1 << 20 for row in rows)
    assert {row["memory"] for row in rows} == {"process"}
    speed = json.loads((whole.folder / "result.json").read_text())["speed"]
    assert speed["steps_per_second"] > 0
    assert speed["rows_per_second"] <= 16 * speed["steps_per_second"] * 1.001
    assert speed["peak_bytes"] >= max(row["bytes"] for row in rows[:1])


def test_an_interrupted_run_leaves_a_report_too(work: Path, monkeypatch: pytest.MonkeyPatch):
    plan = made(work)
    interrupted(plan, 17, monkeypatch)
    report = Path("run/report.html").read_text()
    assert f"not finished: step 17 of {plan.train.total_steps}" in report
    run(plan)
    assert "finished: " in Path("run/report.html").read_text()


def test_a_report_that_cannot_be_written_loses_no_run(
    work: Path, whole: RunResult, capsys: pytest.CaptureFixture[str]
):
    Path("run/report.html").mkdir(parents=True)
    found = run(made(work), quiet=False)
    assert found.parameters_sha256 == whole.parameters_sha256
    assert "report.html could not be written" in capsys.readouterr().err


def test_metrics_jsonl_has_every_row_in_order_and_no_times(work: Path, whole: RunResult):
    plan = made(work)
    rows = [json.loads(line) for line in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    assert plan.evaluation
    evaluated = [r["step"] for r in rows if r["kind"] == "evaluation"]
    assert evaluated == list(plan.evaluation.after)
    assert [r["step"] for r in rows] == sorted(r["step"] for r in rows)
    trained = [r for r in rows if r["kind"] == "training"]
    assert {"loss", "grad_norm", "learning_rate", "temperature.contrast"} <= trained[0].keys()
    assert not any("time" in key or "second" in key for row in rows for key in row)
    assert rows[-1]["mrr@10"] == whole.metrics["mrr@10"]


def test_a_finished_run_is_returned_as_it_is(work: Path, whole: RunResult):
    copied(whole)
    before = {p: p.stat().st_mtime_ns for p in Path("run").rglob("*") if p.is_file()}
    again = run(made(work), quiet=True)
    assert again == whole
    assert again.was_finished
    assert not whole.was_finished
    assert {p: p.stat().st_mtime_ns for p in Path("run").rglob("*") if p.is_file()} == before


def test_an_interrupted_run_goes_on_under_other_throughput_and_logging(
    work: Path, whole: RunResult, monkeypatch: pytest.MonkeyPatch
):
    interrupted(made(work), 17, monkeypatch)
    other = made(work, "train.log_every_steps=3", "checkpoint.every_steps=7", "name=other")
    found = run(other, quiet=True)
    assert found.parameters_sha256 == whole.parameters_sha256
    assert found.metrics == whole.metrics
    assert read_plan("run/plan.json") == other


RICH = (
    "model.num_hidden_layers=1",
    "model.num_attention_heads=2",
    "model.hidden_dropout_prob=0.2",
    "matryoshka={dims: [16, 8]}",
    "train.accumulation_steps=2",
    "curriculum.stages.0.trainable=[embeddings.*]",
    "curriculum.stages.0.epochs=1",
    "curriculum.stages.1.epochs=1",
    "checkpoint.every_steps=3",
)


@pytest.mark.parametrize("before_boundary", [0, 1])
def test_dropout_layers_and_frozen_parts_go_on_bit_for_bit(
    work: Path, monkeypatch: pytest.MonkeyPatch, before_boundary: int
):
    plan = made(work, *RICH)
    first, second = plan.segments
    assert set(first.trained) < set(second.trained)
    straight = run(plan, quiet=True)
    shutil.move("run", "straight")
    interrupted(plan, first.stop_step - before_boundary, monkeypatch)
    interrupted(plan, second.first_step + 1, monkeypatch)
    found = run(plan, quiet=True)
    assert dataclasses.replace(found, times=straight.times) == straight
    assert Path("run/metrics.jsonl").read_bytes() == Path("straight/metrics.jsonl").read_bytes()
    assert "mrr@10 at 8" in found.metrics


def test_separate_towers_go_on_bit_for_bit(work: Path, monkeypatch: pytest.MonkeyPatch):
    """The first stage trains one tower; the digests, best/ and final/ hold both."""
    plan = made(
        work,
        *RICH,
        "model.towers=separate",
        "curriculum.stages.0.trainable=['query.*']",
        "optimizer.no_decay=['positive.embeddings.*']",
    )
    first, second = plan.segments
    assert {p.partition(".")[0] for p in first.trained} == {"query", "losses"}
    assert {p.partition(".")[0] for p in second.fresh} >= {"positive"}
    straight = run(plan, quiet=True)
    shutil.move("run", "straight")
    interrupted(plan, first.stop_step - 1, monkeypatch)
    interrupted(plan, second.first_step + 1, monkeypatch)
    found = run(plan, quiet=True)
    assert dataclasses.replace(found, times=straight.times) == straight
    for name in ("metrics.jsonl", "final/parameters.safetensors", "best/manifest.json"):
        assert Path("run", name).read_bytes() == Path("straight", name).read_bytes()
    leaves = read_manifest(Path("run/final"))["leaves"]
    assert set(leaves) == {p.path for p in plan.model.parameters}


def test_another_run_is_refused_by_the_names_of_its_fields(work: Path, whole: RunResult):
    copied(whole)
    with pytest.raises(InputError) as error:
        run(made(work, "optimizer.learning_rate=0.5", "seed=4"), quiet=True)
    assert "holds another plan's run, which differs in" in str(error.value)
    assert "optimizer.learning_rate (0.0001 → 0.5)" in str(error.value)
    assert "seed (3 → 4)" in str(error.value)
    assert run(made(work), quiet=True) == whole


def longer(work: Path) -> Plan:
    return made(work, "curriculum.stages.1.epochs=4")


def test_a_longer_horizon_needs_extend(work: Path, whole: RunResult):
    copied(whole)
    plan = longer(work)
    rule = rf"run of {whole.steps} steps, this plan has {plan.train.total_steps}.*--extend"
    with pytest.raises(InputError, match=rule):
        run(plan, quiet=True)
    assert json.loads(Path("run/result.json").read_text())["steps"] == whole.steps


def test_an_extended_run_ends_as_a_long_one(work: Path, whole: RunResult):
    copied(whole)
    found = run(longer(work), extend=True, quiet=True)
    shutil.move("run", "extended")
    straight = run(longer(work), quiet=True)
    assert found.steps == straight.steps > whole.steps
    assert found.parameters_sha256 == straight.parameters_sha256
    assert found.metrics == straight.metrics
    assert found.best == straight.best
    assert found.parameters_sha256 != whole.parameters_sha256


def test_a_shorter_horizon_and_another_past_are_refused(work: Path, whole: RunResult):
    copied(whole)
    with pytest.raises(InputError, match="only a longer horizon can go on"):
        run(made(work, "curriculum.stages.1.epochs=1"), extend=True, quiet=True)
    with pytest.raises(InputError, match="stage 'easy' already ran from step 0 to "):
        run(made(work, "curriculum.stages.0.epochs=4"), extend=True, quiet=True)
    assert run(made(work), quiet=True) == whole


def test_a_run_that_stopped_early_is_not_extended(work: Path):
    stopping = (
        "evaluation.early_stopping={patience: 1, min_delta: 0.9}",
        "evaluation.every_steps=4",
    )
    found = run(made(work, *stopping), quiet=True)
    assert found.stopped_early
    assert found.steps == 8
    assert RunFolder(Path("run")).events.read_text().count("early_stop") == 1
    with pytest.raises(InputError, match="stopped early after step 8"):
        run(made(work, *stopping, "curriculum.stages.1.epochs=9"), extend=True, quiet=True)


def test_a_tampered_plan_is_refused(work: Path, whole: RunResult):
    plan = made(work)
    Path("plan.json").write_text(plan_text(plan).replace('"seed": 3', '"seed": 5'))
    with pytest.raises(InputError, match="changed after it was compiled"):
        main("plan.json", extend=False, quiet=True)
    copied(whole)
    stored = Path("run/plan.json")
    stored.write_text(stored.read_text().replace('"seed": 3', '"seed": 5'))
    with pytest.raises(InputError, match="changed after it was compiled"):
        run(plan, quiet=True)


def test_a_changed_input_is_refused(work: Path, tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(tiny_rows())
    plan = compile(SPEC.format(rows=rows))
    rows.write_text(tiny_rows() + '{"query": "one", "positive": "more"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl: .*the data changed since"):
        run(plan, quiet=True)
    assert not (tmp_path / "run/plan.json").exists()
    rows.unlink()
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        run(plan, quiet=True)


def test_files_of_a_run_without_its_plan_are_refused(work: Path, whole: RunResult):
    copied(whole)
    Path("run/plan.json").unlink()
    with pytest.raises(InputError, match=r"holds files of a run, but no plan\.json"):
        run(made(work), quiet=True)


def test_a_lost_result_is_made_again(work: Path, whole: RunResult):
    copied(whole)
    Path("run/result.json").write_text("{")
    with pytest.raises(RunError, match=r"result\.json is damaged"):
        run(made(work), quiet=True)
    Path("run/result.json").unlink()
    assert dataclasses.replace(run(made(work), quiet=True), times=whole.times) == whole


def test_a_lost_best_is_not_passed_over(work: Path, whole: RunResult):
    copied(whole)
    Path("run/result.json").unlink()
    for path in ("run/best", "run/.best"):
        shutil.rmtree(path)
    with pytest.raises(RunError, match="the best parameters, those of step"):
        run(made(work), quiet=True)


def test_nan_stops_the_run_and_is_never_saved(work: Path):
    """The second stage's rate is beyond float32: its first update ruins the parameters."""
    plan = made(work)
    first, second = plan.segments
    ruinous = dataclasses.replace(second, learning_rate_scale=1e38)
    plan = dataclasses.replace(plan, segments=(first, ruinous))
    with pytest.raises(RunError) as error:
        run(plan, quiet=True)
    said = re.fullmatch(
        r"(loss|grad_norm|temperature\.\w+) became (nan|inf) at step (\d+); the last good checkpoint is that of step 15\..*",
        str(error.value),
    )
    assert said, error.value
    step = int(said[3])
    assert second.first_step + 1 < step < second.first_step + 5
    saved = sorted(int(p.name) for p in Path("run/checkpoints").iterdir())
    assert saved == [10, 15]
    assert not Path("run/result.json").exists()
    for line in Path("run/metrics.jsonl").read_text().splitlines():
        row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in metrics.jsonl"))
        assert row["step"] < step


def test_progress_is_told_to_a_function_and_in_plain_lines(
    work: Path, capsys: pytest.CaptureFixture[str]
):
    told: list[tuple[str, int]] = []
    plan = made(work)
    run(plan, quiet=True, on_progress=lambda kind, step, values: told.append((kind, step)))
    assert capsys.readouterr() == ("", "")
    assert plan.evaluation
    assert [s for kind, s in told if kind == "evaluation"] == list(plan.evaluation.after)
    write_plan(plan, "plan.json")
    assert main("plan.json", extend=False, quiet=False) == 0
    out, err = capsys.readouterr()
    assert "the run in run is finished" in err
    assert "1 counted, 1 promised" in out
    shutil.rmtree("run")
    run(plan)
    _, err = capsys.readouterr()
    total = plan.train.total_steps
    assert f"tiny: {total} steps, from the beginning" in err
    assert f"step {total}/{total}" in err


def test_memory_that_does_not_suffice_is_explained(work: Path, monkeypatch: pytest.MonkeyPatch):
    def exhausted(loop: Loop, batch: object) -> None:
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"
        )

    monkeypatch.setattr(Loop, "_step", exhausted)
    with pytest.raises(RunError, match=r"memory does not suffice for step 1: .* 9 bytes\.\. Lower"):
        run(made(work), quiet=True)


def test_other_failures_of_the_device_are_not_disguised(
    work: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(loop: Loop, batch: object) -> None:
        raise jax.errors.JaxRuntimeError("INTERNAL: lightning")

    monkeypatch.setattr(Loop, "_step", failing)
    with pytest.raises(jax.errors.JaxRuntimeError, match="lightning"):
        run(made(work), quiet=True)
