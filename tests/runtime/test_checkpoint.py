"""Checkpoints: restored bit for bit, or refused; the newest good one is found."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.loop.checkpoint import Checkpoints, Restored
from specrun.runtime.loop.position import Best, Patience, Standing
from specrun.runtime.loop.quiet import quiet_writers
from specrun.runtime.trees import flatten
from specrun.spec.diagnostics import RunError

FLIPS, PLACES = 2, 8
"""Flips in each file; places in the manifest, evenly over it."""


def state_of(step: int) -> dict[str, Any]:
    draw = np.random.default_rng(step)
    leaf = {
        "a": {"kernel": jnp.asarray(draw.standard_normal((40, 16), np.float32))},
        "b": jnp.float32(step),
    }
    return {
        "params": leaf,
        "frozen": {"c": jnp.asarray(draw.standard_normal(8, np.float32))},
        "optimizer": {
            "first": jax.tree.map(lambda x: x * 0.5, leaf),
            "second": jax.tree.map(lambda x: x * x, leaf),
            "count": {"a": {"kernel": jnp.int32(step)}, "b": jnp.int32(step)},
        },
        "step": jnp.int32(step),
    }


def abstract(segment: int) -> dict[str, Any]:
    device = jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), state_of(1)
    )


def standing_of(step: int) -> Standing:
    return Standing(
        step=step,
        segment=step % 3,
        evaluated=step - 1,
        best=Best(step=step - 1, metric="mrr@10", value=0.25, metrics={"mrr@10": 0.25}),
        patience=Patience(reference=0.25, without_improvement=1),
        training={"loss": 1.5},
        traces={"t0": 1},
    )


def saved(root: Path, *steps: int, keep: int = 3) -> None:
    checkpoints = Checkpoints(root, keep)
    for step in steps:
        checkpoints.save(state_of(step), standing_of(step))
    checkpoints.wait()
    checkpoints.close()


def restored(root: Path, target: Any = abstract) -> Restored | None:
    with quiet_writers(), closing(Checkpoints(root, 3)) as checkpoints:
        return checkpoints.restore(target)


def same(left: Any, right: Any) -> bool:
    a, b = flatten(left), flatten(right)
    return a.keys() == b.keys() and all(
        np.asarray(a[p]).tobytes() == np.asarray(b[p]).tobytes() and a[p].dtype == b[p].dtype
        for p in a
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkpoints") / "two"
    saved(root, 3, 4)
    return root


@pytest.fixture
def root(two: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(two, tmp_path / "c")
    return tmp_path / "c"


def files(step: Path) -> list[Path]:
    return sorted(p for p in step.rglob("*") if p.is_file() and p.stat().st_size)


def test_state_and_standing_come_back_bit_for_bit(two: Path):
    found = restored(two)
    assert found
    assert same(found.state, state_of(4))
    assert found.standing == standing_of(4)
    assert not found.damaged


def test_an_empty_folder_restores_nothing(tmp_path: Path):
    assert restored(tmp_path / "new") is None


def test_the_newest_are_kept_and_temporaries_removed(tmp_path: Path):
    saved(tmp_path / "c", 1, 2, 3, 4, keep=2)
    (tmp_path / "c" / "9.orbax-checkpoint-tmp").mkdir()
    checkpoints = Checkpoints(tmp_path / "c", 2)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["3", "4"]
    assert sorted(checkpoints.standings()) == [3, 4]
    checkpoints.close()


def test_a_manifest_is_read_once_and_not_where_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "c", 1, 2, keep=2)
    checkpoints = Checkpoints(tmp_path / "c", 2)
    read: list[int] = []
    manifest = checkpoints._manifest
    monkeypatch.setattr(
        checkpoints, "_manifest", lambda step: (read.append(step), manifest(step))[1]
    )
    assert checkpoints.standings() == {1: standing_of(1), 2: standing_of(2)}
    checkpoints.save(state_of(3), standing_of(3))
    checkpoints.wait()
    for _ in range(2):
        assert checkpoints.standings() == {2: standing_of(2), 3: standing_of(3)}
    assert read == [1, 2]
    checkpoints.close()


def test_flipped_bits_are_never_restored_silently(root: Path):
    """Either the flip is found and the older step taken, or it hit nothing that is restored."""
    draw = random.Random(5)
    good = {p: p.read_bytes() for p in files(root / "4")}
    backup = root.with_name("backup")
    shutil.copytree(root, backup)
    found_out = 0
    for path in FLIPS * list(good):
        content = bytearray(good[path])
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        found = restored(root)
        assert found
        if found.damaged:
            found_out += 1
            assert "step 4 is damaged" in found.damaged[0]
            assert same(found.state, state_of(3))
            assert found.standing == standing_of(3)
            shutil.copytree(backup / "4", root / "4")
        else:
            assert same(found.state, state_of(4)), path
            assert found.standing == standing_of(4), path
            path.write_bytes(good[path])
    assert found_out > FLIPS * len(good) / 4


def test_a_flipped_bit_in_the_manifest_is_always_found(root: Path):
    """It holds the early-stopping state and the best value, which no array's digest covers."""
    draw = random.Random(6)
    backup = shutil.copytree(root / "4", root.with_name("backup"))
    good = (root / "4" / "manifest" / "metadata").read_bytes()
    for place in range(PLACES):
        content = bytearray(good)
        content[(2 * place + 1) * len(content) // (2 * PLACES)] ^= 1 << draw.randrange(8)
        (root / "4" / "manifest" / "metadata").write_bytes(content)
        found = restored(root)
        assert found
        assert found.damaged
        assert found.standing == standing_of(3)
        shutil.copytree(backup, root / "4")


def test_a_changed_number_is_found_even_where_orbax_reads_it_happily(root: Path):
    """What is restored is compared with what was saved, whoever changed it, and however."""
    shutil.rmtree(root / "4")
    checkpoints = Checkpoints(root, 3)
    other = state_of(4)
    other["params"]["a"]["kernel"] = other["params"]["a"]["kernel"].at[3, 3].add(1e-6)
    checkpoints.save(other, standing_of(4))
    checkpoints.wait()
    checkpoints.close()
    good = state_of(4)
    saved(root.with_name("good"), 4)
    shutil.copytree(
        root.with_name("good") / "4" / "manifest", root / "4" / "manifest", dirs_exist_ok=True
    )
    found = restored(root)
    assert found
    assert "params.a.kernel: sha256 is" in found.damaged[0]
    assert not same(found.state, good)


def test_a_truncated_or_missing_file_is_found(root: Path):
    backup = shutil.copytree(root / "4", root.with_name("backup"))
    needed = 0
    for name in [p.relative_to(backup) for p in files(backup)]:
        for cut in (None, 0.5):
            path = root / "4" / name
            if cut is None:
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
            found = restored(root)
            assert found
            assert same(found.state, state_of(3 if found.damaged else 4)), name
            needed += bool(found.damaged)
            shutil.rmtree(root / "4", ignore_errors=True)
            shutil.copytree(backup, root / "4")
    assert needed >= 6


def test_a_wrong_shape_and_a_missing_leaf_are_named(two: Path, tmp_path: Path):
    def wider(segment: int) -> Any:
        target = abstract(segment)
        leaf = target["params"]["b"]
        target["params"]["b"] = jax.ShapeDtypeStruct((2,), leaf.dtype, sharding=leaf.sharding)
        target["frozen"]["d"] = leaf
        return target

    with pytest.raises(RunError) as error:
        restored(shutil.copytree(two, tmp_path / "c"), wider)
    assert "params.b was saved as ('float32', []), the plan has ('float32', [2])" in str(
        error.value
    )
    assert "frozen.d was saved as None" in str(error.value)


def test_when_all_are_damaged_nothing_is_removed(root: Path):
    for step in ("3", "4"):
        (root / step / "manifest" / "metadata").write_text("{}")
    with pytest.raises(RunError, match=r"step 4 is damaged.*step 3 is damaged.*No good checkpoint"):
        restored(root)
    assert {p.name for p in root.iterdir()} == {"3", "4"}


def test_a_damaged_step_can_be_saved_again(root: Path):
    (root / "4" / "manifest" / "metadata").unlink()
    with quiet_writers(), closing(Checkpoints(root, 3)) as checkpoints:
        found = checkpoints.restore(abstract)
        assert found
        assert found.standing.step == 3
        checkpoints.save(state_of(4), standing_of(4))
        checkpoints.wait()
    again = restored(root)
    assert again
    assert same(again.state, state_of(4))


def test_a_checkpoint_in_the_place_of_another_is_found(root: Path):
    shutil.rmtree(root / "4")
    shutil.copytree(root / "3", root / "4")
    found = restored(root)
    assert found
    assert "manifest is that of step 3" in found.damaged[0]


def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path / "c", 3)
    checkpoints.save(state_of(1), standing_of(1))
    checkpoints.wait()
    bad = state_of(2)
    bad["params"]["b"] = jnp.float32(jnp.inf)
    with pytest.raises(
        RunError, match=r"params\.b after step 2; the last good checkpoint is that of step 1"
    ):
        checkpoints.save(bad, standing_of(2))
    checkpoints.close()
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["1"]


def test_restored_arrays_survive_donation(two: Path):
    """A step takes over the arrays; the first restore must not leave views on them behind."""
    found = restored(two)
    assert found
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    expected = jax.tree.map(lambda x: np.asarray(x) + 1, state_of(4))
    assert same(jax.tree.map(np.asarray, step(found.state)), expected)


def test_failures_of_background_writers_are_not_told_twice(caplog: pytest.LogCaptureFixture):
    logger = logging.getLogger("asyncio")
    with quiet_writers():
        logger.error("%s exception was never retrieved", "_GatheringFuture")
        logger.error("something else")
    logger.error("Task exception was never retrieved")
    assert caplog.messages == ["something else", "Task exception was never retrieved"]
