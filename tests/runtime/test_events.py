"""The chained log of events, and files of lines that are cut back."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from specrun.runtime.loop.events import NOTHING, EventLog, read_events
from specrun.runtime.loop.lines import START, Lines
from specrun.spec.diagnostics import RunError


def write(path: Path, count: int) -> None:
    log = EventLog(path)
    for i in range(count):
        log.record("early_stop", i, metric="mrr@10", value=0.5 + i)
    log.close()


def test_every_line_names_the_hash_of_the_line_before(tmp_path: Path):
    write(tmp_path / "e", 3)
    lines = [json.loads(line) for line in (tmp_path / "e").read_text().splitlines()]
    assert lines[0]["previous"] == NOTHING
    assert len({line["previous"] for line in lines}) == 3
    assert [e["after"] for e in read_events(tmp_path / "e")] == [0, 1, 2]


def test_any_changed_dropped_or_added_line_is_found(tmp_path: Path):
    path = tmp_path / "e"
    write(path, 4)
    good = path.read_bytes().splitlines(keepends=True)
    faults = [
        [good[0].replace(b"0.5", b"0.6"), *good[1:]],
        good[1:],
        [good[0], *good[2:]],
        [good[0], good[0], *good[1:]],
        [good[0], b"not json\n", *good[1:]],
        [good[0].replace(b", ", b",  ", 1), *good[1:]],
    ]
    for lines in faults:
        path.write_bytes(b"".join(lines))
        with pytest.raises(RunError, match="chain of events is broken"):
            read_events(path)


def test_a_changed_last_line_is_found_by_the_checkpoints_position(tmp_path: Path):
    path = tmp_path / "e"
    log = EventLog(path)
    log.record("early_stop", 8, value=0.5)
    position = log.settle()
    log.close()
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.7"))
    with pytest.raises(RunError, match="changed since the checkpoint"):
        EventLog(path, position)


def test_events_after_the_position_are_forgotten(tmp_path: Path):
    log = EventLog(tmp_path / "e")
    log.record("early_stop", 8, value=0.5)
    position = log.settle()
    log.record("early_stop", 16, value=0.6)
    log.close()
    log = EventLog(tmp_path / "e", position)
    assert [e["after"] for e in log.events] == [8]
    log.record("early_stop", 16, value=0.6)
    log.close()
    assert len(read_events(tmp_path / "e")) == 2


def test_lines_are_cut_back_and_go_on_as_before(tmp_path: Path):
    straight, resumed = tmp_path / "a", tmp_path / "b"
    for path in (straight, resumed):
        lines = Lines(path)
        lines.append({"step": 1, "loss": 0.1})
        position = lines.settle()
        lines.append({"step": 2, "loss": 0.2})
        lines.close()
    resumed.write_bytes(resumed.read_bytes()[:-3])  # killed within a line
    lines = Lines(resumed, position)
    lines.append({"step": 2, "loss": 0.2})
    assert lines.settle()["bytes"] == straight.stat().st_size
    lines.close()
    assert resumed.read_bytes() == straight.read_bytes()


def test_a_file_shorter_than_its_position_is_refused(tmp_path: Path):
    lines = Lines(tmp_path / "a")
    lines.append({"step": 1})
    position = lines.settle()
    lines.close()
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(RunError, match="has 0 bytes, but the checkpoint knew 12"):
        Lines(tmp_path / "a", position)


def test_without_a_position_a_file_begins_anew(tmp_path: Path):
    (tmp_path / "a").write_text("old\n")
    Lines(tmp_path / "a", START).close()
    assert (tmp_path / "a").read_bytes() == b""


def test_at_end_drops_only_half_a_line(tmp_path: Path):
    (tmp_path / "a").write_text('{"step": 1}\n{"st')
    lines = Lines.at_end(tmp_path / "a")
    lines.append({"step": 2})
    lines.close()
    assert (tmp_path / "a").read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_row_that_is_not_json_is_refused(tmp_path: Path):
    lines = Lines(tmp_path / "a")
    with pytest.raises(ValueError, match="not JSON compliant"):
        lines.append({"loss": float("nan")})
    lines.close()


def test_a_line_that_could_not_be_written_does_not_fail_again_when_the_file_is_closed(
    tmp_path: Path,
):
    lines = Lines(tmp_path / "a")
    lines.append({"step": 1})
    position = lines.settle()
    with no_file_beyond(20):
        with pytest.raises(OSError, match="File too large"):
            lines.append({"step": 2, "loss": 0.25})
        lines.close()
    lines = Lines(tmp_path / "a", position)
    lines.append({"step": 2, "loss": 0.25})
    lines.close()
    assert (tmp_path / "a").read_text() == '{"step": 1}\n{"step": 2, "loss": 0.25}\n'


@contextmanager
def no_file_beyond(count: int) -> Iterator[None]:
    """Writes beyond ``count`` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
