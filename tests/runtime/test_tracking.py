"""Trackers: what they are told, event files read back, and failures that never stop a run."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from specrun.api import compile
from specrun.runtime.loop import run as runs
from specrun.runtime.loop.loop import Loop
from specrun.runtime.loop.run import run
from specrun.runtime.track import tracker
from specrun.runtime.track.tracker import KINDS, Tracked
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.tracking import TrackerPlan
from tests.contract.test_words import kinds
from tests.faults.bench import SPEC, tiny_rows

BOARD = "tracking=[{kind: tensorboard}]"
SHORT = ("curriculum.stages.0.epochs=1", "curriculum.stages.1.epochs=1")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tracking")
    (root / "rows.jsonl").write_text(tiny_rows(), encoding="utf-8")
    return root


@pytest.fixture(autouse=True)
def here(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECRUN_CACHE", str(work / "cache"))
    monkeypatch.chdir(tmp_path)


def made(work: Path, *overrides: str) -> Plan:
    return compile(SPEC.format(rows=work / "rows.jsonl"), overrides=(*SHORT, *overrides))


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """(tag, step, value) of all event files, by the format's own framing: length, CRC, record, CRC."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length, check) = struct.unpack("<QI", data[:12])
            body = data[12 : 12 + length]
            assert masked(data[:8]) == check
            assert masked(body) == struct.unpack("<I", data[12 + length : 16 + length])[0]
            event = Event.FromString(body)
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            data = data[16 + length :]
    return found


def masked(data: bytes) -> int:
    """CRC-32C (Castagnoli), rotated and offset as record files have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def rows() -> list[tuple[str, int, float]]:
    """What metrics.jsonl holds, as (tag, step, value)."""
    lines = map(json.loads, Path("run/metrics.jsonl").read_text().splitlines())
    return [
        (f"{row['kind']}/{name}".replace("@", "_").replace(" ", "_"), row["step"], value)
        for row in lines
        for name, value in row.items()
        if name not in ("kind", "step")
    ]


def test_event_files_hold_what_the_record_holds(work: Path):
    plan = made(work, BOARD, "train.log_every_steps=2", "matryoshka={dims: [16, 8]}")
    run(plan)
    assert plan.tracking[0].log_dir == "run/tensorboard"
    found, wanted = scalars(Path("run/tensorboard")), rows()
    assert [x[:2] for x in found] == [x[:2] for x in wanted]
    assert [x[2] for x in found] == pytest.approx([x[2] for x in wanted], rel=1e-6)


def test_a_resumed_run_goes_on_in_a_file_that_purges_what_comes_again(
    work: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = made(work, BOARD, "train.log_every_steps=1")
    original = Loop._step

    def dying(loop: Loop, batch: object) -> None:
        if loop.standing.step == 13:
            raise SystemError("power cut")
        original(loop, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", dying)
        with pytest.raises(SystemError):
            run(plan)
    resumed = max(int(p.name) for p in Path("run/checkpoints").iterdir() if p.name.isdigit())
    purges: list[int | None] = []
    from specrun.runtime.track import tensorboard

    real = tensorboard.SummaryWriter

    def recording(**arguments: Any) -> Any:
        purges.append(arguments.get("purge_step"))
        return real(**arguments)

    monkeypatch.setattr(tensorboard, "SummaryWriter", recording)
    run(plan)
    assert purges == [resumed + 1]
    latest = {(tag, step): value for tag, step, value in scalars(Path("run/tensorboard"))}
    assert latest.keys() == {(tag, step) for tag, step, _ in rows()}


class Fails:
    """Raises at one call."""

    def __init__(self, where: str):
        self.where, self.calls = where, 0

    def _call(self, name: str) -> None:
        self.calls += 1
        if name == self.where:
            raise SystemExit(3) if name == "finish" else ConnectionError("no route\nmore")

    def start(self, plan: Plan, step: int) -> None:
        self._call("start")

    def log(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        self._call("log")

    def finish(self, result: Mapping[str, Any] | None) -> None:
        self._call("finish")


@pytest.mark.parametrize("where", ["make", "start", "log", "finish"])
def test_a_failing_tracker_is_named_once_and_the_run_is_the_same(
    work: Path, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    straight = run(made(work, "output_dir=straight"))
    broken = Fails(where)

    def make(settings: TrackerPlan) -> Fails:
        if where == "make":
            raise ImportError("its own dependency is missing")
        return broken

    monkeypatch.setattr(
        runs,
        "Tracked",
        lambda inner, settings: Tracked(inner, settings, make),  # type: ignore[arg-type]
    )
    found = run(made(work, BOARD), quiet=False)
    said = capsys.readouterr().err
    assert said.count("the tracker tensorboard failed and is dropped; the run goes on") == 1
    assert "Traceback" not in said
    assert broken.calls == {"make": 0, "start": 1, "log": 2, "finish": broken.calls}[where]
    assert found.parameters_sha256 == straight.parameters_sha256
    assert found.metrics == straight.metrics
    same = [Path(p, "metrics.jsonl").read_bytes() for p in ("straight", "run")]
    assert same[0] == same[1]


def test_several_trackers_are_told_and_one_that_fails_leaves_the_other(work: Path):
    class Notes:
        def __init__(self) -> None:
            self.notes: list[str] = []

        def __getattr__(self, name: str) -> Any:
            return self.notes.append if name == "note" else lambda *a, **k: None

    plan = made(work, "tracking=[{kind: tensorboard}, {kind: wandb, project: p}]")
    good, bad = Fails("never"), Fails("log")
    notes = Notes()
    tracked = Tracked(
        notes,  # type: ignore[arg-type]
        plan.tracking,
        lambda s: bad if s.kind == "wandb" else good,  # type: ignore[arg-type, return-value]
    )
    tracked.start(plan, 0)
    for step in (1, 2):
        tracked.evaluation(step, {"mrr@10": 0.5}, True)
    tracked.finish({"steps": 2, "metrics": {}})
    tracked.close()
    assert (good.calls, bad.calls) == (4, 2)
    assert notes.notes == [
        "the tracker wandb failed and is dropped; the run goes on (ConnectionError: no route)"
    ]


def test_a_missing_package_is_told_before_anything_is_written(
    work: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = made(work, "tracking=[{kind: wandb, project: p}, {kind: tensorboard}]")
    monkeypatch.setattr(tracker, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        run(plan)
    assert [d.path for d in error.value.diagnostics] == ["tracking[0]", "tracking[1]"]
    assert "pip install 'specrun[wandb]'" in str(error.value)
    assert "pip install 'specrun[tensorboard]'" in str(error.value)
    assert [p.name for p in Path("run").iterdir()] == [".lock"]


def test_one_tracker_of_a_kind(work: Path):
    twice = "tracking=[{kind: tensorboard}, {kind: tensorboard, log_dir: other}]"
    with pytest.raises(InputError, match="names tensorboard twice"):
        made(work, twice)


def test_tracking_is_cosmetic(work: Path):
    from specrun.spec.plan.file import differences, identity

    plain, tracking = made(work), made(work, BOARD)
    assert identity(plain) == identity(tracking)
    assert {d.klass for d in differences(plain, tracking)} == {"cosmetic"}


def test_every_kind_has_its_home() -> None:
    assert set(KINDS) == kinds(TrackerPlan)


@pytest.mark.parity
def test_wandb_writes_an_offline_run(work: Path) -> None:
    """Two processes of a run keep one id."""
    pytest.importorskip("wandb")
    from specrun.runtime.track.weights_and_biases import run_id

    plan = made(work, "tracking=[{kind: wandb, project: tests, tags: [a, b]}]")
    run(plan, quiet=False)
    folders = list(Path("run/wandb").glob("offline-run-*"))
    assert len(folders) == 1
    assert folders[0].name.endswith(run_id(plan))
    [file] = folders[0].glob("*.wandb")
    assert b"mrr@10" in file.read_bytes()
    longer = dataclasses.replace(plan, name="other")
    assert run_id(longer) == run_id(plan)
