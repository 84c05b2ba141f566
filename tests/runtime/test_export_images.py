"""Exports of models of texts and images: our own predictor reads them as the run; tensors come back; faults leave nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specrun
from specrun.cli import main
from specrun.runtime.loop.parameters import read_parameters, write_parameters
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.predict import composed as composing
from specrun.runtime.predict import pair as pairing
from specrun.runtime.predict.export import export
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.predict.search import search
from specrun.runtime.trees import flatten
from specrun.runtime.weights.files import find, read
from specrun.spec.diagnostics import InputError, RunError
from tests.front.test_text_image import TOWERS, processor, vocabulary
from tests.runtime.models.gemma import SPECIAL, gemma
from tests.runtime.pictured import COMPOSED, TEXTS, make_models, make_run, moved
from tests.runtime.test_export import note, refused

SAME = 1e-6
ADAPTED = "'self_attn.q_proj', 'mlp.fc2'"
SCRATCH = """{{kind: composed, head_dim: {dim}, text: {{kind: bert, name_or_path: {folder}/bert{text}}},
  image: {{kind: image_encoder, image_size: 8, patch_size: 4, hidden_size: 16, num_hidden_layers: 1{image}}}}}"""
FORMS = ("sentence-transformers", "hf", "flax")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    return make_models(tmp_path / "here")


def pictures(folder: Path) -> list[Path]:
    return [folder / "pics" / f"{i}.png" for i in (0, 3, 7)]


def tensors(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Name → shape, dtype and bytes of every tensor of a directory."""
    start = find(folder)
    assert start is not None
    found = read(start)
    assert not found.faults
    return {t.name: (t.shape, t.dtype, np.array(t.view()).tobytes()) for t in found.tensors}


def same(found: Path, run: Path, folder: Path) -> None:
    ours, theirs = Predictor(found), Predictor(run)
    np.testing.assert_allclose(ours.encode_text(TEXTS), theirs.encode_text(TEXTS), atol=SAME)
    seen = theirs.encode_image(pictures(folder))
    np.testing.assert_allclose(ours.encode_image(pictures(folder)), seen, atol=SAME)


@pytest.mark.parametrize(
    ("kind", "lora", "to"),
    [
        *(("clip", "", to) for to in FORMS),
        *(("siglip", ADAPTED, to) for to in FORMS),
        *[("clip", ADAPTED, "hf"), ("clip", "'text.*.v_proj'", "hf")],
    ],
)
def test_an_export_embeds_as_the_run(folder: Path, kind: str, lora: str, to: Any):
    make_run(folder, kind, lora=lora, length=12)
    done = export(folder / "run", folder / "out", to=to)
    same(folder / "out", folder / "run", folder)
    layers = {"": None, ADAPTED: 8, "'text.*.v_proj'": 2}[lora]
    expected = None if layers is None else f"adapters of rank 2 on {layers} linear layers, times 3"
    assert note(folder / "out")["merged"] == expected
    weights = "flax_model.msgpack" if to == "flax" else "model.safetensors"
    assert {weights, "config.json", "preprocessor_config.json", "tokenizer.json"} <= set(done.files)
    assert ("modules.json" in done.files) == (to == "sentence-transformers")


def test_a_shorter_text_is_cut_by_the_files_of_sentence_transformers(folder: Path):
    make_run(folder, length=6)
    export(folder / "run", folder / "out")
    same(folder / "out", folder / "run", folder)
    assert Predictor(folder / "out").trained.lengths == {"query": 6, "positive": 6}


@pytest.mark.parametrize(("kind", "to"), [("clip", "hf"), ("siglip", "hf"), ("clip_flax", "flax")])
def test_every_tensor_of_a_source_comes_back_byte_by_byte(folder: Path, kind: str, to: Any):
    export(folder / kind, folder / "out", to=to)
    assert tensors(folder / "out") == tensors(folder / kind)
    left = note(folder / "out")
    assert left["left_out"] == []
    scores = ["logit_bias", "logit_scale"] if kind == "siglip" else ["logit_scale"]
    assert left["tensors_of_the_source"] == scores


def test_through_flax_and_back_no_byte_changes(folder: Path):
    export(folder / "clip", folder / "flax", to="flax")
    assert tensors(folder / "flax") == tensors(folder / "clip_flax")
    export(folder / "flax", folder / "back", to="hf")
    assert tensors(folder / "back") == tensors(folder / "clip")


TRAINED = {
    "clip": "[{kind: infonce, name: main, temperature: 0.1, train_temperature: true}]",
    "siglip": "[{kind: siglip, name: main, train_temperature: true, train_bias: true}]",
}
KEPT = {
    "two temperatures": "[{kind: infonce, name: a, train_temperature: true}, {kind: infonce, name: b}]",
    "fixed": "[{kind: infonce, temperature: 0.2}]",
    "of a sigmoid": "[{kind: siglip, name: main, train_temperature: true, train_bias: true}]",
}


@pytest.mark.parametrize("kind", TRAINED)
def test_a_trained_temperature_is_the_models(folder: Path, kind: str):
    make_run(folder, kind, losses=TRAINED[kind], length=12)
    export(folder / "run", folder / "out")
    own = flatten(read_parameters(folder / "run" / "best"))
    found = tensors(folder / "out")
    names = {"logit_scale": "log_scale", "logit_bias": "bias"}
    for name, loss in names.items():
        if name in found:
            value = np.frombuffer(found[name][2], np.float32)
            np.testing.assert_array_equal(value.reshape(()), own[f"losses.main.{loss}"])
    told = {name: "main" for name in names if name in found}
    assert note(folder / "out")["tensors_of_losses"] == told
    assert "logit_scale of main" in (folder / "out" / "README.md").read_text().replace("\\", "")
    assert found["logit_scale"] != tensors(folder / kind)["logit_scale"]


def test_a_scale_beyond_the_bound_is_written_as_the_loss_uses_it(folder: Path):
    plan = make_run(folder, losses=TRAINED["clip"])
    tree = read_parameters(folder / "run" / "best")
    tree["losses"]["main"]["log_scale"] = np.float32(9.0)
    shutil.rmtree(folder / "run" / "best")
    write_parameters(folder / "run" / "best", tree, {"step": 1, "metrics": {}})
    assert plan.losses[0].name == "main"
    export(folder / "run", folder / "out", to="hf")
    found = np.frombuffer(tensors(folder / "out")["logit_scale"][2], np.float32)
    np.testing.assert_array_equal(found, np.float32(np.log(100.0)))


def test_a_run_that_began_from_another_is_exported_as_it_is(folder: Path):
    make_run(folder, name="first")
    plan = make_run(folder, more=(f"init_from={folder}/first",))
    assert plan.model.init_from is not None
    export(folder / "run", folder / "out", to="hf")
    same(folder / "out", folder / "run", folder)
    names = tensors(folder / "out").keys()
    assert names == tensors(folder / "clip").keys()


@pytest.mark.parametrize("losses", KEPT)
def test_what_means_something_else_stays_the_sources(folder: Path, losses: str):
    make_run(folder, losses=KEPT[losses])
    export(folder / "run", folder / "out", to="hf")
    assert tensors(folder / "out")["logit_scale"] == tensors(folder / "clip")["logit_scale"]
    assert note(folder / "out")["tensors_of_losses"] == {}


@pytest.mark.parametrize(("kind", "modules"), [("clip", ADAPTED), ("siglip", "'image.*.mlp.fc1'")])
def test_adapters_of_both_networks_are_one_folder_that_we_read_back(
    folder: Path, kind: str, modules: str
):
    plan = make_run(folder, kind, lora=modules)
    shutil.rmtree(folder / "run" / "best")
    drawn = moved(plan.model, only="lora_")
    write_parameters(folder / "run" / "best", drawn, {"step": 1, "metrics": {}})
    done = export(folder / "run", folder / "adapter", to="peft")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(done.files)
    assert not any("/" in name for name in done.files)
    targets = json.loads((folder / "adapter" / "adapter_config.json").read_text())["target_modules"]
    networks = {"text_model", "vision_model"} if kind == "clip" else {"vision_model"}
    assert {name.partition(".")[0] for name in targets} == networks
    override = [f"lora.init_from={folder}/adapter", f"output_dir={folder}/again"]
    again = specrun.compile(folder / "spec.yaml", overrides=override)
    started = flatten(initial_arrays(again.model, 3))
    adapters = {p: x for p, x in flatten(drawn).items() if "lora_" in p}
    assert len(adapters) == (8 if kind == "clip" else 2)
    for path, leaf in adapters.items():
        np.testing.assert_array_equal(started[path], leaf, err_msg=path)


def test_an_adapter_alone_has_no_place_for_a_trained_temperature(folder: Path, capsys: Any):
    plan = make_run(folder, losses=TRAINED["clip"], lora=ADAPTED)
    shutil.rmtree(folder / "run" / "best")
    write_parameters(folder / "run" / "best", moved(plan.model, only="lora_"), {"step": 1, "metrics": {}})  # fmt: skip
    assert main(["export", str(folder / "run"), "-o", str(folder / "out"), "--to", "peft"]) == 0
    assert "left out   logit_scale of main.log_scale" in capsys.readouterr().out
    assert main(["export", str(folder / "run"), "-o", str(folder / "whole"), "--to", "hf"]) == 0
    assert "trained    logit_scale of main" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model", "config", "missing"])
def test_a_damaged_adapter_of_both_is_refused(folder: Path, name: str):
    plan = make_run(folder, lora=ADAPTED)
    shutil.rmtree(folder / "run" / "best")
    write_parameters(folder / "run" / "best", moved(plan.model, only="lora_"), {"step": 1, "metrics": {}})  # fmt: skip
    export(folder / "run", folder / "adapter", to="peft")
    weights = folder / "adapter" / "adapter_model.safetensors"
    if name == "model":
        weights.write_bytes(weights.read_bytes()[:-7])
    elif name == "config":
        (folder / "adapter" / "adapter_config.json").write_text("{")
    else:
        weights.unlink()
    with pytest.raises(InputError) as caught:
        specrun.compile(folder / "spec.yaml", overrides=[f"lora.init_from={folder}/adapter"])
    assert any(d.path == "lora.init_from" for d in caught.value.diagnostics)


# --- composed models -------------------------------------------------------------------------------------------------

MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "heads": (COMPOSED, {"dim": 8}),
    "a projection, mean": (
        COMPOSED,
        {
            "dim": "null",
            "text": ", projection_dim: 6, pooling: cls",
            "image": ", projection_dim: 6, pooling: mean",
        },
    ),
    "none": (COMPOSED, {"dim": "null"}),
    "an image encoder from scratch": (SCRATCH, {"dim": 8, "text": ", hidden_dropout_prob: 0.2"}),
    "no last norm": (SCRATCH, {"dim": 8, "image": ", final_layer_norm: false"}),
}


def composed(name: str, folder: Path) -> str:
    template, values = MADE[name]
    return template.format(**{"text": "", "image": "", **values}, folder=folder)


@pytest.mark.parametrize("name", [n for n in MADE if n != "no last norm"])
def test_a_composed_model_is_two_directories_that_are_one_again(folder: Path, name: str):
    make_run(folder, model=composed(name, folder))
    done = export(folder / "run", folder / "out", to="hf")
    same(folder / "out", folder / "run", folder)
    assert ("heads.safetensors" in done.files) == (name != "none")
    assert {"text/config.json", "image/config.json", "image/preprocessor_config.json"} <= set(
        done.files
    )
    export(folder / "out", folder / "again", to="hf")
    for part in ("text", "image"):
        assert tensors(folder / "again" / part) == tensors(folder / "out" / part)
    for part in done.files:
        if part.endswith((".safetensors", "composed.json", "text/config.json")):
            again = (folder / "again" / part).read_bytes()
            assert again == (folder / "out" / part).read_bytes(), part


def test_adapters_of_a_composed_model_are_merged(folder: Path):
    make_run(folder, model=composed("heads", folder), lora="'text.*.query'")
    export(folder / "run", folder / "out", to="hf")
    same(folder / "out", folder / "run", folder)
    assert "on 2 linear layers" in note(folder / "out")["merged"]


def test_no_library_reads_what_it_has_no_class_for(folder: Path):
    make_run(folder, model=composed("a projection, mean", folder))
    refused(folder / "run", folder / "out", "no Flax class", "--to hf", to="flax")
    refused(folder / "run", folder / "out", "counts the class token", "--to hf")


def test_composed_adapters_have_two_bases(folder: Path):
    make_run(folder, model=composed("none", folder), lora="'text.*.query'")
    refused(folder / "run", folder / "out", "two base models", to="peft")


DAMAGE: dict[str, Any] = {
    "no json": (lambda x: (x / "specrun_composed.json").write_text("{"), "specrun_composed.json"),
    "another format": (
        lambda x: (x / "specrun_composed.json").write_text(
            (x / "specrun_composed.json").read_text().replace('"format": 1', '"format": 9')
        ),
        "format must be 1, found 9",
    ),
    "a list": (lambda x: (x / "specrun_composed.json").write_text("[]"), "must be an object of"),
    "another length": (
        lambda x: (x / "specrun_composed.json").write_text(
            (x / "specrun_composed.json").read_text().replace('"query": 8', '"query": 0')
        ),
        "lengths must hold a whole number above 0",
    ),
    "an unknown number": (
        lambda x: (x / "specrun_composed.json").write_text(
            (x / "specrun_composed.json").read_text().replace('"hidden_size"', '"hidden_sizes"', 1)
        ),
        "config",
    ),
    "no heads": (lambda x: (x / "heads.safetensors").unlink(), "it is missing"),
    "truncated heads": (
        lambda x: (x / "heads.safetensors").write_bytes(b"\0" * 40),
        "heads.safetensors",
    ),
    "other heads": (
        lambda x: shutil.copy(x / "text" / "model.safetensors", x / "heads.safetensors"),
        "missing, unexpected or misshapen",
    ),
    "no weights": (lambda x: (x / "image" / "model.safetensors").unlink(), "but no weights"),
    "another network": (
        lambda x: (x / "text" / "config.json").write_text(
            (x / "text" / "config.json").read_text().replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-3')
        ),
        "is not of the network",
    ),
    "no tokenizer": (lambda x: (x / "text" / "tokenizer.json").unlink(), "no tokenizer.json"),
}  # fmt: skip


def test_a_damaged_composed_directory_is_refused(folder: Path):
    make_run(folder, model=composed("heads", folder))
    export(folder / "run", folder / "out", to="hf")
    for name, (damage, found) in DAMAGE.items():
        broken = shutil.copytree(folder / "out", folder / f"broken {name}")
        damage(broken)
        with pytest.raises(InputError) as caught:
            Predictor(broken)
        assert found in str(caught.value), name
        assert all(d.hint for d in caught.value.diagnostics), name


def test_what_of_a_composed_source_is_left_out_is_said(folder: Path, capsys: Any):
    shutil.rmtree(folder / "vit")
    shutil.copytree(TOWERS / "vit_torch_head", folder / "vit")
    (folder / "vit" / "preprocessor_config.json").write_text(processor("vit"))
    make_run(folder, model=composed("heads", folder))
    arguments = ["export", str(folder / "run"), "-o", str(folder / "out"), "--to", "hf"]
    assert main(arguments) == 0
    left = note(folder / "out")["left_out"]
    assert left == ["image: classifier.bias", "image: classifier.weight"]
    assert f"left out   {', '.join(left)}" in capsys.readouterr().out
    assert "text.projector.first.kernel" in (folder / "out" / "README.md").read_text().replace("\\", "")  # fmt: skip


def test_what_has_no_class_is_refused(folder: Path):
    make_run(folder, model=composed("no last norm", folder))
    refused(folder / "run", folder / "out", "ViTModel has a norm", to="hf")


def test_composed_prompts_come_along(folder: Path):
    prompts = ", prompts: {query: 'find a '}"
    text = COMPOSED.format(dim=8, text=prompts, image="", folder=folder)
    make_run(folder, model=text)
    export(folder / "run", folder / "out")
    ours, theirs = Predictor(folder / "out"), Predictor(folder / "run")
    np.testing.assert_allclose(ours.encode_query(TEXTS), theirs.encode_query(TEXTS), atol=SAME)
    with pytest.raises(InputError, match="puts a prompt before its texts"):
        ours.encode_text(TEXTS)
    kept = json.loads((folder / "out" / "config_sentence_transformers.json").read_text())
    assert kept["prompts"] == {"query": "find a ", "document": ""}


def test_a_composed_export_is_searched(folder: Path, capsys: Any):
    make_run(folder, model=composed("heads", folder))
    export(folder / "run", folder / "out", to="hf")
    found = [search(folder / name, "a red box", corpus=folder / "pics", top=12) for name in ("run", "out")]  # fmt: skip
    assert [hit.text for hit in found[0]] == [hit.text for hit in found[1]]


# --- the model card --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["hf", "sentence-transformers", "flax", "peft"])
def test_the_card_tells_of_images(folder: Path, to: Any):
    """Retrieval mode, image processor, digests, losses, and the metrics beside chance."""
    plan = make_run(folder, lora=ADAPTED)
    shutil.rmtree(folder / "run" / "best")
    metrics = {
        "mrr@10": 0.5,
        "positive_to_query/recall@3": 0.3,
        "recall@3": 0.75,
        "ndcg@2": 0.25,
        "precision@2": 0.125,
        "loss": 1.5,
    }
    drawn = moved(plan.model, only="lora_")
    worst = {"worst.json": json.dumps({"candidates": 7, "worst": []})}
    write_parameters(folder / "run" / "best", drawn, {"step": 1, "metrics": metrics}, worst)
    export(folder / "run", folder / "out", to=to)
    card = (folder / "out" / "README.md").read_text().replace("\\", "")
    assert "| Retrieval | t2i: a text finds an image |" in card
    assert "| Image processor | do convert rgb yes, do resize yes, size 11, 11" in card
    assert "infonce (" in card
    for file in (*plan.data.scan.inputs, *plan.model.weights.files):
        assert file.digest in card, file.role
    assert {"data", "images"} <= {file.role for file in plan.data.scan.inputs}
    right = random_orders(7)
    for name in ("mrr@10", "recall@3", "ndcg@2", "precision@2"):
        assert f"| {name} | {metrics[name]:.4f} | {right[name]:.4f} |" in card, name
    assert "| loss | 1.5000 |  |" in card
    assert "| positive_to_query/recall@3 | 0.3000 |  |" in card


def random_orders(count: int) -> dict[str, float]:
    """The metrics' means over every place of the one right candidate."""
    places = range(count)
    return {
        "mrr@10": float(np.mean([1 / (p + 1) if p < 10 else 0 for p in places])),
        "recall@3": float(np.mean([p < 3 for p in places])),
        "ndcg@2": float(np.mean([1 / np.log2(p + 2) if p < 2 else 0 for p in places])),
        "precision@2": float(np.mean([(p < 2) / 2 for p in places])),
    }


# --- faults ----------------------------------------------------------------------------------------------------------


def of_any_resolution(folder: Path, text: str, **more: Any) -> Path:
    """A run on SigLIP 2 (NaFlex) with the tokenizer.json ``text``; the whole 12 positions are kept of a text."""
    (folder / "siglip2" / "tokenizer.json").write_text(text)
    model = f"{{kind: siglip, name_or_path: {folder}/siglip2}}"
    make_run(folder, model=model, length=12, **more)
    return folder / "run"


@pytest.mark.parametrize("to", FORMS)
def test_siglip_2_of_any_resolution_embeds_as_the_run(folder: Path, to: Any):
    run = of_any_resolution(folder, gemma(), lora=ADAPTED)
    export(run, folder / "out", to=to)
    same(folder / "out", run, folder)
    assert note(folder / "out")["merged"] == "adapters of rank 2 on 8 linear layers, times 3"
    assert note(folder / "out")["class"] == "Siglip2Model"
    first, second = Predictor(folder / "out").encode_text(["A RED box", "a red BOX"])
    np.testing.assert_array_equal(first, second)


def test_the_file_of_an_untouched_siglip_2_is_the_sources(folder: Path):
    (folder / "siglip2" / "tokenizer.json").write_text(gemma())
    export(folder / "siglip2", folder / "out", to="hf")
    assert tensors(folder / "out") == tensors(folder / "siglip2")
    for name in ("model.safetensors", "preprocessor_config.json"):
        assert (folder / "out" / name).read_bytes() == (folder / "siglip2" / name).read_bytes()
    assert note(folder / "out")["tensors_of_the_source"] == ["logit_bias", "logit_scale"]
    config = json.loads((folder / "out" / "config.json").read_text())
    assert (config["architectures"], config["model_type"]) == (["Siglip2Model"], "siglip2")
    assert config["vision_config"]["num_patches"] == 9
    export(folder / "out", folder / "again", to="hf")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        again = (folder / "again" / name).read_bytes()
        assert again == (folder / "out" / name).read_bytes(), name


def test_what_a_sigmoid_trained_is_siglip_2s(folder: Path):
    run = of_any_resolution(folder, gemma(), losses=TRAINED["siglip"])
    export(run, folder / "out", to="hf")
    own = flatten(read_parameters(run / "best"))
    for name, leaf in {"logit_scale": "log_scale", "logit_bias": "bias"}.items():
        value = np.frombuffer(tensors(folder / "out")[name][2], np.float32)
        np.testing.assert_array_equal(value.reshape(()), own[f"losses.main.{leaf}"])


def test_adapters_of_siglip_2_come_back(folder: Path):
    model = f"{{kind: siglip, name_or_path: {folder}/siglip2}}"
    plan = make_run(folder, model=model, length=12, lora=ADAPTED)
    drawn = moved(plan.model, only="lora_")
    shutil.rmtree(folder / "run" / "best")
    write_parameters(folder / "run" / "best", drawn, {"step": 1, "metrics": {}})
    done = export(folder / "run", folder / "adapter", to="peft")
    assert {"adapter_model.safetensors", "preprocessor_config.json"} <= set(done.files)
    override = [f"lora.init_from={folder}/adapter", f"output_dir={folder}/again"]
    again = specrun.compile(folder / "spec.yaml", overrides=override)
    started = flatten(initial_arrays(again.model, 3))
    adapters = {p: x for p, x in flatten(drawn).items() if "lora_" in p}
    assert len(adapters) == 8
    for path, leaf in adapters.items():
        np.testing.assert_array_equal(started[path], leaf, err_msg=path)


def changed(**parts: Any) -> str:
    """The tokenizer of SigLIP 2 with other parts; of ``model`` those that are named."""
    told = json.loads(gemma())
    told["model"] |= parts.pop("model", {})
    return json.dumps(told | parts)


OTHERS = {
    "words": (vocabulary(), "its normalizer, pre_tokenizer, model, special tokens"),
    "another normalizer": (changed(normalizer={"type": "NFKC"}), "differs in its normalizer ("),
    "split at words": (changed(pre_tokenizer={"type": "Whitespace"}), "in its pre_tokenizer ("),
    "unknown pieces apart": (changed(model={"fuse_unk": False}), "differs in its model ("),
    "whole words first": (changed(model={"ignore_merges": True}), "differs in its model ("),
    "no <mask>": (gemma(SPECIAL[:-1]), "special tokens (it has no <mask>)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_tokenizer_that_transformers_would_read_otherwise_is_refused(folder: Path, name: str):
    text, message = OTHERS[name]
    run = of_any_resolution(folder, text)
    for to in ("hf", "sentence-transformers"):
        refused(run, folder / "out", message, to=to)
    export(run, folder / "out", to="flax")
    same(folder / "out", run, folder)


def test_a_tokenizer_that_keeps_the_case_is_refused(folder: Path):
    (folder / "mine").mkdir()
    (folder / "mine" / "tokenizer.json").write_text(gemma())
    own = f"tokenizer={{kind: file, path: {folder}/mine}}"
    run = of_any_resolution(folder, gemma(), more=(own,))
    for to in FORMS:
        refused(run, folder / "out", "keeps the case of texts", to=to)


def test_patches_that_differ_from_the_processors_are_refused(folder: Path):
    run = of_any_resolution(folder, gemma())
    export(run, folder / "out")
    file = folder / "out" / "sentence_bert_config.json"
    told = file.read_text()
    for name, wrong, message in (
        ("patches", told.replace('"patch_size": 4', '"patch_size": 5'), "ask for other patches"),
        ("a word", told.replace('"patch_size": 4', '"patch_size": "4"'), "are not read"),
        ("half", told.replace('"patch_size": 4,', ""), "are not read"),
    ):
        assert wrong != told, name
        file.write_text(wrong)
        with pytest.raises(InputError, match=message):
            Predictor(folder / "out")


def test_faults_of_a_pair_leave_nothing(folder: Path, capsys: Any):
    make_run(folder, "siglip")
    run = folder / "run"
    (folder / "full").mkdir()
    (folder / "full" / "mine").write_text("x")
    refused(run, folder / "full", "not empty", to="hf")
    refused(run, folder / "out", "no separate towers", to="hf", side="query")
    refused(run, folder / "out", "cut at 8 tokens and padded to 12", "--to hf")
    refused(run, folder / "out", "trained without LoRA", to="peft")
    refused(folder / "siglip", folder / "out", "no final parameters", to="hf", which="final")
    assert main(["export", str(run), "-o", str(folder / "out"), "--to", "hf", "--tower", "query"]) == 2  # fmt: skip
    assert "tower" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", str(run), "-o", str(folder / "out"), "--to", "onnx"])
    assert "invalid choice: 'onnx'" in capsys.readouterr().err
    shutil.rmtree(run / "best")
    shutil.rmtree(run / "final")
    refused(run, folder / "out", "has saved no such parameters yet", to="hf")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_source_that_is_another_is_refused(folder: Path, name: str):
    make_run(folder)
    path = folder / "clip" / name
    text = path.read_text()
    changed = {"config.json": ("quick_gelu", "gelu"), "preprocessor_config.json": ("false", "true")}
    path.write_text(text.replace(*changed[name]))
    refused(folder / "run", folder / "out", "not the one that the plan was compiled with", to="hf")
    path.unlink()
    refused(folder / "run", folder / "out", "needed, found", to="hf")


@pytest.mark.parametrize("end", [39, 2])
def test_a_tokenizer_that_does_not_end_its_texts_is_refused(folder: Path, end: int):
    """Padded with what ends a text, each would be pooled at its padding."""
    source = folder / "clip"
    raw = json.loads((source / "tokenizer.json").read_text())
    raw["post_processor"] = None
    raw["added_tokens"] = [t for t in raw["added_tokens"] if t["content"] != "<pad>"]
    vocab = {k: v for k, v in raw["model"]["vocab"].items() if k not in ("<pad>", "</s>")}
    raw["model"]["vocab"] = {**vocab, "<pad>": 39}
    raw["added_tokens"] = [
        {**t, "content": "<pad>"} if t["content"] == "</s>" else t for t in raw["added_tokens"]
    ]
    (source / "tokenizer.json").write_text(json.dumps(raw))
    config = (source / "config.json").read_text()
    (source / "config.json").write_text(config.replace('"eos_token_id": 39', f'"eos_token_id": {end}'))  # fmt: skip
    assert f'"eos_token_id": {end}' in (source / "config.json").read_text()
    refused(source, folder / "out", "does not end a text", "pads it with id 39", to="hf")


def test_a_source_with_the_newer_processor_file_alone_gives_the_older_too(folder: Path):
    source = folder / "clip"
    own = json.loads((source / "preprocessor_config.json").read_text())
    (source / "preprocessor_config.json").unlink()
    whole = {"image_processor": own, "processor_class": "CLIPProcessor"}
    (source / "processor_config.json").write_text(json.dumps(whole))
    make_run(folder)
    export(folder / "run", folder / "out", to="hf")
    assert json.loads((folder / "out" / "preprocessor_config.json").read_text()) == own
    assert json.loads((folder / "out" / "processor_config.json").read_text()) == whole
    same(folder / "out", folder / "run", folder)


OTHERWISE: dict[str, Any] = {
    "another method": ({"modality_config": {"text": {"method": "forward", "method_output_name": None}}}, "modality_config"),
    "another processing": ({"processing_kwargs": {"text": {"max_length": 3}}}, "processing_kwargs"),
    "too long": ({"max_seq_length": 99}, "exceeds the 12 positions"),
    "no length": ({"max_seq_length": "x"}, "must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERWISE)
def test_sentence_transformers_files_that_say_otherwise_are_refused(folder: Path, name: str):
    export(folder / "clip", folder / "out")
    path = folder / "out" / "sentence_bert_config.json"
    change, found = OTHERWISE[name]
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError) as caught:
        Predictor(folder / "out")
    assert found in str(caught.value)
    assert len(caught.value.diagnostics) == 1


def test_the_older_form_of_sentence_transformers_is_read(folder: Path):
    """Its CLIPModel keeps Hugging Face's files in a folder below."""
    old = folder / "old"
    old.mkdir()
    shutil.copytree(folder / "clip", old / "0_CLIPModel")
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}  # fmt: skip
    (old / "modules.json").write_text(json.dumps([module]))
    same(old, folder / "clip", folder)
    module["path"] = "../clip"
    (old / "modules.json").write_text(json.dumps([module]))
    with pytest.raises(InputError, match="must lie inside"):
        Predictor(old)


def test_a_source_whose_weights_are_gone_costs_only_the_scale(folder: Path):
    make_run(folder)
    (folder / "clip" / "model.safetensors").unlink()
    export(folder / "run", folder / "out", to="hf")
    same(folder / "out", folder / "run", folder)
    assert "logit_scale" not in tensors(folder / "out")
    assert "its weights are gone" in note(folder / "out")["left_out"][0]


@pytest.mark.parametrize("kind", ["pair", "composed"])
@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_export_that_is_stopped_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, stop: BaseException
):
    make_run(folder, model=composed("none", folder) if kind == "composed" else "")
    (folder / "there").mkdir()

    def fail(*arguments: Any) -> None:
        raise stop

    module = composing if kind == "composed" else pairing
    monkeypatch.setattr(module, "write_processor", fail)
    with pytest.raises(RunError if isinstance(stop, OSError) else KeyboardInterrupt) as caught:
        export(folder / "run", folder / "there" / "out", to="hf")
    assert list((folder / "there").iterdir()) == []
    if isinstance(stop, OSError):
        assert "the disk is full" in str(caught.value)
