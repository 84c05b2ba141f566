"""Rates, time left and memory, by a clock that the test turns."""

from __future__ import annotations

import dataclasses
import io
from types import SimpleNamespace

import pytest

from specrun.runtime.loop import speed
from specrun.runtime.loop.loop import rows_per_step
from specrun.runtime.loop.speed import Memory, Pace, memory_of
from specrun.runtime.telling import InPlace, PlainJobs, duration, shown, silent, size, teller
from tests.runtime.plans import make_plan

MEMORY = Memory(kind="process", bytes=1, peak_bytes=2)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_leaves_out_compiling_evaluating_and_saving():
    clock = Clock()
    pace = Pace(0, 40, clock)
    assert pace.mean(0) is None
    clock.now += 30  # compiling, before the first step returns
    pace.begin()
    clock.now += 5
    pace.ready(10)
    first = pace.at(8.0, MEMORY)
    assert first.steps_per_second == pytest.approx(2.0)
    assert first.rows_per_second == pytest.approx(16.0)
    assert first.left == pytest.approx(15.0)
    clock.now += 5
    pace.spent(5)  # an evaluation
    clock.now += 10
    pace.ready(20)
    second = pace.at(8.0, MEMORY)
    assert second.steps_per_second == pytest.approx(1.0)
    assert second.mean == pytest.approx(20 / 15)
    assert second.left == pytest.approx(20 * 20 / 20)
    assert pace.mean(20) == pytest.approx(20 / 15)


def test_a_resumed_run_counts_its_own_steps_only():
    clock = Clock()
    pace = Pace(1000, 1100, clock)
    pace.begin()
    clock.now += 10
    pace.ready(1020)
    found = pace.at(4.0, MEMORY)
    assert found.steps_per_second == found.mean == pytest.approx(2.0)
    assert found.left == pytest.approx(40.0)
    assert Pace(5, 9, clock).mean(5) is None


def test_steps_fetched_together_share_one_rate_whatever_is_written_in_between():
    """Eight lines written at once are no eight steps in no time."""
    clock = Clock()
    pace = Pace(0, 100, clock)
    pace.begin()
    rates = []
    for step in (8, 16, 24):
        clock.now += 4
        pace.ready(step)
        for _ in range(8):
            clock.now += 1e-5  # a line is written
            rates.append(pace.at(1.0, MEMORY).steps_per_second)
    assert rates == pytest.approx([2.0] * 24, rel=1e-3)
    pace.ready(24)  # known already
    assert pace.at(1.0, MEMORY).steps_per_second == pytest.approx(2.0, rel=1e-3)


def test_steps_that_are_skipped_count_for_no_rate():
    clock = Clock()
    pace = Pace(0, 100, clock)
    pace.begin()
    clock.now += 5
    pace.ready(10)
    assert pace.at(1.0, MEMORY).mean == pytest.approx(2.0)
    pace.skip(50)
    clock.now += 5
    pace.ready(70)
    found = pace.at(1.0, MEMORY)
    assert (found.steps_per_second, found.mean) == pytest.approx((2.0, 2.0))
    assert found.left == pytest.approx(15.0)


def test_rows_of_a_step_leave_out_the_padding_of_the_last_batch():
    plan = make_plan()
    assert rows_per_step(plan, 0) == 8.0
    short = dataclasses.replace(plan.segments[0], rows=30)
    assert rows_per_step(dataclasses.replace(plan, segments=(short,)), 0) == 7.5


def test_memory_is_the_devices_where_it_counts_and_else_the_process():
    stats = {"bytes_in_use": 10, "peak_bytes_in_use": 30}
    device = SimpleNamespace(memory_stats=lambda: stats)
    assert memory_of(device) == Memory(kind="device", bytes=10, peak_bytes=30)
    own = memory_of(SimpleNamespace(memory_stats=lambda: None))
    assert own.kind == "process"
    assert (1 << 20) < own.bytes <= own.peak_bytes


def test_memory_without_proc_is_the_peak(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(speed, "STATUS", tmp_path / "none")
    own = memory_of(SimpleNamespace(memory_stats=lambda: None))
    assert own.bytes == own.peak_bytes > 0


def test_numbers_for_people():
    assert [size(n) for n in (0, 1023, 1536, 3 << 30)] == ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]
    assert [duration(s) for s in (0.04, 59.0, 61, 3725)] == ["0.0 s", "59.0 s", "1:01", "1:02:05"]
    assert shown("reading", 1200, 8000) == "reading 1,200/8,000"
    assert shown("reading", 5, 0) == "reading 5"


def test_a_short_job_gets_no_line_in_a_log_and_a_long_one_a_few():
    clock, stream = Clock(), io.StringIO()
    jobs = PlainJobs(stream, clock)
    for done in range(10):
        clock.now += 0.1
        jobs("quick", done, 10)
    jobs("quick", 10, 10)
    assert stream.getvalue() == ""
    for done in range(0, 30):
        jobs("slow", done, 30)
        clock.now += 1
    jobs("slow", 30, 30)
    jobs("slow", 0, 5)
    lines = stream.getvalue().splitlines()
    assert lines == ["slow 2/30", "slow 12/30", "slow 22/30", "slow 30/30  30 s"]


def test_a_terminal_gets_one_line_that_is_wiped_at_the_end():
    clock, stream = Clock(), io.StringIO()
    line = InPlace(stream, clock)
    for done in range(100):
        clock.now += 0.01
        line("job", done, 100)
    line("job", 100, 100)
    said = stream.getvalue()
    assert said.endswith("\r\x1b[2K")
    assert 5 <= said.count("job") <= 12
    assert "\n" not in said


def test_quiet_is_silent_and_a_stream_that_went_away_ends_nothing(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    assert teller(True) is silent
    clock = Clock()
    for job in (InPlace(Gone(), clock), PlainJobs(Gone(), clock)):
        job("work", 1, 9)
        clock.now += 60
        job("work", 2, 9)
