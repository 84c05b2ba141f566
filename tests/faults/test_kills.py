"""Killed at any moment and run again, a run ends as if nothing had happened."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.bench import Bench, saved_steps

KILLS = 20

IN_SAVE = (
    "save: before it starts",
    "save: temporary folder made",
    "save: when it returns",
    "save: soon after it returned",
    "save: all written, not renamed",
    "save: renamed",
)
ELSEWHERE = (
    "compiling",
    "evaluating",
    "before entering a stage",
    "after entering a stage",
    "best: written, not in its place",
    "best: links not made",
    "before the result",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("faults"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(bench: Bench) -> dict[str, Any]:
    """The outcome of a run that nobody disturbed."""
    return bench.finish(bench.root / "whole")


def test_kills_at_random_times(bench: Bench, whole: dict[str, Any]):
    """At least 20 kills in several runs, at seeded shares of the time that a whole run takes."""
    draw = random.Random(20)
    begun = time.monotonic()
    assert bench.finish(bench.root / "timed") == whole
    duration = time.monotonic() - begun
    kills, runs = 0, 0
    while kills < KILLS:
        folder = bench.root / f"random{runs}"
        while bench.attempt(folder, kill_after=draw.uniform(0.05, 1.0) * duration)[0] == -9:
            kills += 1
        assert bench.finish(folder) == whole
        runs += 1


@pytest.mark.parametrize("where", IN_SAVE)
def test_kill_during_a_checkpoint_write(bench: Bench, whole: dict[str, Any], where: str):
    folder = bench.root / f"save{IN_SAVE.index(where)}"
    assert bench.attempt(folder, sabotage=where)[0] == -signal.SIGKILL
    newest = saved_steps(folder)[-1]
    assert newest in {"save: renamed": (20,), "save: before it starts": (10, 15)}.get(
        where, (15, 20)
    )
    assert bench.finish(folder) == whole


@pytest.mark.parametrize("where", ELSEWHERE)
def test_kill_at_a_named_point(bench: Bench, whole: dict[str, Any], where: str):
    folder = bench.root / f"point{ELSEWHERE.index(where)}"
    assert bench.attempt(folder, sabotage=where)[0] == -signal.SIGKILL
    assert not (folder / "run/result.json").exists()
    assert bench.finish(folder) == whole


def test_kill_while_tokenising(bench: Bench, whole: dict[str, Any]):
    bench.drop_tokens()
    folder = bench.root / "tokenising"
    assert bench.attempt(folder, sabotage="tokenising")[0] == -signal.SIGKILL
    assert not (folder / "run/plan.json").exists()
    assert bench.finish(folder) == whole


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("SIGINT after step 12", 130),
        ("SIGTERM after step 15", 143),
        ("SIGTERM in the evaluation", 143),
    ],
)
def test_a_signal_saves_and_ends(bench: Bench, whole: dict[str, Any], how: str, code: int):
    folder = bench.root / how.replace(" ", "")
    found, said = bench.attempt(folder, sabotage=how)
    assert found == code
    step = {"12": 12, "15": 15}.get(how[-2:], 8)
    assert f"everything is saved after step {step}" in said
    assert saved_steps(folder)[-1] == step
    assert bench.finish(folder) == whole


def test_a_second_interrupt_ends_at_once(bench: Bench, whole: dict[str, Any]):
    folder = bench.root / "twice"
    assert bench.attempt(folder, sabotage="SIGINT twice")[0] == 130
    assert saved_steps(folder) == [5, 10]
    assert bench.finish(folder) == whole


def test_a_full_disk_names_the_last_good_checkpoint(bench: Bench, whole: dict[str, Any]):
    folder = bench.root / "full"
    code, said = bench.attempt(folder, sabotage="full disk")
    assert code == 1
    assert said.startswith("RunError: ")
    assert "the disk is full" in said
    assert re.search(r"the last good checkpoint is that of step (10|15)", said)
    assert "Traceback" not in said
    assert "Traceback" not in bench.stderr()
    assert bench.finish(folder) == whole


def test_a_damaged_checkpoint_gives_way_to_the_one_before(bench: Bench, whole: dict[str, Any]):
    folder = bench.root / "damaged"
    bench.attempt(folder, sabotage="SIGTERM after step 15")
    assert saved_steps(folder) == [10, 15]
    arrays = [p for p in (folder / "run/checkpoints/15/state").rglob("*") if p.is_file()]
    path = max(arrays, key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)
    code, said = bench.attempt(folder, sabotage="before entering a stage")
    assert code == -signal.SIGKILL, said  # step 14 comes again
    assert bench.finish(folder) == whole
    assert "Traceback" not in bench.stderr()


def test_every_checkpoint_kill_left_something_to_clean(bench: Bench):
    """The kills must hit what they aim at: at least one leaves a temporary of Orbax behind."""
    folder = bench.root / "leftover"
    bench.attempt(folder, sabotage="save: all written, not renamed")
    assert any("tmp" in p.name for p in (folder / "run/checkpoints").iterdir())
