"""A stage that ends on a plateau: what is skipped, and that the rest is what the plan says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.api import compile
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokens import ensure_tokens
from specrun.runtime.loop.admit import check_done
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.parameters import read_parameters
from specrun.runtime.loop.position import Standing
from specrun.runtime.loop.run import run, summary
from specrun.runtime.program.control import control_at, learning_rate_table
from specrun.runtime.program.program import build_program
from specrun.runtime.program.state import parameters_of
from specrun.runtime.report.write import write_report
from specrun.runtime.trees import flatten
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.plan import Plan
from tests.faults.bench import SPEC, tiny_rows

ENDING = (
    "curriculum.stages[0].advance={patience: 1, min_delta: 0.9}",
    "evaluation.every_steps=4",
    "schedule={kind: cosine, warmup_steps: 3}",
    "train.log_every_steps=1",
    "model.hidden_dropout_prob=0.2",
    "curriculum.transition_epochs=1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("advance")
    (root / "rows.jsonl").write_text(tiny_rows(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(root / "cache"))
        patch.chdir(root)
        yield root


def made(folder: Path, *overrides: str) -> Plan:
    return compile(SPEC.format(rows=folder / "rows.jsonl"), overrides=(*ENDING, *overrides))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_next_stage_is_the_plans(folder: Path) -> None:
    """After step 8 of 16 the run goes on with step 17: its rates, rows and dropout are those of the plan."""
    plan = made(folder)
    result = run(plan, quiet=True)
    there = RunFolder(Path(plan.output_dir))
    assert (result.steps, result.skipped_steps) == (44, 8)
    assert "8 skipped by stages that ended early" in summary(result)
    (event,) = lines(there.events)
    assert {k: event[k] for k in ("after", "kind", "stage", "to", "skipped", "metric")} == {
        "after": 8,
        "kind": "advance",
        "stage": "easy",
        "to": 16,
        "skipped": 8,
        "metric": "mrr@10",
    }
    told = lines(there.metrics)
    rates = {x["step"]: x["learning_rate"] for x in told if x["kind"] == "training"}
    assert list(rates) == [*range(1, 9), *range(17, 53)]
    table = learning_rate_table(plan)
    assert all(np.float32(rate) == table[step - 1] for step, rate in rates.items())
    evaluated = [x["step"] for x in told if x["kind"] == "evaluation"]
    assert evaluated == [4, 8, *range(20, 53, 4)]
    assert checkpoints(there) == [50, 52]
    write_report(there.root)
    page = there.report.read_text()
    assert "44 steps, 8 skipped by stages that ended early" in page
    assert "rows of easy mixed in for 1 epochs" in page
    assert "ends early: metric mrr@10, patience 1, min delta 0.9" in page
    final = flatten(by_hand(plan, [*range(8), *range(16, 52)]))
    saved = flatten(read_parameters(there.final))
    assert saved.keys() == final.keys()
    assert all(np.asarray(final[p]).tobytes() == x.tobytes() for p, x in saved.items())


def checkpoints(there: RunFolder) -> list[int]:
    return sorted(int(p.name) for p in there.checkpoints.iterdir() if p.name.isdigit())


def by_hand(plan: Plan, steps: list[int]) -> Any:
    """The parameters after these steps of the plan, made one by one."""
    program = build_program(plan)
    batches = Batches(plan, ensure_tokens(plan.data, plan.tokenizer), ensure_rows(plan.data))
    state, entered = program.init(plan.seed), -1
    for step in steps:
        control = control_at(plan, step)
        if int(control["segment"]) > entered:
            entered += 1
            state = program.enter(entered, state)
        state, _ = program.step(state, batches.at(step)[1], control)
    return parameters_of(state)


def test_early_stopping_begins_anew_in_the_next_stage(folder: Path) -> None:
    """Evaluations after 4 and 8 in the first stage, 20 sets the value to beat, 24 and 28 do not beat it."""
    plan = made(
        folder, "output_dir=both", "evaluation.early_stopping={patience: 2, min_delta: 0.9}"
    )
    result = run(plan, quiet=True)
    assert result.stopped_early
    assert (result.steps, result.skipped_steps) == (20, 8)
    kinds = [(x["kind"], x["after"]) for x in lines(RunFolder(Path("both")).events)]
    assert kinds == [("advance", 8), ("early_stop", 28)]
    longer = made(
        folder,
        "output_dir=both",
        "evaluation.early_stopping={patience: 2, min_delta: 0.9}",
        "curriculum.stages[1].epochs=9",
    )
    with pytest.raises(InputError, match="stopped early after step 28"):
        run(longer, extend=True, quiet=True)


def test_a_stage_that_ended_is_not_made_longer(folder: Path) -> None:
    """It stands at its last step as one that was made to its end does, and cannot be gone on with."""
    before, after = made(folder), made(folder, "curriculum.stages[0].epochs=3")
    check_done(before, after, Standing(step=16, segment=0))
    with pytest.raises(InputError, match="stage 'easy' already ran from step 0 to 16"):
        check_done(before, after, Standing(step=16, segment=0, ended=0, skipped=8))
