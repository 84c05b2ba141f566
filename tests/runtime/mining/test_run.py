"""Runs that mine: events, files, batches, going on, and what is refused."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specrun
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.split import normalise
from specrun.runtime.data.tokens import ensure_tokens
from specrun.runtime.loop.events import read_events
from specrun.runtime.loop.run import summary
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.plan import Plan
from tests.faults.bench import SPEC, tiny_rows
from tests.runtime.runs import keeping_compiled, stop_after

MINED = "data.negatives={kind: mined, refresh_every_steps: 16, top_k: 20, num_negatives: 2}"
MORE = (MINED, "curriculum=null", "train.max_steps=40", "evaluation.every_steps=20")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("mining")
    (root / "rows.jsonl").write_text(tiny_rows(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, keeping_compiled(root / "compiled"):
        patch.setenv("SPECRUN_CACHE", str(root / "cache"))
        patch.chdir(root)
        yield root


@pytest.fixture(autouse=True)
def here(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECRUN_CACHE", str(work / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(work: Path, *overrides: str) -> Plan:
    return specrun.compile(
        SPEC.format(rows=work / "rows.jsonl"), overrides=(*MORE, *overrides), environ={}
    )


@pytest.fixture(scope="module")
def whole(work: Path) -> Any:
    """An undisturbed run, its folder kept in ``work``."""
    (work / "whole").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work / "whole")
        return specrun.run(made(work))


def events_of(folder: Path) -> list[dict[str, Any]]:
    return [dict(e) for e in read_events(folder / "events.jsonl") if e["kind"] == "mined"]


def snapshot(folder: Path, event: dict[str, Any]) -> np.ndarray:
    return np.load(folder / event["file"], allow_pickle=False)


def test_the_plan_says_when_and_how_many(work: Path):
    plan = made(work)
    assert plan.data.mining is not None
    assert plan.data.mining.after == (0, 16, 32)
    assert plan.losses[0].negatives == "all"
    assert plan.train.negatives_per_query == 15 + 16 * 2
    assert plan.data.negatives == 2
    from specrun.compiler.summary import summary as told

    assert "2 a row, mined 3 times from the 20 nearest (exact)" in told(plan)


def test_every_snapshot_is_a_file_with_an_event(work: Path, whole: Any):
    folder = work / "whole/run"
    found = events_of(folder)
    assert [e["after"] for e in found] == [0, 16, 32]
    rows = ensure_rows(made(work).data).training
    for event in found:
        content = (folder / event["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == event["sha256"]
        mined = snapshot(folder, event)
        assert mined.dtype == np.int32
        assert mined.shape == (len(rows), 2)
        assert event["negatives"] == (mined >= 0).sum() > 0
        assert event["rows_without"] == (mined < 0).all(axis=1).sum()
        for row, negatives in enumerate(mined):
            own = normalise(rows.positives[row])
            assert all(normalise(rows.positives[i]) != own for i in negatives if i >= 0)
    assert found[0]["sha256"] != found[1]["sha256"] != found[2]["sha256"]


def test_traces_are_as_promised_and_the_overhead_is_told(work: Path, whole: Any):
    assert whole.traces["counted"] == whole.traces["promised"] == 1
    assert whole.times["mining"] > 0
    assert 0 < whole.speed["mining_share"] < 1
    assert "mining     " in summary(whole)
    assert "of training and mining" in summary(whole)
    card = (work / "whole/run/best/README.md").read_text()
    assert "Mined negatives" in card


def test_a_snapshot_is_what_the_weights_of_its_step_find(work: Path, whole: Any):
    """The first snapshot, from the starting weights, against scores of all rows with all rows."""
    from specrun.runtime.program.program import build_program

    plan = made(work)
    rule = plan.data.mining
    rows, tokens = ensure_rows(plan.data), ensure_tokens(plan.data, plan.tokenizer)
    program = build_program(plan)
    state = program.init(plan.seed)

    def embedded(side: str, texts: Any, length: int) -> np.ndarray:
        ids, mask = texts.gather(np.arange(len(texts)), length, tokens.pad_id)
        found = np.asarray(program.encode(state, ids, mask, side))
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    scores = (
        embedded("query", tokens.training.queries, 16)
        @ embedded("positive", tokens.training.positives, 32).T
    )
    mined = snapshot(work / "whole/run", events_of(work / "whole/run")[0])
    for row in range(len(rows.training)):
        limit = scores[row, row] * (1 - rule.relative_margin)
        order = [i for i in np.argsort(-scores[row]) if i != row][: rule.top_k]
        hard = [i for i in order if scores[row, i] < limit - 1e-5][:2]
        near = {i for i in order if abs(scores[row, i] - limit) <= 1e-5}
        if not near:
            close = scores[row, mined[row][mined[row] >= 0]]
            np.testing.assert_allclose(close, scores[row, hard], atol=1e-5)


def test_batches_carry_the_snapshot(work: Path, whole: Any):
    plan = made(work)
    rows, tokens = ensure_rows(plan.data), ensure_tokens(plan.data, plan.tokenizer)
    batches = Batches(plan, tokens, rows)
    with pytest.raises(RunError, match="none are mined yet"):
        batches.at(3)
    mined = snapshot(work / "whole/run", events_of(work / "whole/run")[1]).copy()
    mined[5] = [7, -1]
    given = batches.under(mined)
    for step in range(14):
        _, batch = given.at(step)
        assert batch.negative_ids is not None
        assert batch.negative_ids.shape == (1, 16, 2, batch.positive_ids.shape[-1])
        for i, row in enumerate(batch.row[0].tolist()):
            for j, negative in enumerate(mined[row].tolist()):
                there = negative >= 0 and batch.weight[0, i] > 0
                assert batch.negative_weight[0, i, j] == float(there)
                ids = batch.negative_ids[0, i, j][batch.negative_mask[0, i, j]]
                want = tokens.training.positives[negative] if negative >= 0 else [tokens.pad_id]
                np.testing.assert_array_equal(ids, want)
        np.testing.assert_array_equal(batch.negative_ids, given.at(step)[1].negative_ids)


def searched(plan: Plan) -> np.ndarray:
    """What is mined with the weights that the plan starts from."""
    from specrun.runtime.loop.folder import RunFolder
    from specrun.runtime.mining.miner import Miner
    from specrun.runtime.program.program import build_program

    assert plan.data.mining is not None
    rows, tokens = ensure_rows(plan.data), ensure_tokens(plan.data, plan.tokenizer)
    program = build_program(plan)
    miner = Miner(plan, plan.data.mining, rows, tokens, program, RunFolder(Path("none")))
    return miner.search(program.init(plan.seed))


def test_another_backend_mines_the_same(work: Path, whole: Any):
    pytest.importorskip("faiss")
    ours = snapshot(work / "whole/run", events_of(work / "whole/run")[0])
    np.testing.assert_array_equal(ours, searched(made(work, "data.negatives.backend=faiss")))


def same_end(work: Path, result: Any, whole: Any) -> None:
    """The run here ended with the bytes of the undisturbed one."""
    assert result.parameters_sha256 == whole.parameters_sha256
    for name in ("events.jsonl", "metrics.jsonl"):
        assert Path("run", name).read_bytes() == (work / "whole/run" / name).read_bytes()


def test_going_on_at_a_step_of_mining_ends_the_same(work: Path, whole: Any):
    plan = made(work)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(16, patch)
        with pytest.raises(specrun.SpecrunError, match="saved after step 16"):
            specrun.run(plan)
    assert [e["after"] for e in events_of(Path("run"))] == [0]
    same_end(work, specrun.run(plan), whole)


def test_going_on_between_two_reads_the_file_and_a_lost_one_is_an_error(work: Path, whole: Any):
    plan = made(work)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(18, patch)
        with pytest.raises(specrun.SpecrunError, match="saved after step 18"):
            specrun.run(plan)
    assert [e["after"] for e in events_of(Path("run"))] == [0, 16]
    path = Path("run/negatives/00000016.npy")
    content = path.read_bytes()
    for damaged, said in (
        (None, "cannot be read"),
        (content[:-4], "does not match the digest"),
        (content[:-1] + b"\1", "does not match the digest"),
    ):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.raises(RunError, match=said) as error:
            specrun.run(plan)
        assert "mined after step 16" in str(error.value)
        path.write_bytes(content)
    Path("run/negatives/00000032.npy").write_bytes(b"of no event")
    same_end(work, specrun.run(plan), whole)


def test_a_full_disk_while_mining_is_told(work: Path, whole: Any):
    """The file of the second snapshot cannot be written; with room again the run goes on."""
    from specrun.runtime.mining import miner

    plan, before = made(work), resource.getrlimit(resource.RLIMIT_FSIZE)
    original = miner.write_snapshot

    def full(folder: Any, step: int, rows: Any) -> Any:
        if step != 16:
            return original(folder, step, rows)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            return original(folder, step, rows)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(miner, "write_snapshot", full)
        with pytest.raises(RunError, match="cannot write the mined negatives: the disk is full"):
            specrun.run(plan)
    assert [p.name for p in Path("run/negatives").iterdir()] == ["00000000.npy"]
    assert specrun.run(plan).parameters_sha256 == whole.parameters_sha256


def test_an_interrupt_while_mining_saves_what_is_done(work: Path, whole: Any):
    import os
    import signal

    from specrun.runtime.mining.miner import Miner

    plan = made(work)
    original = Miner.mine

    def interrupted(miner: Miner, step: int, *args: Any) -> Any:
        if step == 16:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(miner, step, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Miner, "mine", interrupted)
        with pytest.raises(specrun.SpecrunError, match="saved after step 16"):
            specrun.run(plan)
    assert [e["after"] for e in events_of(Path("run"))] == [0]
    assert specrun.run(plan).parameters_sha256 == whole.parameters_sha256


def test_faiss_that_is_not_installed_is_refused_before_the_run(
    work: Path, monkeypatch: pytest.MonkeyPatch
):
    from specrun.runtime.mining import nearest

    plan = made(work, "data.negatives.backend=faiss")
    monkeypatch.setattr(nearest, "find_spec", lambda name: None)
    with pytest.raises(specrun.InputError, match="not installed here"):
        specrun.run(plan)
    assert not Path("run/plan.json").exists()


def test_the_cost_counts_the_search(work: Path):
    """Weights, moments, all embeddings, and three copies of a tile of 184 × (184 + 2 · 20) scores."""
    plan = made(work)
    waiting = 3 * plan.model.total_parameters
    assert plan.data.scan.training_rows == 184
    assert plan.cost.mining_bytes == 4 * (waiting + 2 * 184 * 16 + 3 * 184 * (184 + 40))
    assert made(work, "data.negatives=null").cost.mining_bytes == 0
    from specrun.compiler.cost import memory
    from specrun.runtime.mining import nearest

    assert memory.SEARCHED == (nearest.QUERY_TILE, nearest.DOCUMENT_TILE)
    with pytest.raises(specrun.InputError, match="while negatives are mined"):
        made(work, "hardware.max_memory_gb=0.0005", "train.micro_batch_size=1", "evaluation=null")


@pytest.mark.parametrize(
    ("setting", "code", "path"),
    [
        ("refresh_every_steps=41", "beyond-the-end", "data.negatives.refresh_every_steps"),
        ("top_k=300", "too-few-rows", "data.negatives.top_k"),
    ],
)
def test_what_the_data_cannot_give_is_refused(work: Path, setting: str, code: str, path: str):
    with pytest.raises(specrun.InputError) as error:
        made(work, f"data.negatives.{setting}")
    found = [d for d in error.value.diagnostics if d.severity == "error"]
    assert [(d.code, d.path) for d in found] == [(code, path)]
    assert found[0].hint


def test_rows_of_one_label_are_no_negatives(work: Path):
    lines = [json.loads(x) for x in tiny_rows().splitlines()]
    labelled = [{**row, "topic": i % 3} for i, row in enumerate(lines)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    plan = specrun.compile(
        SPEC.format(rows="rows.jsonl"),
        overrides=(*MORE, "data.columns.label=topic"),
        environ={},
    )
    labels = np.asarray(ensure_rows(plan.data).training.labels)
    mined = searched(plan)
    there = mined >= 0
    assert there.any()
    assert not (there & (labels[mined] == labels[:, None])).any()


def test_a_longer_horizon_goes_on(work: Path, whole: Any):
    """The negatives mined before stay; later ones are mined when their steps come."""
    shutil.copytree(work / "whole/run", "run")
    longer = made(work, "train.max_steps=60", "schedule={kind: constant}")
    assert longer.data.mining is not None
    assert longer.data.mining.after == (0, 16, 32, 48)
    result = specrun.run(longer, extend=True)
    assert result.steps == 60
    assert [e["after"] for e in events_of(Path("run"))] == [0, 16, 32, 48]


def test_steps_with_gradient_chunks_and_own_negatives_run(work: Path):
    result = specrun.run(
        made(
            work,
            "train.micro_batch_size=8",
            "train.max_steps=16",
            "losses=[{kind: infonce, negatives: own}]",
            "matryoshka={dims: [16, 8]}",
        )
    )
    assert result.traces["counted"] == result.traces["promised"]
