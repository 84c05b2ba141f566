"""The array of all pictures: made once, verified, each content once, and told when it cannot be made."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from specrun.runtime import cache as store
from specrun.runtime.images import cache as module
from specrun.runtime.images.cache import Images, image_cache, image_digests
from specrun.runtime.images.decode import decode
from specrun.runtime.images.faults import BadImage
from specrun.runtime.images.pixels import process
from specrun.runtime.telling import Tell, silent
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.images import ImageProcessor, uniform
from tests.faults.full_disk import full_disk
from tests.runtime.images.pictures import noise, saved

MANY = 10**8
PROCESSOR = uniform(12, 20)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPECRUN_CACHE", str(folder))
    return folder


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Seven files: 1 and 4 have equal content, 2 is text, 6 is cut short."""
    found = []
    for i in range(7):
        path = tmp_path / f"{i}.png"
        path.write_bytes(saved(noise(30, 20 + i, seed=1 if i == 4 else i), "PNG"))
        found.append(str(path))
    shutil.copy(found[1], found[4])
    Path(found[2]).write_text("no picture")
    Path(found[6]).write_bytes(Path(found[0]).read_bytes()[:-20])
    return found


def digests(paths: list[str]) -> list[str]:
    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]


def made(
    paths: list[str],
    workers: int = 2,
    *,
    known: list[str] | None = None,
    processor: ImageProcessor = PROCESSOR,
    max_pixels: int = MANY,
    tell: Tell = silent,
) -> Images:
    known = digests(paths) if known is None else known
    return image_cache(paths, known, processor, max_pixels, workers, tell)


def never(*_: object) -> None:
    raise AssertionError("decoded again")


def check(images: Images, paths: list[str]) -> None:
    for i, path in enumerate(paths):
        if images.index[i] >= 0:
            expected = process(decode(path, MANY), PROCESSOR)
            np.testing.assert_array_equal(images.pixels[images.index[i]], expected)


def test_each_content_is_stored_once_and_found_by_its_index(paths: list[str]) -> None:
    images = made(paths)
    check(images, paths)
    assert images.pixels.shape == (4, 12, 20, 3)
    assert images.pixels.dtype == np.uint8
    assert isinstance(images.pixels, np.memmap)
    assert not images.pixels.flags.writeable
    assert len(images) == 7
    assert images.index[1] == images.index[4]
    assert sorted(set(images.index[[0, 1, 3, 5]])) == [0, 1, 2, 3]
    assert images.index[[2, 6]].tolist() == [-1, -1]
    assert {i: (b.reason, b.path) for i, b in images.bad.items()} == {
        2: ("broken_image", paths[2]),
        6: ("truncated_image", paths[6]),
    }


def test_rows_are_gathered_by_their_number(paths: list[str]) -> None:
    images = made(paths)
    rows = np.array([[0, 4], [5, 1]])
    found = images.gather(rows)
    assert found.shape == (2, 2, 12, 20, 3)
    np.testing.assert_array_equal(found[0, 1], found[1, 1])
    np.testing.assert_array_equal(found[1, 0], process(decode(paths[5], MANY), PROCESSOR))
    with pytest.raises(ValueError, match="a bad picture has no pixels"):
        images.gather(np.array([0, 2]))


def test_what_is_there_is_not_made_again_in_any_order_of_the_paths(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, known = made(paths), digests(paths)
    monkeypatch.setattr(module, "pixels_of", never)
    monkeypatch.setattr(module, "read", never)
    again = made(paths[::-1], known=known[::-1])
    np.testing.assert_array_equal(again.index, first.index[::-1])
    np.testing.assert_array_equal(again.pixels, first.pixels)
    assert again.bad[4].detail == first.bad[2].detail
    assert made([*paths, paths[0]], known=[*known, known[0]]).index[-1] == first.index[0]


@pytest.mark.parametrize("workers", [1, 5])
def test_the_bytes_do_not_depend_on_the_workers(
    paths: list[str], workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = np.array(made(paths, 2).pixels)
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "other"))
    np.testing.assert_array_equal(made(paths, workers).pixels, first)


def test_another_processor_limit_or_version_is_another_array(
    paths: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(paths)
    assert made(paths, processor=uniform(12, 21)).pixels.shape == (4, 12, 21, 3)
    assert made(paths, max_pixels=100).pixels.shape == (0, 12, 20, 3)
    monkeypatch.setattr(module.PIL, "__version__", "0.1")
    made(paths)
    monkeypatch.setattr(module, "FORMAT", 99)
    made(paths)
    assert len(list((root / "images").iterdir())) == 5


def test_no_pictures_and_only_bad_ones(paths: list[str]) -> None:
    assert made([]).pixels.shape == (0, 12, 20, 3)
    only = made([paths[2]])
    assert (len(only.bad), only.index.tolist()) == (1, [-1])


@pytest.mark.parametrize("name", ["pixels.u1", "bad.json"])
@pytest.mark.parametrize("how", ["truncate", "flip", "delete"])
def test_a_damaged_array_is_made_again(paths: list[str], root: Path, name: str, how: str) -> None:
    made(paths)
    (folder,) = (root / "images").iterdir()
    content = bytearray((folder / name).read_bytes())
    content[0] ^= 1
    match how:
        case "truncate":
            os.truncate(folder / name, len(content) // 2)
        case "flip":
            (folder / name).write_bytes(content)
        case "delete":
            (folder / name).unlink()
    check(made(paths), paths)


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_file_that_is_another_by_now_is_told(paths: list[str], root: Path, how: str) -> None:
    known = digests(paths)
    if how == "changed":
        Path(paths[3]).write_bytes(saved(noise(9, 9), "PNG"))
        said = "has changed since it was first read"
    else:
        Path(paths[3]).unlink()
        said = "can no longer be read: .*3.png: missing image: No such file"
    with pytest.raises(InputError, match=said) as caught:
        made(paths, known=known)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "image-changed"
    assert "compile again" in diagnostic.hint
    assert list((root / "images").iterdir()) == []


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    paths: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, _: object) -> None:
            full_disk()

    def open_full(path: Path, mode: str = "r", *rest: object):
        return Full() if path.name == "pixels.u1" and "w" in mode else real(path, mode, *rest)  # pyright: ignore

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(RunError, match=r"No space left on device.*SPECRUN_CACHE"):
        made(paths)
    monkeypatch.undo()
    assert list((root / "images").iterdir()) == []


SCRIPT = """\
import resource, sys
from pathlib import Path
from specrun.runtime.images.cache import image_cache, image_digests
from specrun.spec.plan.images import uniform
from specrun.spec.diagnostics import RunError
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
paths = sys.argv[1:]
try:
    image_cache(paths, image_digests(paths, 10**8, 2), uniform(12, 20), 10**8, 2)
except RunError as error:
    print(error)
    sys.exit(3)
"""


def test_a_limit_on_writing_is_told_by_a_real_process(paths: list[str], root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert f"cannot write the cache below {root}/images: File too large" in done.stdout
    assert list((root / "images").iterdir()) == []


def test_too_little_space_is_told_before_anything_is_decoded(
    paths: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(100, 90, 10))
    monkeypatch.setattr(module, "pixels_of", never)
    said = r"6 pictures of 12 × 20 pixels take 4.2 KiB, and 10 B are free .*SPECRUN_CACHE"
    with pytest.raises(RunError, match=said):
        made(paths)
    assert list((root / "images").iterdir()) == []


def test_an_interrupt_leaves_nothing(
    paths: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(job: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "TOLD_EVERY", 2)
    with pytest.raises(KeyboardInterrupt):
        made(paths, tell=interrupt)
    assert list((root / "images").iterdir()) == []
    assert store.find("images", "ab" * 32) is None


def test_digests_are_those_of_the_files_and_faults_stand_in_their_place(paths: list[str]) -> None:
    Path(paths[3]).unlink()
    found = image_digests(paths, MANY, 2)
    assert [d for i, d in enumerate(found) if i != 3] == digests([*paths[:3], *paths[4:]])
    fault = found[3]
    assert isinstance(fault, BadImage)
    assert (fault.reason, fault.path) == ("missing_image", paths[3])


def test_what_is_done_is_told(paths: list[str]) -> None:
    told: list[tuple[str, int, int]] = []
    known = image_digests(paths, MANY, 2, lambda *said: told.append(said))
    made(paths, known=known, tell=lambda *said: told.append(said))
    assert told == [("reading pictures", 7, 7), ("decoding pictures", 6, 6)]
