"""Exports: our own predictor reads them as the run; what was copied, merged and left out is said; faults leave nothing."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from specrun.cli import COMMANDS, main
from specrun.runtime.adapters.peft import read_adapter
from specrun.runtime.data.tokenizer import digest_of_text
from specrun.runtime.loop.parameters import write_parameters
from specrun.runtime.models.directory import inspect
from specrun.runtime.models.encoder import initial_parameters
from specrun.runtime.predict import adapter as adapting
from specrun.runtime.predict import export as exporting
from specrun.runtime.predict.export import NOTE, export
from specrun.runtime.predict.order import FORMS, To, Whole
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.report.export_card import LIBRARIES
from specrun.runtime.trees import flatten, unflatten
from specrun.runtime.weights.files import read
from specrun.runtime.weights.write import FILES
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.data import TokenizerFile, TokenizerPlan
from specrun.spec.plan.file import read_plan, write_plan
from specrun.spec.plan.model import ModelPlan, MultiVectorPlan
from specrun.spec.plan.plan import Plan
from tests.faults.full_disk import full_disk
from tests.runtime.folders import GOLDEN, TEXTS, make_directory, make_run, tokenizer_text
from tests.runtime.models.tiny import lora_plan, model_plan
from tests.runtime.plans import make_colbert, make_infonce, make_plan, separate

SAME = 1e-6
READ_BY_US = ("sentence-transformers", "flax")
SOURCES = {
    "bert": "torch_safetensors",
    "roberta": "roberta_torch",
    "xlmr": "xlmr_flax",
    "mpnet": "mpnet_torch",
    "qwen3": "qwen3_torch",
    "modernbert": "modernbert_torch",
}


_OF_BERT = ("attention.self.query", "output.dense")
ADAPTED = {
    **{"bert": _OF_BERT, "roberta": _OF_BERT, "mpnet": ("attention.attn.q", "output.dense")},
    "qwen3": ("self_attn.k_proj", "mlp.down_proj"),
    "modernbert": ("attn.Wqkv", "mlp.Wo"),
}
"""Linear layers of each family that adapters are put on."""


def source_directory(folder: Path, flavour: str) -> Path:
    """A fixture with a tokenizer that pads with its id."""
    shutil.copytree(GOLDEN.parent / flavour, folder)
    text = tokenizer_text()
    if flavour.startswith(("roberta", "xlmr", "mpnet")):
        text = text.replace('"[PAD]":0', '"[PAD]":1').replace('"[CLS]":1', '"[CLS]":0')
        text = text.replace('"ids":[1]', '"ids":[0]')
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return folder


def make_pretrained_run(
    folder: Path, flavour: str = "torch_safetensors", *, towers: bool = False, **changes: Any
) -> Plan:
    """A run's folder as training leaves it: a pretrained network whose numbers have all moved a little.

    ``changes`` are the configuration's; ``lora`` puts adapters on queries and outputs.
    """
    directory = source_directory(folder / "source", flavour)
    found = inspect(directory)
    lora = changes.pop("lora", False)
    config = dataclasses.replace(found.config, **changes)
    adapters = lora_plan(config, ADAPTED[config.kind]) if lora else None
    model = model_plan(config, lora=adapters, weights=found.weights)
    model = separate(model) if towers else model
    text = (directory / "tokenizer.json").read_text("utf-8")
    late = config.pooling == "none" or config.multi_vector_dim is not None
    losses = (make_colbert() if late else make_infonce(),)
    if late:
        own = config.multi_vector_dim or config.projection_dim or config.hidden_size
        alone = config.pooling == "none"
        head = "projection" if alone else "own"
        vectors = MultiVectorPlan(width=own, reduce="mean", alone=alone, head=head)
        model = dataclasses.replace(model, multi_vector=vectors)
    plan = make_plan(model=model, losses=losses)
    tokenizer = TokenizerPlan(
        source=TokenizerFile(path=str(directory / "tokenizer.json")),
        digest=digest_of_text(text),
        vocab_size=40,
        pad_id=getattr(config, "pad_token_id", 0),
    )
    plan = dataclasses.replace(plan, tokenizer=tokenizer)
    run = folder / "run"
    run.mkdir()
    write_plan(plan, run / "plan.json")
    (run / "tokenizer.json").write_text(text, encoding="utf-8")
    write_parameters(run / "best", moved(model), {"step": 1})
    write_parameters(run / "final", initial_parameters(model, 0), {"step": 2})
    return plan


def moved(model: ModelPlan) -> Any:
    draw = np.random.default_rng(5)
    leaves = flatten(initial_parameters(model, 0))
    return unflatten(
        {p: (x + 0.1 * draw.normal(size=x.shape)).astype(np.float32) for p, x in leaves.items()}
    )


def note(folder: Path) -> dict[str, Any]:
    return json.loads((folder / NOTE).read_text())


def refused(folder: Path, target: Path, *parts: str, **options: Any) -> InputError:
    before = sorted(p.name for p in target.parent.iterdir())
    with pytest.raises(InputError) as caught:
        export(folder, target, **options)
    for part in parts:
        assert part in str(caught.value)
    assert all(d.hint for d in caught.value.diagnostics)
    assert sorted(p.name for p in target.parent.iterdir()) == before
    return caught.value


@pytest.mark.parametrize("form", READ_BY_US)
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("lora", [False, True])
def test_an_export_embeds_as_the_run(tmp_path: Path, form: Any, name: str, lora: bool):
    make_pretrained_run(tmp_path, SOURCES[name], lora=lora)
    run, target = tmp_path / "run", tmp_path / "out"
    done = export(run, target, to=form)
    expected = Predictor(run).encode_document(TEXTS)
    np.testing.assert_allclose(Predictor(target).encode_text(TEXTS), expected, atol=SAME)
    assert done.files == tuple(sorted(str(p.relative_to(target)) for p in target.rglob("*.*")))
    count = 8 if name == "modernbert" else 4  # two in each of its layers
    merged = f"adapters of rank 2 on {count} linear layers, times 3"
    assert note(target)["merged"] == (merged if lora else None)
    assert note(target)["parameters"] == "best"
    assert note(target)["max_seq_length"] == 8


def test_final_parameters_on_request(tmp_path: Path):
    make_pretrained_run(tmp_path)
    done = export(tmp_path / "run", tmp_path / "out", which="final")
    assert done.facts["parameters"] == "final"
    ours = Predictor(tmp_path / "out").encode_text(TEXTS)
    expected = Predictor(tmp_path / "run", which="final").encode_text(TEXTS)
    np.testing.assert_allclose(ours, expected, atol=SAME)


def test_each_tower_is_exported_by_its_name(tmp_path: Path):
    make_pretrained_run(tmp_path, towers=True, lora=True)
    run = tmp_path / "run"
    refused(run, tmp_path / "none", "separate towers", "--tower query")
    predictor = Predictor(run)
    for side in ("query", "positive"):
        export(run, tmp_path / side, side=side)
        found = Predictor(tmp_path / side).encode_text(TEXTS)
        np.testing.assert_allclose(found, predictor.encode_text(TEXTS, side=side), atol=SAME)
        assert note(tmp_path / side)["tower"] == side
        assert "on 4 linear layers" in note(tmp_path / side)["merged"]
    assert note(tmp_path / "query")["max_seq_length"] == 6
    assert note(tmp_path / "positive")["max_seq_length"] == 8


def test_a_shared_network_has_no_tower_to_choose(tmp_path: Path):
    make_pretrained_run(tmp_path)
    refused(tmp_path / "run", tmp_path / "out", "no query tower", side="query")


@pytest.mark.parametrize("form", READ_BY_US)
def test_a_directory_is_converted_without_a_changed_bit(tmp_path: Path, form: Any):
    """The pooler comes along; read back, every number is the same."""
    directory = make_directory(tmp_path / "model")
    export(directory, tmp_path / "out", to=form)
    found, before = inspect(tmp_path / "out"), inspect(directory)
    assert (found.config, found.pooling, found.max_length) == (before.config, "cls", 9)
    kernel = {"sentence-transformers": "weight", "flax": "kernel"}[form]
    assert found.unused == ("pooler.dense.bias", f"pooler.dense.{kernel}")
    assert note(tmp_path / "out")["tensors_of_the_source"] == list(found.unused)
    assert found.weights
    assert before.weights
    ours, theirs = (model_plan(x.config, weights=x.weights) for x in (found, before))
    leaves = flatten(initial_parameters(theirs, 0))
    for path, leaf in flatten(initial_parameters(ours, 0)).items():
        np.testing.assert_array_equal(leaf, leaves[path], err_msg=path)
    ours_by_text = Predictor(tmp_path / "out").encode_text(TEXTS)
    np.testing.assert_allclose(ours_by_text, Predictor(directory).encode_text(TEXTS), atol=SAME)


def test_what_was_copied_and_what_was_left_out_is_said(tmp_path: Path, capsys: Any):
    directory = source_directory(tmp_path / "model", "torch_head")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (directory / "vocab.txt").write_text("[PAD]\n")
    code = main(["export", str(directory), "-o", str(tmp_path / "out")])
    out = capsys.readouterr().out
    assert code == 0
    assert note(tmp_path / "out")["left_out"] == [
        "cls.predictions.bias",
        "cls.predictions.transform.LayerNorm.bias",
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.dense.weight",
    ]
    files = ["tokenizer_config.json", "vocab.txt"]
    assert note(tmp_path / "out")["files_of_the_source"] == files
    assert "left out   cls.predictions.bias, cls" in out
    assert "as it was  tokenizer_config.json, vocab.txt" in out
    assert (tmp_path / "out" / "vocab.txt").read_text() == "[PAD]\n"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["BertModel"]


def test_config_json_is_the_sources_with_what_changed(tmp_path: Path):
    make_pretrained_run(tmp_path, "xlmr_flax", hidden_dropout_prob=0.25)
    source = tmp_path / "source" / "config.json"
    raw = {**json.loads(source.read_text()), "classifier_dropout": 0.5, "_name_or_path": "x"}
    raw |= {"auto_map": {"AutoConfig": "code.Config"}, "torch_dtype": "float16"}
    source.write_text(json.dumps(raw))
    export(tmp_path / "run", tmp_path / "out", dtype="bfloat16")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    for key in ("_name_or_path", "auto_map", "torch_dtype"):
        del raw[key]
    changed = {"architectures": ["XLMRobertaModel"], "dtype": "bfloat16"}
    assert config == {**raw, **changed, "hidden_dropout_prob": 0.25}
    assert {t.dtype for t in read(tmp_path / "out" / "model.safetensors").tensors} == {"bfloat16"}


def test_a_source_whose_weights_are_gone_costs_only_the_pooler(tmp_path: Path):
    make_pretrained_run(tmp_path)
    expected = Predictor(tmp_path / "run").encode_document(TEXTS)
    (tmp_path / "source" / "model.safetensors").unlink()
    done = export(tmp_path / "run", tmp_path / "out")
    assert inspect(tmp_path / "out").unused == ()
    assert done.facts["tensors_of_the_source"] == []
    assert "weights are gone" in done.facts["left_out"][0]
    np.testing.assert_allclose(Predictor(tmp_path / "out").encode_text(TEXTS), expected, atol=SAME)


def test_a_changed_source_gives_no_pooler(tmp_path: Path):
    make_pretrained_run(tmp_path)
    weights = tmp_path / "source" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = export(tmp_path / "run", tmp_path / "out")
    assert inspect(tmp_path / "out").unused == ()
    assert set(done.facts["left_out"]) == {"pooler.dense.bias", "pooler.dense.weight"}


# --- what has no place, and faults -----------------------------------------------------------------------------------


def test_a_model_from_scratch_is_refused(tmp_path: Path):
    make_run(tmp_path / "run")
    refused(tmp_path / "run", tmp_path / "out", "no Hugging Face class", "run/best")


@pytest.mark.parametrize(
    "flavour", ["roberta_torch", "mpnet_torch", "qwen3_torch", "modernbert_torch"]
)
def test_a_family_comes_back_byte_by_byte(tmp_path: Path, flavour: str):
    source = source_directory(tmp_path / "source", flavour)
    done = export(source, tmp_path / "out")
    assert done.facts["left_out"] == []
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()


def test_a_directory_keeps_its_prompts_and_has_no_final_parameters(tmp_path: Path):
    directory = make_directory(tmp_path / "model")
    settings = {"prompts": {"query": "q: "}, "default_prompt_name": None}
    (directory / "config_sentence_transformers.json").write_text(json.dumps(settings))
    done = export(directory, tmp_path / "out")
    written = (tmp_path / "out" / "config_sentence_transformers.json").read_text()
    assert json.loads(written) == settings
    assert done.facts["files_of_the_source"] == ["config_sentence_transformers.json"]
    refused(directory, tmp_path / "other", "no final parameters", which="final")


def test_a_head_has_no_place_in_transformers_classes(tmp_path: Path):
    make_pretrained_run(tmp_path, projection_dim=6)
    refused(tmp_path / "run", tmp_path / "out", "2_Dense", to="hf")


def test_a_head_is_a_dense_module(tmp_path: Path):
    plan = make_pretrained_run(tmp_path, projection_dim=6)
    export(tmp_path / "run", tmp_path / "out")
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert [m["path"] for m in modules] == ["", "1_Pooling", "2_Dense", "3_Normalize"]
    settings = json.loads((tmp_path / "out" / "2_Dense" / "config.json").read_text())
    assert (settings["in_features"], settings["out_features"]) == (16, 6)
    [head] = read(tmp_path / "out" / "2_Dense" / "model.safetensors").tensors
    kernel = flatten(moved(plan.model))["projection.kernel"]
    np.testing.assert_array_equal(head.float32(), kernel.T)


def test_token_vectors_are_exported_alone(tmp_path: Path):
    """A head stands where MultiVectorEncoder looks for it; two outputs have no such place."""
    make_pretrained_run(tmp_path, pooling="none", projection_dim=6)
    export(tmp_path / "run", tmp_path / "out")
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    kinds = [m["type"].rpartition(".")[2] for m in modules]
    assert kinds == ["Transformer", "Dense", "MultiVectorMask", "Normalize"]
    assert all((tmp_path / "out" / m["path"] / "config.json").is_file() for m in modules)
    assert not (tmp_path / "out" / "1_Pooling").exists()
    other = tmp_path / "other"
    other.mkdir()
    make_pretrained_run(other, multi_vector_dim=6)
    error = refused(other / "run", other / "out", "token vectors")
    assert error.diagnostics[0].code == "token-vectors"


@pytest.mark.parametrize("form", READ_BY_US)
@pytest.mark.parametrize("lora", [False, True])
def test_a_head_is_read_again(tmp_path: Path, form: Any, lora: bool):
    make_pretrained_run(tmp_path, "mpnet_torch", projection_dim=6, lora=lora)
    export(tmp_path / "run", tmp_path / "out", to=form)
    expected = Predictor(tmp_path / "run").encode_document(TEXTS)
    found = Predictor(tmp_path / "out").encode_text(TEXTS)
    assert found.shape == (len(TEXTS), 6)
    np.testing.assert_allclose(found, expected, atol=SAME)
    again = tmp_path / "again"
    export(tmp_path / "out", again, to=form)
    for name in (FILES[FORMS[form]], "2_Dense/model.safetensors"):
        assert (again / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def head_of_wrong_shape(path: Path) -> None:
    save_file({"linear.weight": np.zeros((6, 8), np.float32)}, path)


def head_with_a_bias(path: Path) -> None:
    tensors = {"linear.weight": np.zeros((6, 16)), "linear.bias": np.zeros(6)}
    save_file(tensors, path)


def head_of_integers(path: Path) -> None:
    save_file({"linear.weight": np.zeros((6, 16), np.int32)}, path)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda p: p.unlink(), "the head's weights are needed"),
        (lambda p: p.write_bytes(p.read_bytes()[:-3]), "2_Dense"),
        (lambda p: p.write_bytes(b""), "2_Dense"),
        (head_of_wrong_shape, "has shape [6, 8], expected [6, 16]"),
        (head_with_a_bias, "must hold linear.weight alone"),
        (head_of_integers, "linear.weight is"),
    ],
)
def test_a_damaged_head_is_refused(tmp_path: Path, damage: Any, found: str):
    make_pretrained_run(tmp_path, projection_dim=6)
    export(tmp_path / "run", tmp_path / "out")
    damage(tmp_path / "out" / "2_Dense" / "model.safetensors")
    with pytest.raises(InputError, match=re.escape(found)) as caught:
        Predictor(tmp_path / "out")
    assert all(d.hint and "2_Dense" in str(d.file) for d in caught.value.diagnostics)


def test_transformers_form_holds_its_files_alone(tmp_path: Path):
    make_pretrained_run(tmp_path, lora=True)
    done = export(tmp_path / "run", tmp_path / "out", to="hf")
    assert done.files == (
        "README.md",
        "config.json",
        "model.safetensors",
        NOTE,
        "tokenizer.json",
        "tokenizer_config.json",
    )
    assert done.facts["merged"]
    assert done.facts["pooling"] == "mean"


# --- adapters alone --------------------------------------------------------------------------------------------------


def frozen(folder: Path, *but: str) -> None:
    """The run in ``folder`` as one that trained its adapters only, and ``but``."""
    plan = read_plan(folder / "plan.json")
    kept = ("lora_a", "lora_b")
    parameters = tuple(
        dataclasses.replace(
            p,
            new=(p.new and p.path.endswith(kept)) or p.path in but,
            trained=p.path.endswith(kept) or p.path in but,
        )
        for p in plan.model.parameters
    )
    model = dataclasses.replace(plan.model, parameters=parameters)
    write_plan(dataclasses.replace(plan, model=model), folder / "plan.json")


def test_adapters_are_pefts_two_files(tmp_path: Path):
    plan = make_pretrained_run(tmp_path, lora=True)
    frozen(tmp_path / "run")
    done = export(tmp_path / "run", tmp_path / "out", to="peft")
    assert "config.json" not in done.files
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} <= set(done.files)
    read_back = flatten(read_adapter(tmp_path / "out", plan.model))
    ours = flatten(moved(plan.model))
    assert len(read_back) == 4
    for path, leaf in read_back.items():
        np.testing.assert_array_equal(leaf, ours[path])
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "source"
    assert "PeftModel.from_pretrained" in (tmp_path / "out" / "README.md").read_text()


def test_adapters_of_each_tower(tmp_path: Path):
    make_pretrained_run(tmp_path, towers=True, lora=True)
    frozen(tmp_path / "run")
    refused(tmp_path / "run", tmp_path / "none", "--tower query", to="peft")
    done = export(tmp_path / "run", tmp_path / "out", to="peft", side="query")
    assert done.facts["tower"] == "query"
    names = [t.name for t in read(tmp_path / "out" / "adapter_model.safetensors").tensors]
    assert len(names) == 8
    assert all(name.startswith("base_model.model.encoder.layer") for name in names)


def test_what_is_more_than_adapters_is_refused(tmp_path: Path):
    make_pretrained_run(tmp_path, lora=True, projection_dim=6)
    run = tmp_path / "run"
    frozen(run, "projection.kernel", "embeddings.LayerNorm.scale")
    refused(
        run,
        tmp_path / "out",
        "embeddings.LayerNorm.scale, projection.kernel",
        "--to sentence-transformers",
        to="peft",
    )


def test_adapters_below_a_head_of_the_base_are_refused(tmp_path: Path):
    """PeftModel's embeddings would be those before the head."""
    make_pretrained_run(tmp_path, projection_dim=6)
    export(tmp_path / "run", tmp_path / "headed")
    found = inspect(tmp_path / "headed")
    lora = lora_plan(found.config, ["attention.self.query"])
    model = model_plan(found.config, lora=lora, weights=found.weights)
    plan = read_plan(tmp_path / "run" / "plan.json")
    write_plan(dataclasses.replace(plan, model=model), tmp_path / "run" / "plan.json")
    frozen(tmp_path / "run")
    for name in ("best", "final"):
        shutil.rmtree(tmp_path / "run" / name)
        write_parameters(tmp_path / "run" / name, moved(model), {"step": 1})
    refused(tmp_path / "run", tmp_path / "out", "2_Dense", "adapters merged", to="peft")


@pytest.mark.parametrize("flavour", ["torch_safetensors", "roberta_torch", "mpnet_torch"])
def test_through_flax_and_back_no_byte_changes(tmp_path: Path, flavour: str):
    source = source_directory(tmp_path / "source", flavour)
    export(source, tmp_path / "there", to="flax")
    assert not (tmp_path / "there" / "model.safetensors").exists()
    for name, folder in (("direct", source), ("back", tmp_path / "there")):
        export(folder, tmp_path / name, to="hf")
    same = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("direct", "back")]
    assert same[0] == same[1]


def test_the_command_offers_every_form():
    [command] = [c for c in COMMANDS if c.name == "export"]
    [option] = [o for o in command.options if "--to" in o.names]
    assert option.settings["choices"] == get_args(To) == tuple(LIBRARIES)
    assert set(FORMS) == set(get_args(Whole))
    assert option.settings["default"] == get_args(To)[0]


def test_without_adapters_there_are_none_to_export(tmp_path: Path):
    make_pretrained_run(tmp_path)
    refused(tmp_path / "run", tmp_path / "out", "trained without LoRA", to="peft")
    refused(tmp_path / "source", tmp_path / "out", "no run's folder", to="peft")


def test_an_export_for_peft_leaves_nothing_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_pretrained_run(tmp_path, lora=True)
    frozen(tmp_path / "run")
    (tmp_path / "there").mkdir()

    monkeypatch.setattr(adapting, "write_tokenizer", full_disk)
    with pytest.raises(RunError, match="the disk is full"):
        export(tmp_path / "run", tmp_path / "there" / "out", to="peft")
    assert list((tmp_path / "there").iterdir()) == []


# --- the model card --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sentence-transformers", "hf", "flax", "peft"])
def test_the_card_tells_where_it_comes_from(tmp_path: Path, form: Any):
    plan = make_pretrained_run(tmp_path, lora=True)
    frozen(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "best")
    facts = {"step": 1, "metrics": {"mrr@10": 0.5}}
    whole = write_parameters(tmp_path / "run" / "best", moved(plan.model), facts)
    export(tmp_path / "run", tmp_path / "out", to=form)
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    front = yaml.safe_load(head)
    libraries = {"hf": "transformers", "flax": "specrun"}
    assert front["library_name"] == libraries.get(form, form)
    assert front["base_model"] == "source"
    assert "| mrr@10 | 0.5000 |" in body
    assert f"| parameters | {whole} |" in body
    assert plan.data.scan.rows_digest in body
    assert plan.model.weights is not None
    for file in plan.model.weights.files:
        assert file.digest in body
    assert "| Losses | infonce" in body
    assert f"| exported for | {form} |" in body
    merged = "adapters of rank 2" in body
    assert merged == (form != "peft")
    compile(body.split("```python\n")[1].split("```")[0], "card", "exec")


def test_the_card_of_a_converted_directory_claims_no_training(tmp_path: Path):
    export(make_directory(tmp_path / "model"), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "nothing was trained" in text
    assert "## Training" not in text
    assert "pooler.dense.weight" in text


def test_a_damaged_result_is_told_before_anything_is_written(tmp_path: Path):
    make_pretrained_run(tmp_path)
    (tmp_path / "run" / "result.json").write_text("{")
    with pytest.raises(RunError, match=r"result\.json is damaged"):
        export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_or_foreign_target_is_left_alone(tmp_path: Path):
    make_pretrained_run(tmp_path)
    run = tmp_path / "run"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    refused(run, tmp_path / "full", "not empty")
    assert (tmp_path / "full" / "mine").read_text() == "x"
    refused(run, tmp_path / "full" / "mine", "is a file")
    (tmp_path / "empty").mkdir()
    export(run, tmp_path / "empty")
    export(run, tmp_path / "some" / "where")
    assert (tmp_path / "some" / "where" / "config.json").is_file()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_export_that_is_stopped_leaves_nothing(
    tmp_path: Path, stop: BaseException, monkeypatch: pytest.MonkeyPatch
):
    make_pretrained_run(tmp_path)
    (tmp_path / "there").mkdir()

    def fail(*arguments: Any) -> None:
        raise stop

    monkeypatch.setattr(exporting, "write_sentence_files", fail)
    expected = RunError if isinstance(stop, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        export(tmp_path / "run", tmp_path / "there" / "out")
    assert list((tmp_path / "there").iterdir()) == []
    if isinstance(stop, OSError):
        assert "the disk is full" in str(caught.value)


def test_another_config_than_the_plans_is_refused(tmp_path: Path):
    make_pretrained_run(tmp_path)
    source = tmp_path / "source" / "config.json"
    raw = json.loads(source.read_text())
    source.write_text(json.dumps({**raw, "layer_norm_eps": 1e-3}))
    refused(tmp_path / "run", tmp_path / "out", "not the one that the plan was compiled with")
    source.unlink()
    refused(tmp_path / "run", tmp_path / "out", "config.json is needed")


def test_a_tokenizer_without_a_padding_token_is_refused(tmp_path: Path):
    directory = source_directory(tmp_path / "model", "torch_safetensors")
    text = (directory / "tokenizer.json").read_text("utf-8")
    (directory / "tokenizer.json").write_text(text.replace("[PAD]", "zero"))
    refused(directory, tmp_path / "out", "no padding token")


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: Any):
    make_run(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 2
    assert "no Hugging Face class" in capsys.readouterr().err
