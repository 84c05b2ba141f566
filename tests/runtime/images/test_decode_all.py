"""Many pictures at once: in order whatever the number of workers, bounded, and stopped promptly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from specrun.runtime.images import decode as module
from specrun.runtime.images.decode import decode, decode_all, in_order
from specrun.runtime.images.faults import BadImage
from specrun.runtime.images.pixels import process
from specrun.runtime.images.processor import read_processor
from specrun.spec.plan.images import uniform
from tests.runtime.images.pictures import MODES, noise, saved

MANY = 10**8
PROCESSOR = uniform(16, 24)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Good and bad files mixed, small and large."""
    for i in range(24):
        data = saved(noise(10 + 37 * (i % 5), 10 + 11 * i, seed=i), ("PNG", "JPEG", "WebP")[i % 3])
        (tmp_path / f"{i}").write_bytes(data[: len(data) // 2] if i % 7 == 3 else data)
    (tmp_path / "5").unlink()
    return [str(tmp_path / f"{i}") for i in range(24)]


def outcome(found: np.ndarray | BadImage) -> tuple[object, ...]:
    if isinstance(found, BadImage):
        assert found.__traceback__ is None
        return found.reason, found.path, found.detail
    assert found.dtype == np.uint8
    return found.shape, found.tobytes()


@pytest.mark.parametrize("workers", [1, 2, 3, 16, 100])
def test_order_and_content_do_not_depend_on_the_workers(paths: list[str], workers: int) -> None:
    expected: list[tuple[object, ...]] = []
    for path in paths:
        try:
            expected.append(outcome(process(decode(path, MANY), PROCESSOR)))
        except BadImage as fault:
            expected.append(outcome(fault.bare()))
    found = list(map(outcome, decode_all(paths, PROCESSOR, MANY, workers)))
    assert found == expected
    assert [e[0] for e in found].count("truncated_image") == 3
    assert found[5][0] == "missing_image"


def test_every_fault_is_in_its_place_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(saved(noise(40, 50), "PNG"))
    (tmp_path / "text").write_text("no picture at all")
    paths = [str(tmp_path / name) for name in ("large", "text", "none")]
    found = [f for f in decode_all(paths, PROCESSOR, 1999, 2) if isinstance(f, BadImage)]
    assert [(f.reason, f.path) for f in found] == list(
        zip(("too_many_pixels", "broken_image", "missing_image"), paths, strict=True)
    )
    assert str(found[2]) == f"{paths[2]}: missing image: No such file or directory"


def test_a_thin_picture_that_would_grow_without_bound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thin.png").write_bytes(saved(noise(1, 60_000), "PNG"))
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "CLIPImageProcessor"}'
    )
    clip = read_processor(tmp_path)
    (found,) = decode_all([str(tmp_path / "thin.png")], clip, MANY, 1)
    assert isinstance(found, BadImage)
    assert found.reason == "too_many_pixels"
    assert "60000 × 1 pixels become 13440000 × 224 when resized" in found.detail


def test_no_pictures_and_no_workers() -> None:
    assert list(decode_all([], PROCESSOR, MANY, 2)) == []
    with pytest.raises(ValueError, match="at least one worker is needed, found 0"):
        next(decode_all(["a"], PROCESSOR, MANY, 0))


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_begun_ahead_is_bounded(workers: int) -> None:
    begun: list[int] = []
    results = in_order(lambda i: begun.append(i) or i, range(1000), workers)
    for i in range(50):
        assert next(results) == i
        time.sleep(0.001)
        assert len(begun) <= i + 1 + workers * module.LOOK_AHEAD
    results.close()


def test_leaving_early_drops_what_has_not_begun() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(i: int) -> int:
        begun.append(i)
        if i:
            gate.wait(5)
        return i

    results = in_order(work, range(1000), 2)
    assert next(results) == 0
    results.close()
    gate.set()
    assert len(begun) <= 4


def test_an_error_that_is_no_fault_of_a_picture_comes_through() -> None:
    def work(i: int) -> int:
        if i == 3:
            raise MemoryError("none left")
        return i

    results = in_order(work, range(10), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(MemoryError, match="none left"):
        next(results)


SCRIPT = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
from specrun.runtime.images.decode import decode_all
from specrun.spec.plan.images import uniform
paths = [sys.argv[1]] * 1_000_000
try:
    for i, _ in enumerate(decode_all(paths, uniform(8, 8), 10**8, 2)):
        if i == 3:
            print("begun", flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
    sys.exit(130)
"""


def test_an_interrupt_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(MODES["png"]())
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "a.png")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process_:
        assert process_.stdout is not None
        assert process_.stdout.readline() == b"begun\n"
        os.kill(process_.pid, signal.SIGINT)
        out, err = process_.communicate(timeout=60)
    assert (out, process_.returncode) == (b"stopped\n", 130), err
