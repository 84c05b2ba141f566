"""Prompts: from the spec or the directory to the batches, the predictor, the search and the exported files."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specrun
from specrun.cli import main
from specrun.compiler.summary import summary
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokenizer import load
from specrun.runtime.data.tokens import ensure_tokens
from specrun.runtime.predict.export import export
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.predict.search import search
from specrun.spec.plan.data import Prompts
from specrun.spec.plan.file import read_plan, write_plan
from specrun.spec.plan.plan import Plan
from tests.front.test_pretrained import found, tokenizer_text, write_model, write_spec

SETTINGS = "config_sentence_transformers.json"
OWN = {"query": "open ", "document": "file "}
TEXTS = ["open a file", "x", "", "read the list the tree the file"]


def directory(folder: Path, *, prompts: dict[str, str] = OWN, included: bool = True) -> Path:
    """A BERT as sentence-transformers keeps one, with prompts of its own."""
    made = write_model(folder / "model", "torch_safetensors", tokenizer_text(pad_id=0))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate((("Transformer", ""), ("Pooling", "1_Pooling")))
    ]
    (made / "modules.json").write_text(json.dumps(modules))
    (made / "1_Pooling").mkdir()
    pooling = {"pooling_mode_mean_tokens": True, "include_prompt": included}
    (made / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (made / SETTINGS).write_text(json.dumps({"prompts": prompts, "default_prompt_name": None}))
    return made


def compiled(folder: Path, *overrides: str, **options: Any) -> Plan:
    spec = write_spec(folder, "bert", directory(folder, **options))
    return specrun.compile(spec, environ={}, overrides=list(overrides))


def pair(plan: Plan) -> tuple[str, str]:
    return plan.tokenizer.prompts.query, plan.tokenizer.prompts.positive


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), ("open ", "file ")),
        (("model.prompts.query='read '",), ("read ", "file ")),
        (("model.prompts.query=''", "model.prompts.positive=''"), ("", "")),
    ],
)
def test_the_spec_says_the_prompts_and_is_silent_for_the_directorys(
    tmp_path: Path, overrides: tuple[str, ...], expected: tuple[str, str]
):
    plan = compiled(tmp_path, *overrides)
    assert pair(plan) == expected
    said = f"prompts: {expected[0]!r} before queries, {expected[1]!r} before positives"
    assert (said in summary(plan)) == any(expected)


def test_every_row_is_tokenised_behind_its_prompt(tmp_path: Path):
    plan = compiled(tmp_path)
    rows, tokens, tokenizer = (
        ensure_rows(plan.data),
        ensure_tokens(plan.data, plan.tokenizer),
        load(plan.tokenizer),
    )
    for split, ids in ((rows.training, tokens.training), (rows.validation, tokens.validation)):
        for i in range(len(split)):
            [query] = tokenizer.encode([f"open {split.queries[i]}"], 8)
            [positive] = tokenizer.encode([f"file {split.positives[i]}"], 12)
            np.testing.assert_array_equal(ids.queries[i], query)
            np.testing.assert_array_equal(ids.positives[i], positive)


def test_a_run_embeds_and_searches_as_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    plan = compiled(tmp_path)
    specrun.run(plan)
    run = tmp_path / "runs" / "tiny"
    predictor = Predictor(run)
    bare = Predictor(_without_prompts(run, tmp_path / "bare"))
    for side, prompt in (("query", "open "), ("positive", "file ")):
        expected = bare.encode_text([prompt + text for text in TEXTS], side=side)
        np.testing.assert_allclose(
            predictor.encode_text(TEXTS, side=side), expected, atol=1e-6, rtol=0
        )
    assert predictor.trained.digest != bare.trained.digest
    with pytest.raises(specrun.InputError, match="puts a prompt before its texts"):
        predictor.encode_text(TEXTS)
    (tmp_path / "texts.txt").write_text("open a file\n")
    assert main(["encode", str(run), "texts.txt", "--output", "out.npy"]) != 0
    assert "--side query or document" in capsys.readouterr().err
    assert "encode_document" in (run / "final" / "README.md").read_text("utf-8")

    best = search(run, "a file")[0]
    rows = ensure_rows(plan.data)
    texts = [*rows.training.positives, *rows.validation.positives]
    scores = predictor.encode_query(["a file"])[0] @ predictor.encode_document(texts).T
    assert best.score == pytest.approx(float(scores.max()), abs=1e-5)

    export(run, tmp_path / "out")
    written = json.loads((tmp_path / "out" / SETTINGS).read_text())
    assert written["prompts"] == OWN
    again = Predictor(tmp_path / "out")
    np.testing.assert_allclose(
        again.encode_query(TEXTS[:1]), predictor.encode_query(TEXTS[:1]), atol=1e-6, rtol=0
    )


def _without_prompts(run: Path, copy: Path) -> Path:
    """The run's folder as one that put nothing before its texts."""
    shutil.copytree(run, copy)
    plan = read_plan(copy / "plan.json")
    bare = dataclasses.replace(plan.tokenizer, prompts=Prompts())
    write_plan(dataclasses.replace(plan, tokenizer=bare), copy / "plan.json")
    return copy


def test_a_prompt_that_leaves_no_room_is_refused(tmp_path: Path):
    spec = write_spec(tmp_path, "bert", directory(tmp_path))
    long = "open a file " * 2
    [(code, _, message, hint)] = found(spec, overrides=[f"model.prompts.query='{long}'"])
    assert code == "prompt-too-long"
    assert "8 tokens long, special tokens included, and 8 are kept" in message
    assert hint == "shorten model.prompts, or raise data.max_length"


def test_prompts_that_the_pooling_leaves_out_are_refused(tmp_path: Path):
    made = directory(tmp_path, included=False)
    spec = write_spec(tmp_path, "bert", made)
    [(code, path, message, _)] = found(spec)
    assert (code, path) == ("unpooled-prompt", "model.prompts")
    assert "include_prompt: false" in message
    assert not found(spec, overrides=["model.prompts.query=''", "model.prompts.positive=''"])
    with pytest.raises(specrun.InputError, match="include_prompt: false"):
        Predictor(made)
