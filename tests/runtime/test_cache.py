"""Artefacts are complete or absent, whoever writes them, whatever kills the writer and however full the disk."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from specrun.runtime import cache
from specrun.spec.diagnostics import RunError
from tests.faults.full_disk import full_disk

KEY = "sha256:" + "ab" * 32


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPECRUN_CACHE", str(folder))
    return folder


def write(folder: Path) -> None:
    (folder / "a").write_bytes(b"first" * 100)
    (folder / "b").write_bytes(b"second")


def never(folder: Path) -> None:
    raise AssertionError("written again")


def left(root: Path, kind: str = "kind") -> list[str]:
    return sorted(p.name for p in (root / kind).iterdir())


def test_an_artefact_is_written_once_and_found_by_its_key(root: Path) -> None:
    folder = cache.make("kind", KEY, write)
    assert cache.make("kind", KEY, never) == folder
    assert cache.find("kind", KEY) == cache.find("kind", "ab" * 32) == folder
    assert left(root) == ["ab" * 32]
    assert cache.find("kind", "cd" * 32) is None
    assert cache.find("other", KEY) is None


def test_content_names_an_artefact(root: Path) -> None:
    key, folder = cache.add("kind", write)
    assert cache.add("kind", write) == (key, folder)
    assert cache.find("kind", key) == folder
    assert key == "sha256:" + cache.file_digest(folder / cache.MANIFEST)
    assert left(root) == [folder.name]


@pytest.mark.parametrize("how", ["flip", "truncate", "lengthen", "delete"])
@pytest.mark.parametrize("name", ["a", "b", cache.MANIFEST])
@pytest.mark.parametrize("by", ["key", "content"])
def test_damage_is_noticed_and_made_good(by: str, name: str, how: str) -> None:
    def store() -> tuple[str, Path]:
        return (
            cache.add("kind", write) if by == "content" else (KEY, cache.make("kind", KEY, write))
        )

    key, folder = store()
    raw = (folder / name).read_bytes()
    damage(folder / name, how)
    assert cache.find("kind", key) is None
    assert not folder.exists()
    assert store() == (key, folder)
    assert (folder / name).read_bytes() == raw


def damage(path: Path, how: str) -> None:
    raw = path.read_bytes()
    match how:
        case "flip":
            path.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
        case "truncate":
            path.write_bytes(raw[:-1])
        case "lengthen":
            path.write_bytes(raw + b"x")
        case _:
            path.unlink()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "3",
        '{"files": {}}',
        '{"files": 3}',
        "[" * 100_000,
        "\udcff",
        '{"files": {"a": 1}}',
    ],
    ids=lambda text: text[:8] or "empty",
)
@pytest.mark.parametrize("by", ["key", "content"])
def test_a_strange_manifest_vouches_for_nothing(by: str, text: str) -> None:
    key, folder = (
        cache.add("kind", write) if by == "content" else (KEY, cache.make("kind", KEY, write))
    )
    (folder / cache.MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert cache.find("kind", key) is None


def test_an_artefact_under_another_name_is_not_taken_for_it(root: Path) -> None:
    folder = cache.make("kind", KEY, write)
    folder.rename(root / "kind" / ("cd" * 32))
    assert cache.find("kind", "cd" * 32) is None


def test_a_file_in_the_place_of_an_artefact_gives_way(root: Path) -> None:
    (root / "kind").mkdir(parents=True)
    (root / "kind" / ("ab" * 32)).write_text("in the way")
    assert cache.make("kind", KEY, write).is_dir()
    assert left(root) == ["ab" * 32]


@pytest.mark.parametrize("step", ["write", "fsync", "rename", "mkdir"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    root: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_too_much(folder: Path) -> None:
        write(folder)
        full_disk()

    with monkeypatch.context() as patch:
        match step:
            case "fsync":
                patch.setattr(cache.os, "fsync", full_disk)
            case "rename":
                patch.setattr(cache, "_move", full_disk)
            case "mkdir":
                patch.setattr(cache.tempfile, "mkdtemp", full_disk)
        with pytest.raises(RunError, match=r"No space left on device.*SPECRUN_CACHE"):
            cache.make("kind", KEY, write_too_much if step == "write" else write)
    assert left(root) == []
    assert cache.make("kind", KEY, write).is_dir()


def test_what_the_writer_raises_comes_through_and_leaves_nothing(root: Path) -> None:
    def broken(folder: Path) -> None:
        write(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.make("kind", KEY, broken)
    assert left(root) == []


def test_a_file_for_a_cache_is_a_clear_error(root: Path) -> None:
    root.write_text("not a folder")
    assert cache.find("kind", KEY) is None
    with pytest.raises(RunError, match=r"cannot write the cache below .*SPECRUN_CACHE"):
        cache.make("kind", KEY, write)


def test_an_unreadable_cache_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "is_dir", forbidden)
    with pytest.raises(RunError, match=r"cannot read the cache below .*Permission denied"):
        cache.find("kind", KEY)


def test_an_artefact_that_can_be_neither_read_nor_removed_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = cache.make("kind", KEY, write)
    (folder / "a").write_bytes(b"damaged")
    monkeypatch.setattr(cache, "_remove", lambda _: None)
    with pytest.raises(RunError, match="cannot write the cache"):
        cache.make("kind", KEY, write)


def test_a_home_that_is_not_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECRUN_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(RunError, match="SPECRUN_CACHE"):
        cache.cache_root()


def test_the_root_follows_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cache_root() == tmp_path / "cache"
    monkeypatch.delenv("SPECRUN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache.cache_root() == tmp_path / "shared" / "specrun"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_root() == tmp_path / ".cache" / "specrun"


WRITER = """\
import sys, time
from specrun.runtime import cache

def write(folder):
    (folder / "a").write_text("half")
    print("writing", flush=True)
    time.sleep(float(sys.argv[1]))
    (folder / "a").write_text("whole")

print(cache.make("kind", "ab" * 32, write))
"""


def start(seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_writer_leaves_nothing_to_be_found(root: Path) -> None:
    process = start(60)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (remains,) = left(root)
    assert cache.find("kind", KEY) is None
    cache.make("kind", KEY, write)
    assert remains in left(root), "it may be of a writer that is still at work"
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(root / "kind" / remains, (long_ago, long_ago))
    cache.make("kind", "cd" * 32, write)
    assert left(root) == ["ab" * 32, "cd" * 32]


def test_two_writers_at_once_agree(root: Path) -> None:
    processes = [start(0.3), start(0.3)]
    said = [p.communicate(timeout=30)[0].splitlines() for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert {lines[-1] for lines in said} == {str(root / "kind" / ("ab" * 32))}
    assert left(root) == ["ab" * 32]
    assert cache.find("kind", KEY) is not None


def test_the_key_of_a_value_is_canonical() -> None:
    assert cache.digest_of({"b": 1, "a": [2, "é\udc80"]}) == cache.digest_of(
        {"a": [2, "é\udc80"], "b": 1}
    )
    assert cache.digest_of({"a": 1}) != cache.digest_of({"a": 2})
    with pytest.raises(ValueError, match="Out of range"):
        cache.digest_of({"a": float("nan")})


def test_a_manifest_names_every_file() -> None:
    folder = cache.make("kind", KEY, write)
    manifest = json.loads((folder / cache.MANIFEST).read_text())
    assert manifest["key"] == "ab" * 32
    assert {name: size for name, (_, size) in manifest["files"].items()} == {"a": 500, "b": 6}
