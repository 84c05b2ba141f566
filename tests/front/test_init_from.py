"""``init_from``: a model that starts from another run's parameters, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specrun
from specrun.runtime.loop.parameters import read_parameters, write_parameters
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.models.stacking import unstack
from specrun.runtime.predict.trained import open_folder
from specrun.runtime.trees import flatten
from specrun.spec.plan.plan import Plan
from tests.faults.bench import tiny_rows, tiny_texts

SPEC = """\
version: 1
name: second
model: {kind: text_encoder, hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2}
tokenizer: {kind: train, vocab_size: 300}
data:
  kind: jsonl
  path: rows.jsonl
  max_length: {query: 16, positive: 32}
  validation: {kind: fraction, fraction: 0.2}
losses: [{kind: infonce}]
train: {batch_size: 16, max_steps: 2}
evaluation: {metrics: [mrr@10]}
"""
LORA = "lora={rank: 2, target_modules: [query]}"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the rows and three finished runs: plain, with adapters, with separate towers."""
    there = tmp_path_factory.mktemp("init-from")
    (there / "rows.jsonl").write_text(tiny_rows(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(there / "cache"))
        patch.chdir(there)
        specrun.run(made("name=first"))
        for name, setting in (("adapted", LORA), ("towers", "model.towers=separate")):
            _pretend(made(f"name={name}", setting))
        yield there


def _pretend(plan: Plan) -> None:
    """A run's folder with random parameters: what it holds matters here, not how it came about."""
    from specrun.runtime.data.tokenizer import load
    from specrun.spec.plan.file import write_plan

    draw = np.random.default_rng(1)
    folder = Path(plan.output_dir)
    from specrun.runtime.trees import unflatten

    leaves = {p.path: draw.normal(size=p.shape).astype(np.float32) for p in plan.model.parameters}
    write_plan(plan, folder / "plan.json")
    write_parameters(folder / "best", unflatten(leaves), {"step": 9})
    text = load(plan.tokenizer, rows_digest=plan.data.scan.rows_digest).json_text
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")


@pytest.fixture(autouse=True)
def here(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECRUN_CACHE", str(work / "cache"))
    monkeypatch.chdir(work)


def made(*overrides: str) -> Plan:
    return specrun.compile(SPEC, overrides=overrides, environ={})


def refused(*overrides: str) -> tuple[str, str, str]:
    """Code, path and message of the one error."""
    with pytest.raises(specrun.InputError) as error:
        made(*overrides)
    errors = [d for d in error.value.diagnostics if d.severity == "error"]
    assert len(errors) == 1, errors
    assert errors[0].hint
    return errors[0].code, errors[0].path, errors[0].message


def leaves(tree: Any, plan: Plan) -> dict[str, np.ndarray]:
    """Leaves by logical path."""
    return {path: np.asarray(x) for path, x in unstack(tree, plan.model.groups).items()}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[p], right[p]) for p in left)


def test_the_parameters_are_the_runs_and_everything_else_is_new(work: Path):
    plan = made("init_from=runs/first", "seed=5")
    assert plan.model.init_from is not None
    assert not any(p.new for p in plan.model.parameters)
    assert same(
        leaves(initial_arrays(plan.model, 5), plan),
        leaves(read_parameters(work / "runs/first/best"), plan),
    )
    result = specrun.run(plan)
    assert result.steps == 2
    first = json.loads((work / "runs/first/best/manifest.json").read_text())
    card = (work / "runs/second/best/README.md").read_text()
    assert first["parameters_sha256"] in card
    assert "from the run first" in card
    assert "init\\_from" in card
    assert plan.model.init_from.parameters_sha256 == first["parameters_sha256"]
    assert plan.model.init_from.step == first["step"]
    from specrun.compiler.summary import summary

    assert f"init_from  first, best parameters after step {first['step']}" in summary(plan)
    assert first["parameters_sha256"] in (work / "runs/second/report.html").read_text()
    assert specrun.run(plan).parameters_sha256 == result.parameters_sha256


def test_a_language_model_becomes_an_encoder_and_leaves_its_head(work: Path):
    """Its tokens are pooled now; the other way a head would be missing, and is refused."""
    (work / "texts.txt").write_text(tiny_texts(), encoding="utf-8")
    shape = "num_attention_heads: 2, intermediate_size: 16, hidden_act: swiglu, norm: rmsnorm, bias: false"
    more = "position_embedding: rotary, layer_norm_eps: 1.0e-6"
    texts = (
        f"model={{kind: masked_lm, hidden_size: 8, num_hidden_layers: 2, {shape}, {more}}}",
        "data={kind: text, path: texts.txt, max_length: 16, validation: {kind: fraction, fraction: 0.2}}",
        "losses=[{kind: masked_diffusion}]",
        "evaluation.metrics=null",
    )
    _pretend(made("name=language", *texts))
    encoder = f"model={{kind: text_encoder, hidden_size: 8, num_hidden_layers: 2, {shape}, {more}}}"
    plan = made("init_from=runs/language", "tokenizer=null", "name=embedding", encoder)
    found = leaves(initial_arrays(plan.model, 0), plan)
    whole = leaves(read_parameters(work / "runs/language/best"), made("name=language", *texts))
    assert whole.keys() - found.keys() == {"vocabulary.kernel"}
    assert all(np.array_equal(found[path], whole[path]) for path in found)
    assert specrun.run(plan).steps == 2
    with pytest.raises(specrun.InputError) as error:
        made("init_from=runs/first", *texts)
    said = {d.code: d.message for d in error.value.diagnostics}
    assert "other-model" in said


def test_best_and_final_can_be_named(work: Path):
    shutil.copytree(work / "runs/first", work / "runs/moved")
    tree = read_parameters(work / "runs/moved/final")
    changed = flatten(tree)["final_norm.bias"] + np.float32(1)
    tree["final_norm"]["bias"] = changed
    write_parameters(work / "runs/moved/final", tree, {"step": 2})
    bias = [
        flatten(initial_arrays(made(f"init_from=runs/moved{name}").model, 0))["final_norm.bias"]
        for name in ("", "/best", "/final")
    ]
    assert np.array_equal(bias[0], bias[1])
    assert np.array_equal(bias[2], changed)
    assert not np.array_equal(bias[1], bias[2])


def test_adapters_of_the_run_are_merged():
    plan = made("init_from=runs/adapted")
    merged = open_folder(Path("runs/adapted"))
    want = leaves(merged.parameters, plan)
    found = leaves(initial_arrays(plan.model, 0), plan)
    assert want.keys() == found.keys()
    for path, value in want.items():
        np.testing.assert_allclose(found[path], value, atol=1e-5, err_msg=path)
    base = leaves(read_parameters(Path("runs/adapted/best")), plan)
    kernel = "layers.0.attention.query.kernel"
    assert not np.allclose(found[kernel], base[kernel], atol=1e-2)


def test_new_adapters_start_on_top_of_the_run():
    plan = made("init_from=runs/first", LORA)
    assert not plan.warnings or all(w.code != "lora-from-scratch" for w in plan.warnings)
    found = leaves(initial_arrays(plan.model, 0), plan)
    assert not found["layers.1.attention.query.lora_b"].any()
    assert found["layers.1.attention.query.lora_a"].any()
    first = leaves(read_parameters(Path("runs/first/best")), plan)
    assert same({p: x for p, x in found.items() if "lora" not in p}, first)
    assert set(plan.segments[0].trained) == {
        p.path for p in plan.model.parameters if "lora" in p.path
    }


def test_the_grouping_of_layers_does_not_matter():
    plan = made("init_from=runs/first", "train.trainable=['layers.1.*']")
    assert len(plan.model.groups) == 2
    source = made("name=first")
    assert len(source.model.groups) == 1
    assert same(
        leaves(initial_arrays(plan.model, 0), plan),
        leaves(read_parameters(Path("runs/first/best")), source),
    )


def test_separate_towers_take_their_own():
    plan = made("init_from=runs/towers", "model.towers=separate")
    found = flatten(initial_arrays(plan.model, 0))
    want = flatten(read_parameters(Path("runs/towers/best")))
    assert found.keys() == want.keys()
    assert all(np.array_equal(found[p], want[p]) for p in want)


def test_the_tokenizer_is_taken_over_or_must_be_the_same():
    taken = made("init_from=runs/first", "tokenizer=null")
    own = made("init_from=runs/first")
    assert taken.tokenizer.digest == own.tokenizer.digest
    assert taken.tokenizer.source.kind == "file"
    code, path, message = refused("init_from=runs/first", "tokenizer.lowercase=false")
    assert (code, path) == ("other-tokenizer", "tokenizer")
    assert "its ids would mean other texts" in message


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.hidden_size=16", "hidden_size is 8 there, 16 here"),
        ("model.num_attention_heads=4", "num_attention_heads is 2 there, 4 here"),
        ("model.num_hidden_layers=1", "num_hidden_layers is 2 there, 1 here"),
        ("model.projection_dim=4", "projection_dim is null there, 4 here"),
        ("model.towers=separate", "towers is shared there, separate here"),
        ("model.position_embedding=rotary", "position_embedding is learned there, rotary here"),
    ],
)
def test_another_model_is_refused_by_name(setting: str, said: str):
    code, path, message = refused("init_from=runs/first", setting)
    assert (code, path) == ("other-model", "init_from")
    assert said in message
    checked = specrun.check(SPEC, overrides=["init_from=runs/first", setting], environ={})
    assert [d.code for d in checked if d.severity == "error"] == ["other-model"]


def test_dropout_may_differ():
    plan = made("init_from=runs/first", "model.hidden_dropout_prob=0.5")
    assert plan.model.config.hidden_dropout_prob == 0.5


def test_what_is_no_run_is_refused(work: Path):
    (work / "runs/empty").mkdir(parents=True)
    assert refused("init_from=runs/empty")[0] == "no-run"
    assert refused("init_from=runs/nowhere")[0] == "no-run"
    shutil.copytree(work / "runs/first", work / "runs/begun")
    for name in ("best", "final"):
        shutil.rmtree(work / "runs/begun" / name)
    code, _, message = refused("init_from=runs/begun")
    assert code == "unfinished-run"
    assert "best/ or final/" in message
    assert refused("init_from=runs/begun/final")[0] == "unfinished-run"
    assert refused("init_from=runs/first", "name=first")[0] == "own-folder"


DAMAGE: dict[str, Any] = {
    "best/parameters.safetensors": (lambda x: x[: len(x) // 2], "lie outside the file's"),
    "best/manifest.json": (lambda x: b"{", "damaged"),
    "plan.json": (lambda x: x.replace(b'"seed"', b'"sead"', 1), "plan"),
    "tokenizer.json": (lambda x: b"{", "tokenizer"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_refused(work: Path, tmp_path: Path, name: str):
    folder = tmp_path / "damaged"
    shutil.copytree(work / "runs/first", folder)
    change, said = DAMAGE[name]
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    _, path, message = refused(f"init_from={folder}", "tokenizer=null")
    assert path in ("init_from", "tokenizer")
    assert said in message
    assert str(folder) in message


def test_parameters_of_another_plan_are_refused(work: Path, tmp_path: Path):
    folder = tmp_path / "mixed"
    shutil.copytree(work / "runs/first", folder)
    shutil.rmtree(folder / "best")
    shutil.copytree(work / "runs/adapted/best", folder / "best")
    code, _, message = refused(f"init_from={folder}")
    assert code == "other-parameters"
    assert "lora_a" in message


def test_a_folder_changed_since_compiling_is_refused_by_run(work: Path, tmp_path: Path):
    folder = tmp_path / "source"
    shutil.copytree(work / "runs/first", folder)
    plan = made(f"init_from={folder}", "name=late")
    tree = read_parameters(folder / "best")
    tree["final_norm"]["bias"] = tree["final_norm"]["bias"] + np.float32(1)
    write_parameters(folder / "best", tree, {"step": 2})
    with pytest.raises(specrun.InputError, match="changed after the plan was compiled") as error:
        specrun.run(plan)
    assert error.value.diagnostics[0].path == "init_from"
    assert not (work / "runs/late/plan.json").exists()
    with pytest.raises(specrun.InputError, match="changed after the plan was compiled"):
        initial_arrays(plan.model, 0)
    shutil.rmtree(folder)
    with pytest.raises(specrun.InputError, match="changed after the plan was compiled"):
        specrun.run(plan)


def test_another_start_is_another_identity(work: Path):
    from specrun.spec.plan.file import differences

    found = differences(made("init_from=runs/first"), made())
    assert {d.path for d in found if d.klass == "semantic"} >= {
        "model.init_from.parameters_sha256",
        "model.init_from.identity",
    }
