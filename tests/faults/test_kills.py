"""Killed at any moment and run again, a run ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.bench import TEXTS, Bench, saved_steps

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


def test_an_early_stop_is_replayed(tmp_path: Path):
    """The event was written, the checkpoint after it was not: the stop is found again, at the same step."""
    stopping = Bench(
        tmp_path,
        ("evaluation.early_stopping={patience: 2, min_delta: 0.001}", "evaluation.every_steps=4"),
    )
    try:
        want = stopping.finish(tmp_path / "whole")
        assert want["result"]["stopped_early"]
        assert want["result"]["steps"] < stopping.plan.train.total_steps
        folder = tmp_path / "killed"
        code, _ = stopping.attempt(folder, sabotage="after the early stop's event")
        assert code == -signal.SIGKILL
        event = json.loads((folder / "run/events.jsonl").read_text())
        assert event["after"] == want["result"]["steps"]
        assert stopping.finish(folder) == want
        assert stopping.finish(folder) == want
    finally:
        stopping.close()


def test_kills_around_mining_change_no_negative(tmp_path: Path):
    """Killed while mining, with the snapshot but no event of it, and with both but no checkpoint."""
    mining = Bench(
        tmp_path,
        ("data.negatives={kind: mined, refresh_every_steps: 12, top_k: 20, num_negatives: 2}",),
    )
    try:
        want = mining.finish(tmp_path / "whole")
        assert sum(name.startswith("negatives/") for name in want) == len(
            mining.plan.data.mining.after  # type: ignore[union-attr]
        )
        for where in ("mining", "mined: written, no event", "mined: event written"):
            folder = tmp_path / where.replace(" ", "")
            assert mining.attempt(folder, sabotage=where)[0] == -signal.SIGKILL
            assert mining.finish(folder) == want
    finally:
        mining.close()


def test_kills_in_a_transition_change_no_row(tmp_path: Path):
    """The second stage mixes in the first for two epochs, steps 17 to 40; killed before and in the first of them."""
    mixing = Bench(tmp_path, ("curriculum.transition_epochs=2",))
    try:
        assert [s.transition_epochs for s in mixing.plan.segments] == [0, 2]
        want = mixing.finish(tmp_path / "whole")
        for where in ("after entering a stage", "save: renamed"):
            folder = tmp_path / where.replace(" ", "")
            assert mixing.attempt(folder, sabotage=where)[0] == -signal.SIGKILL
            assert mixing.finish(folder) == want
    finally:
        mixing.close()


def test_kills_around_a_stages_early_end(tmp_path: Path):
    """Stage ``easy`` ends after step 8 of 16: killed before that is saved, and while the next stage begins.

    Negatives were due after step 12, which is skipped: they are mined where the next stage begins.
    """
    ending = Bench(
        tmp_path,
        (
            "curriculum.transition_epochs=1",
            "curriculum.stages[0].advance={patience: 1, min_delta: 0.9}",
            "evaluation.every_steps=4",
            "data.negatives={kind: mined, refresh_every_steps: 12, top_k: 20, num_negatives: 2}",
        ),
    )
    try:
        want = ending.finish(tmp_path / "whole")
        assert want["result"]["skipped_steps"] == 8
        assert want["result"]["steps"] == ending.plan.train.total_steps - 8
        events = (tmp_path / "whole/run/events.jsonl").read_text().splitlines()
        told = [(e["kind"], e["after"], e.get("to")) for e in map(json.loads, events)]
        assert told == [
            ("mined", 0, None),
            ("advance", 8, 16),
            *(("mined", after, None) for after in (16, 24, 36, 48)),
        ]
        for where in (
            "mined: event written",  # the second event, which is the stage's end
            "mining",  # the second time, after step 16
            "mined: written, no event",
            "before entering a stage",
            "save: renamed",
            "SIGTERM after step 8",
        ):
            folder = tmp_path / where.replace(" ", "")
            code, _ = ending.attempt(folder, sabotage=where)
            assert code == (143 if where.startswith("SIGTERM") else -signal.SIGKILL)
            assert ending.finish(folder) == want, where
    finally:
        ending.close()


IN_TEXTS = (
    "before entering a stage",
    "after entering a stage",
    "evaluating",
    "writing texts",
    "texts: written, no event",
    "after the early stop's event",  # the first event, which vouches for the texts
    "before the third stage",
    "in the third stage",
    "save: renamed",
)


def test_kills_in_every_stage_of_a_language_model(tmp_path: Path):
    """In each stage, at the transitions, and while the model makes texts for the last stage; these lost after it."""
    writing = Bench(tmp_path, spec=TEXTS)
    try:
        want = writing.finish(tmp_path / "whole")
        assert "pseudo/0002.json" in want
        event = json.loads((tmp_path / "whole/run/events.jsonl").read_text())
        assert (event["kind"], event["after"]) == (
            "pseudo_data",
            writing.plan.segments[2].first_step,
        )
        assert 0 < event["texts"] <= 9
        for where in IN_TEXTS:
            folder = tmp_path / where.replace(" ", "")
            assert writing.attempt(folder, sabotage=where)[0] == -signal.SIGKILL, where
            assert writing.finish(folder) == want, where
        lost = tmp_path / "lost"
        assert writing.attempt(lost, sabotage="before the result")[0] == -signal.SIGKILL
        made = lost / "run/pseudo/0002.json"
        content = made.read_bytes()
        shutil.rmtree(lost / f"run/checkpoints/{saved_steps(lost)[-1]}")
        for damaged, told in (
            (content.replace(b"texts", b"taxts"), "was changed"),
            (content[:-4], "was changed"),
            (None, "cannot be read"),
        ):
            made.unlink()
            if damaged is not None:
                made.write_bytes(damaged)
            code, said = writing.attempt(lost)
            assert code == 1
            assert f"0002.json: the file {told}" in said
            made.write_bytes(content)
        made.with_name("0001.json").write_bytes(b"of no event")
        assert writing.finish(lost) == want
    finally:
        writing.close()
