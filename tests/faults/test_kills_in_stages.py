"""Killed in a stage, between two, while negatives are mined and while texts are made, a run ends as if nothing had happened."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

from tests.faults.bench import TEXTS, Bench, saved_steps


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
