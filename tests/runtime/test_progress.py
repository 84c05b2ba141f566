"""Telling how a run goes, on a terminal and elsewhere, never ends it."""

from __future__ import annotations

import dataclasses
import io
import sys

import pytest

from specrun.runtime.loop.progress import Live, PlainLines, Reporter, Silent, make_reporter
from specrun.runtime.loop.speed import Memory, Speed
from tests.runtime.plans import make_plan

SPEED = Speed(
    steps_per_second=2.5,
    rows_per_second=1280.0,
    mean=2.25,
    left=125.0,
    memory=Memory(kind="device", bytes=3 << 29, peak_bytes=1 << 31),
)
TOLD = "2.5 steps/s  1,280 rows/s  left 2:05  device 1.5 GiB (peak 2.0 GiB)"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def tell(reporter: Reporter) -> None:
    reporter.start(dataclasses.replace(make_plan(), name="tiny [/b]"), 1)
    for step in (2, 3, 4):
        reporter.training(step, {"loss": 1 / step, "learning_rate": 1e-4}, SPEED)
    reporter.evaluation(4, {"mrr@10": 0.5}, True)
    reporter.note("a note with [brackets]")
    reporter.close()


def test_the_reporter_fits_the_stream(monkeypatch: pytest.MonkeyPatch):
    assert type(make_reporter(True, None)) is Silent
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(make_reporter(False, None)) is PlainLines
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert type(make_reporter(False, None)) is Live


def test_plain_lines_hold_back_training_but_not_the_last_step(monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    tell(PlainLines(pause=3600))
    assert stream.getvalue().splitlines() == [
        "tiny [/b]: 4 steps, from step 1",
        f"step 2/4  loss 0.5  learning_rate 0.0001  {TOLD}",
        f"step 4/4  loss 0.25  learning_rate 0.0001  {TOLD}",
        "step 4/4  mrr@10 0.5  (best)",
        "a note with [brackets]",
    ]


def test_a_terminal_gets_a_bar_and_lines(monkeypatch: pytest.MonkeyPatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "200")
    tell(Live())
    shown = stream.getvalue()
    for text in (
        "4/4",
        "tiny [/b]",
        "loss 0.25",
        "mrr@10 0.5",
        "(best)",
        "a note with [brackets]",
        TOLD,
    ):
        assert text in shown


@pytest.mark.parametrize("make", [Silent, PlainLines, Live])
def test_the_callers_function_hears_of_everything(make: type, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    heard: list[tuple[str, int]] = []
    tell(make(lambda kind, step, values: heard.append((kind, step))))
    assert heard == [("training", 2), ("training", 3), ("training", 4), ("evaluation", 4)]


def test_a_stream_that_went_away_ends_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", Gone())
    tell(PlainLines())
