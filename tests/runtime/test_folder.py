"""The run's folder: its lock, files that appear whole, folders that are exchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from specrun.runtime.loop import folder as folders
from specrun.runtime.loop.best import BestFolder
from specrun.runtime.loop.folder import (
    RunFolder,
    locked,
    replace_folder,
    write_atomic,
    write_failed,
    writing,
)
from specrun.runtime.loop.parameters import (
    copy_parameters,
    is_good,
    read_manifest,
    read_parameters,
    write_parameters,
)
from specrun.runtime.loop.position import Best
from specrun.spec.diagnostics import InputError, RunError
from tests.faults.full_disk import full_disk

TREE = {
    "a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "losses": {"infonce": {"log_scale": np.float32(2.5)}},
}

HOLD = """
import sys, time
from pathlib import Path
from specrun.runtime.loop.folder import RunFolder, locked
with locked(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_locked_against_another_process_until_that_one_dies(tmp_path: Path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(InputError, match="another process is running"),
            locked(RunFolder(tmp_path)),
        ):
            pass
    finally:
        other.kill()
        other.wait()
    with locked(RunFolder(tmp_path)):
        pass


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot write to the output folder"),
        locked(RunFolder(tmp_path / "file" / "run")),
    ):
        pass


def test_a_failed_write_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "result.json"
    write_atomic(path, b"old")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_write_failures_say_what_to_do():
    assert "the disk is full" in str(write_failed("x", OSError(28, "No space left on device")))
    assert "make room and run again" in str(
        write_failed("x", ValueError("No space left on device"))
    )
    other = str(write_failed("x", OSError(13, "Permission denied"), "step 5 is there"))
    assert "Permission denied" in other
    assert "step 5 is there" in other
    with pytest.raises(RunError, match="cannot write best/"), writing("best/"):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_replaces_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool):
    if not exchange:
        monkeypatch.setattr(folders, "_exchange", lambda left, right: False)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert [p.name for p in (tmp_path / "old").iterdir()] == ["new"]


def test_parameters_come_back_as_they_were(tmp_path: Path):
    digest = write_parameters(tmp_path / "best", TREE, {"step": 7})
    found = read_parameters(tmp_path / "best")
    np.testing.assert_array_equal(found["a"]["kernel"], TREE["a"]["kernel"])
    assert found["losses"]["infonce"]["log_scale"].shape == ()
    manifest = read_manifest(tmp_path / "best")
    assert manifest
    assert (manifest["step"], manifest["parameters_sha256"]) == (7, digest)


def test_one_digest_depends_on_paths_dtypes_shapes_and_numbers(tmp_path: Path):
    kernel = TREE["a"]["kernel"]
    trees = [
        TREE,
        TREE | {"a": {"other": kernel}},
        TREE | {"a": {"kernel": kernel.reshape(3, 2)}},
        TREE | {"a": {"kernel": kernel.view(np.int32)}},
        TREE | {"a": {"kernel": np.nextafter(kernel, np.float32(9))}},
    ]
    found = {write_parameters(tmp_path / "p", tree, {}) for tree in trees}
    assert len(found) == len(trees)
    assert write_parameters(tmp_path / "q", TREE, {}) in found


def test_any_flipped_bit_of_parameters_is_found(tmp_path: Path):
    write_parameters(tmp_path / "best", TREE, {})
    path = tmp_path / "best" / "parameters.safetensors"
    good = path.read_bytes()
    for place in range(0, len(good), 3):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        path.write_bytes(bad)
        assert not is_good(tmp_path / "best"), f"bit flipped in byte {place}"
    path.write_bytes(good[:-1])
    assert not is_good(tmp_path / "best")
    path.unlink()
    assert not is_good(tmp_path / "best")
    path.write_bytes(good)
    assert is_good(tmp_path / "best")


def best(step: int) -> Best:
    return Best(step=step, metric="mrr@10", value=step / 100, metrics={"mrr@10": step / 100})


def test_going_back_brings_back_the_best_of_that_time(tmp_path: Path):
    folder = BestFolder(RunFolder(tmp_path))
    folder.publish(best(8), TREE, {})
    newer = {"a": {"kernel": TREE["a"]["kernel"] + 1}}
    folder.publish(best(16), newer, {})
    assert folder.count() == 2
    folder.align(best(8))
    assert (read_manifest(tmp_path / "best") or {})["step"] == 8
    assert is_good(tmp_path / "best")
    folder.prune({16})
    assert folder.count() == 1
    folder.align(best(16))
    np.testing.assert_array_equal(
        read_parameters(tmp_path / "best")["a"]["kernel"], newer["a"]["kernel"]
    )
    with pytest.raises(RunError, match="the best parameters, those of step 8, are damaged"):
        folder.align(best(8))
    folder.align(None)
    assert not (tmp_path / "best").exists()


def test_copies_stand_where_links_do_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    write_parameters(tmp_path / "a", TREE, {})
    copy_parameters(tmp_path / "a", tmp_path / "b")
    assert is_good(tmp_path / "b")
