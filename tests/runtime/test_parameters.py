"""Folders of parameters: the same bytes for the same numbers, old or new at any kill, every damage named."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.loop.digests import leaf_digests, whole_digest
from specrun.runtime.loop.parameters import (
    MANIFEST,
    PARAMETERS,
    copy_parameters,
    read_manifest,
    read_parameters,
    write_parameters,
)
from specrun.runtime.trees import Tree, flatten
from specrun.spec.diagnostics import InputError

KILLS = 12


def tree(scale: float = 1.0) -> Tree:
    return {
        "groups": {"0": {"kernel": scale * np.arange(12, dtype=np.float32).reshape(2, 3, 2)}},
        "losses": {"infonce": {"log_scale": np.float32(scale)}},
        "empty": np.zeros((0, 4), np.float32),
    }


def test_what_is_written_is_read(tmp_path: Path):
    folder = tmp_path / "best"
    digest = write_parameters(folder, tree(), {"step": 3})
    found = read_parameters(folder)
    assert flatten(found).keys() == flatten(tree()).keys()
    for path, leaf in flatten(tree()).items():
        other = flatten(found)[path]
        assert (other.dtype, other.shape) == (np.float32, np.shape(leaf))
        np.testing.assert_array_equal(other, leaf)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest["step"], manifest["parameters_sha256"]) == (3, digest)
    assert digest == whole_digest(leaf_digests(tree()))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best"]


def test_equal_parameters_are_equal_bytes(tmp_path: Path):
    """Whatever the order of the keys, the layout in memory, and the library that holds the array."""
    turned = {k: tree()[k] for k in reversed(tree())}
    kernel = tree()["groups"]["0"]["kernel"]
    for name, own in (("f", np.asfortranarray(kernel)), ("j", jnp.asarray(kernel))):
        turned["groups"] = {"0": {"kernel": own}}
        write_parameters(tmp_path / name, turned, {})
    write_parameters(tmp_path / "a", tree(), {})
    for file in (PARAMETERS, MANIFEST):
        assert len({(tmp_path / name / file).read_bytes() for name in "afj"}) == 1


def test_the_digest_tells_path_shape_dtype_and_numbers_apart():
    base = {"a": {"b": np.zeros((2, 3), np.float32)}}
    others = [
        {"a": {"c": np.zeros((2, 3), np.float32)}},
        {"a": {"b": np.zeros((3, 2), np.float32)}},
        {"a": {"b": np.zeros((2, 3), np.int32)}},
        {"a": {"b": np.full((2, 3), -0.0, np.float32)}},
    ]
    assert len({whole_digest(leaf_digests(x)) for x in (base, *others)}) == 5


def test_a_new_folder_replaces_the_old_one(tmp_path: Path):
    folder = tmp_path / "best"
    write_parameters(folder, tree(), {})
    (tmp_path / ".best.new").mkdir()  # what a killed writer left
    (tmp_path / ".best.new" / "half").write_text("x")
    write_parameters(folder, tree(2.0), {})
    np.testing.assert_array_equal(read_parameters(folder)["losses"]["infonce"]["log_scale"], 2.0)
    copy_parameters(folder, tmp_path / "final")
    assert (tmp_path / "final" / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "final"]


@pytest.mark.parametrize("name", [MANIFEST, PARAMETERS])
def test_any_damage_is_an_input_error_or_no_damage_to_the_numbers(tmp_path: Path, name: str):
    folder = tmp_path / "best"
    write_parameters(folder, tree(), {"step": 3})
    whole, draw = (folder / name).read_bytes(), random.Random(0)
    caught = 0
    for _ in range(600):
        (folder / name).write_bytes(damaged(whole, draw))
        found = read_or_fault(folder)
        if isinstance(found, InputError):
            assert str(folder) in str(found)
            caught += 1
        else:
            assert whole_digest(leaf_digests(found)) == whole_digest(leaf_digests(tree()))
    assert caught > 550


def read_or_fault(folder: Path) -> Tree | InputError:
    try:
        return read_parameters(folder)
    except InputError as error:
        return error


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A flipped bit, a cut end, or a hole."""
    at = draw.randrange(len(whole))
    kind = draw.randrange(3)
    if kind == 0:
        return whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
    return whole[:at] + (whole[at + draw.randrange(1, 30) :] if kind == 1 else b"")


def test_missing_files_are_named(tmp_path: Path):
    folder = tmp_path / "best"
    for name in (PARAMETERS, MANIFEST):
        write_parameters(folder, tree(), {})
        (folder / name).unlink()
        with pytest.raises(InputError, match=name):
            read_parameters(folder)
    with pytest.raises(InputError, match=MANIFEST):
        read_parameters(tmp_path / "nothing")


WRITER = """
import itertools, sys
from pathlib import Path
import numpy as np
from specrun.runtime.loop.parameters import write_parameters
for i in itertools.count(1):
    leaf = np.full(20000, i, np.float32)
    write_parameters(Path(sys.argv[1]), {"a": leaf, "b": leaf}, {"step": i})
"""


def test_a_kill_at_any_moment_leaves_one_complete_folder(tmp_path: Path):
    folder, draw = tmp_path / "best", random.Random(0)
    write_parameters(folder, {"a": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)}, {})
    for _ in range(KILLS):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)])
        before = folder.stat().st_ino
        while writer.poll() is None and folder.stat().st_ino == before:
            time.sleep(0.01)  # never missing, or this raises
        time.sleep(draw.random() * 0.05)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        found = read_parameters(folder)
        assert found["a"][0] == found["b"][-1] > 0
