"""Runs that learn from a frozen teacher: its embeddings, batches, going on, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specrun
from specrun.runtime import cache
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokens import ensure_tokens
from specrun.runtime.loop.events import read_events
from specrun.runtime.teacher import embeddings
from specrun.runtime.teacher import texts as teaching_texts
from specrun.runtime.teacher.embeddings import ensure_told, make_teaching
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.losses import teacher_of
from specrun.spec.plan.plan import Plan
from tests.faults.bench import SPEC, tiny_rows
from tests.runtime.folders import make_directory, make_run
from tests.runtime.runs import stop_after

MORE = ("curriculum=null", "train.max_steps=12", "evaluation=null")
TEACHER = "{kind: pretrained, name_or_path: teacher, max_length: 7}"


def losses(teacher: str = TEACHER, more: str = "") -> str:
    return (
        "losses=[{kind: infonce, weight: 0.3}, "
        f"{{kind: distillation, weight: 0.7, teacher: {teacher}{more}}}]"
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("teacher")
    (root / "rows.jsonl").write_text(tiny_rows(), encoding="utf-8")
    make_directory(root / "teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(root / "cache"))
        patch.chdir(root)
        yield root


@pytest.fixture(autouse=True)
def here(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECRUN_CACHE", str(work / "cache"))
    shutil.copytree(work / "teacher", tmp_path / "teacher")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(work: Path, *overrides: str, rows: str = "rows.jsonl") -> Plan:
    text = SPEC.format(rows=work / rows)
    return specrun.compile(text, overrides=(*MORE, losses(), *overrides), environ={})


@pytest.fixture(scope="module")
def whole(work: Path) -> Any:
    """An undisturbed run, its folder kept in ``work``."""
    (work / "whole").mkdir()
    shutil.copytree(work / "teacher", work / "whole" / "teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work / "whole")
        return specrun.run(made(work))


def test_the_plan_cites_the_teacher(work: Path):
    plan = made(work)
    teacher = teacher_of(plan.losses)
    assert teacher is not None
    assert plan.segments[0].loss_weights == {"infonce": 0.3, "distillation": 0.7}
    assert (teacher.max_query_length, teacher.max_positive_length) == (7, 7)
    names = {Path(file.path).name for file in teacher.files}
    assert {"tokenizer.json", "model.safetensors"} < names
    assert teacher.config.pooling == "cls"
    assert plan.cost.teacher_bytes > teacher.weight_bytes > 0
    without = made(work, "losses=[{kind: infonce}]")
    assert without.cost.teacher_bytes == 0
    more, less = (x.activation_bytes + x.loss_bytes for x in (plan.cost, without.cost))
    assert more - less == 4 * 16 * 2 * teacher.width


def test_check_and_compile_need_no_jax(here: Path, work: Path):
    spec = SPEC.format(rows=work / "rows.jsonl")
    given = json.dumps([*MORE, losses()])
    code = (
        "import sys, specrun\n"
        f"specrun.check({spec!r}, overrides={given})\n"
        f"specrun.compile({spec!r}, overrides={given})\n"
        "assert 'jax' not in sys.modules, 'jax was imported'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr


def test_embeddings_are_the_predictors_of_the_cut_texts(work: Path):
    plan = made(work)
    rows = ensure_rows(plan.data)
    found = ensure_told(teacher_of(plan.losses), rows)
    short = Path(shutil.copytree("teacher", "short"))
    (short / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    predictor = specrun.Predictor(short)
    for ours, texts in (
        (found.queries, rows.training.queries),
        (found.positives, rows.training.positives),
    ):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, predictor.encode_text(list(texts)), atol=2e-6)
    assert found.negatives is None


def test_a_run_as_teacher_embeds_each_side_by_its_tower(work: Path):
    make_run(Path("old"), towers=True)
    plan = made(work, losses("{kind: run, run: old}"))
    teacher = teacher_of(plan.losses)
    assert teacher is not None
    assert teacher.which == "best"
    rows = ensure_rows(plan.data)
    found = ensure_told(teacher, rows)
    predictor = specrun.Predictor("old")
    queries, positives = list(rows.training.queries), list(rows.training.positives)
    np.testing.assert_allclose(found.queries, predictor.encode_query(queries), atol=2e-6)
    np.testing.assert_allclose(found.positives, predictor.encode_document(positives), atol=2e-6)
    final = made(work, losses("{kind: run, run: old/final}"))
    other = ensure_told(teacher_of(final.losses), rows)
    assert np.abs(other.queries - found.queries).max() > 0.01


def test_batches_carry_what_belongs_to_their_rows(work: Path):
    texts = [json.loads(line) for line in (work / "rows.jsonl").read_text().splitlines()]
    for i, row in enumerate(texts):
        row["wrong"] = [f"w{i % 60} not", f"p{i}"][: i % 3]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    given = specrun.compile(
        SPEC.format(rows=Path("rows.jsonl").absolute()),
        overrides=(*MORE, losses(), "data.columns.negatives=wrong"),
        environ={},
    )
    rows, tokens = ensure_rows(given.data), ensure_tokens(given.data, given.tokenizer)
    teaching = make_teaching(given, rows, tokens)
    assert teaching is not None
    told, training = teaching.told, rows.training
    ends = training.negatives.ends
    _, batch = Batches(given, tokens, rows, teaching).at(3)
    for i, row in enumerate(batch.row[0]):
        np.testing.assert_array_equal(batch.teacher_query[0, i], told.queries[row])
        np.testing.assert_array_equal(batch.teacher_positive[0, i], told.positives[row])
        for n in range(int(ends[row + 1] - ends[row])):
            right = told.negatives[ends[row] + n]
            np.testing.assert_array_equal(batch.teacher_negatives[0, i, n], right)
    mined = np.full((len(training), 2), -1, np.int32)
    mined[:, 0] = np.arange(len(training))[::-1]
    found = teaching.of(batch.row, 2, mined)[2]
    np.testing.assert_array_equal(found[0, :, 0], told.positives[len(training) - 1 - batch.row[0]])


def test_a_run_learns_and_its_log_names_what_it_learned_from(work: Path, whole: Any):
    folder = work / "whole/run"
    logged = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    first = logged[0]
    assert {"loss.infonce", "loss.distillation"} <= set(first)
    weighted = 0.3 * first["loss.infonce"] + 0.7 * first["loss.distillation"]
    assert first["loss"] == pytest.approx(weighted, rel=1e-5)
    assert all(row["loss.distillation"] > 0 for row in logged)
    events = read_events(folder / "events.jsonl")
    assert [(e["kind"], e["after"]) for e in events] == [("teacher", 0)]
    assert whole.traces["counted"] == whole.traces["promised"] == 1


def test_the_teacher_speaks_once_and_a_resumed_run_hears_the_same(
    work: Path, whole: Any, monkeypatch: pytest.MonkeyPatch
):
    opened: list[object] = []
    original = teaching_texts.open_folder
    monkeypatch.setattr(teaching_texts, "open_folder", lambda *a: opened.append(a) or original(*a))
    plan = made(work)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(specrun.SpecrunError, match="saved after step 5"):
            specrun.run(plan)
    assert opened == [], "the cache has them"
    shutil.rmtree(work / "cache" / "teachers")
    result = specrun.run(plan)
    assert len(opened) == 1
    assert result.parameters_sha256 == whole.parameters_sha256
    for name in ("events.jsonl", "metrics.jsonl"):
        assert Path("run", name).read_bytes() == (work / "whole/run" / name).read_bytes()


def test_a_damaged_artefact_is_made_again(work: Path, whole: Any):
    plan = made(work)
    rows = ensure_rows(plan.data)
    before = ensure_told(teacher_of(plan.losses), rows)
    (folder,) = (
        p
        for p in (work / "cache/teachers").iterdir()
        if (p / "queries.f32").exists()
        and cache.file_digest(p / "manifest.json") == before.digest[7:]
    )
    copy = np.array(before.queries)
    (folder / "queries.f32").write_bytes(b"\0" * (copy.nbytes - 4))
    again = ensure_told(teacher_of(plan.losses), rows)
    np.testing.assert_array_equal(again.queries, copy)
    assert again.digest == before.digest


def test_other_embeddings_than_the_earlier_steps_had_are_refused(work: Path, whole: Any):
    plan = made(work)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(specrun.SpecrunError, match="saved after step 4"):
            specrun.run(plan)
    original = embeddings.ensure_told
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            embeddings,
            "ensure_told",
            lambda *a: dataclasses.replace(original(*a), digest="sha256:" + "0" * 64),
        )
        with pytest.raises(RunError, match="not those that the earlier steps"):
            specrun.run(plan)
    assert specrun.run(plan).parameters_sha256 == whole.parameters_sha256


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "1_Pooling/config.json"])
def test_a_teacher_that_changed_is_refused(work: Path, name: str):
    plan = made(work)
    path = Path("teacher", name)
    text = path.read_text()
    changes = {"1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}'}
    path.write_text(changes.get(name, text + " "))
    with pytest.raises(InputError, match="changed after the plan was compiled"):
        specrun.run(plan)
    path.write_text(text)
    shutil.rmtree("teacher")
    with pytest.raises(InputError, match="teacher"):
        specrun.run(plan)
    assert not Path("run/metrics.jsonl").exists()


def test_a_teacher_that_gives_no_numbers_is_told(work: Path):
    import safetensors.numpy

    path = Path("teacher/model.safetensors")
    tensors = safetensors.numpy.load_file(path)
    name = next(n for n in sorted(tensors) if "word_embeddings" in n)
    tensors[name] = np.full_like(tensors[name], np.nan)
    safetensors.numpy.save_file(tensors, path)
    with pytest.raises(RunError, match="embeds a text as NaN or infinity"):
        specrun.run(made(work))


def problems(*overrides: str, rows: Path) -> list[tuple[str, str]]:
    found = specrun.check(SPEC.format(rows=rows), overrides=(*MORE, *overrides), environ={})
    return [(d.code, d.path) for d in found if d.severity == "error"]


def test_what_is_no_teacher_is_told_at_its_key(work: Path):
    rows = work / "rows.jsonl"

    def told(teacher: str) -> list[tuple[str, str]]:
        return problems(losses(teacher), rows=rows)

    at = "losses[1].teacher"
    assert told(TEACHER) == []
    assert told("{kind: pretrained, name_or_path: nowhere}") == [
        ("model-not-found", f"{at}.name_or_path")
    ]
    assert told("{kind: run, run: nowhere}") == [("no-run", f"{at}.run")]
    make_run(Path("run"))
    assert told("{kind: run, run: run}") == [("own-folder", f"{at}.run")]
    assert told("{kind: pretrained, name_or_path: teacher, max_length: 10}") == [
        ("too-long", f"{at}.max_length")
    ]
    Path("teacher/tokenizer.json").unlink()
    assert told(TEACHER) == [("tokenizer-missing", f"{at}.name_or_path")]
    Path("teacher/model.safetensors").write_bytes(b"")
    assert [path for _, path in told(TEACHER)] == [f"{at}.name_or_path"]
    Path("teacher/model.safetensors").unlink()
    assert told(TEACHER) == [("weights-missing", f"{at}.name_or_path")]
    Path("teacher/config.json").write_text("{")
    assert [path for _, path in told(TEACHER)] == [f"{at}.name_or_path"]
