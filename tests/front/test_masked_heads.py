"""Masked language models from a spec to files: BERT's and RoBERTa's own heads, and what cannot be one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import specrun
from specrun.compiler.summary import summary
from specrun.runtime.loop.parameters import read_parameters
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.predict.export import export
from specrun.runtime.trees import flatten
from specrun.spec.plan.networks import is_language_model
from tests.front.test_pretrained import WORDS, write_model

SPEC = """\
version: 1
name: tiny
extends: []
model: {{kind: {kind}, name_or_path: {directory}}}
data: {{kind: text, path: corpus.txt, min_chars: 1, max_length: 8}}
losses: [{{kind: masked_diffusion}}]
train: {{batch_size: 5, max_steps: 2}}
"""
HEADS = {"bert": "cls.predictions.", "roberta": "lm_head."}
DIRECTORIES = {"bert": "torch_head", "roberta": "roberta_torch_head"}


def tokenizer_text(kind: str, mask: str | None = None, pad: int | None = None) -> str:
    """Words with the family's special tokens around a text; padding and mask by their own ids."""
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    if kind != "bert":
        names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    names[-1] = mask or names[-1]
    ids = {word: i for i, word in enumerate((*names, *WORDS))}
    made = Tokenizer(models.WordLevel(ids, unk_token=names[3]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(names)
    begin, end = (("[CLS]", 1), ("[SEP]", 2)) if kind == "bert" else (("<s>", 0), ("</s>", 2))
    made.post_processor = processors.RobertaProcessing(end, begin)
    if pad is not None:
        made.enable_padding(pad_id=pad, pad_token=made.id_to_token(pad))
    return made.to_str()


def write(
    folder: Path, kind: str, flavour: str | None = None, said: str | None = None, **tokenizer: Any
) -> Path:
    """A spec, whose kind is ``said``, beside a directory of the family and a corpus."""
    text = tokenizer_text(kind, **tokenizer)
    directory = write_model(folder / "model", flavour or DIRECTORIES[kind], text)
    lines = [f"Open the {a} {b} tree." for a in WORDS for b in WORDS if a != b]
    (folder / "corpus.txt").write_text("\n\n".join(lines))
    spec = folder / "spec.yaml"
    spec.write_text(SPEC.format(kind=said or kind, directory=json.dumps(str(directory))))
    return spec


def found(spec: Path, *overrides: str) -> list[tuple[str, str]]:
    try:
        specrun.compile(spec, environ={}, overrides=overrides)
    except specrun.InputError as error:
        return [(d.code, d.path) for d in error.diagnostics]
    return []


@pytest.mark.parametrize("kind", ["bert", "roberta", "auto"])
def test_the_directorys_own_head_is_read(tmp_path: Path, kind: str) -> None:
    family = "bert" if kind == "auto" else kind
    spec = write(tmp_path, family, said=kind)
    plan = specrun.compile(spec, environ={})
    assert is_language_model(plan.model.config)
    own = {p.path: p for p in plan.model.parameters if p.path.startswith("vocabulary.")}
    assert [p.removeprefix("vocabulary.") for p in own] == [
        "dense.kernel",
        "dense.bias",
        "LayerNorm.scale",
        "LayerNorm.bias",
        "bias",
    ]
    assert not any(p.new for p in own.values())
    assert [p for p, x in own.items() if x.decay] == ["vocabulary.dense.kernel"]
    assert "scores of 40 ids for every token by the token table" in summary(plan)
    assert plan.warnings == ()
    leaves = flatten(initial_arrays(plan.model, 0))
    files = load_file(tmp_path / "model" / "model.safetensors")
    np.testing.assert_array_equal(leaves["vocabulary.bias"], files[f"{HEADS[family]}bias"])


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_what_is_not_trained_comes_back_byte_for_byte(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = write(tmp_path, kind)
    plan = specrun.compile(spec, environ={}, overrides=["train.trainable=[vocabulary.bias]"])
    specrun.run(plan)
    exported = export("runs/tiny", "out", to="hf", which="final")
    before = load_file(tmp_path / "model" / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert exported.facts["left_out"] == []
    bias = f"{HEADS[kind]}bias"
    assert [n for n in before if before[n].tobytes() != after[n].tobytes()] == [bias]
    trained = flatten(read_parameters(tmp_path / "runs" / "tiny" / "final"))
    np.testing.assert_array_equal(after[bias], trained["vocabulary.bias"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == [{"bert": "Bert", "roberta": "Roberta"}[kind] + "ForMaskedLM"]
    assert "AutoModelForMaskedLM" in (tmp_path / "out" / "README.md").read_text()
    for to in ("sentence-transformers", "flax"):
        with pytest.raises(specrun.InputError, match="masked language model"):
            export("runs/tiny", "other", to=to)  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()


def test_a_directory_without_a_head_starts_one_from_the_seed(tmp_path: Path) -> None:
    spec = write(tmp_path, "bert", "torch_safetensors")
    plan = specrun.compile(spec, environ={})
    assert [w.code for w in plan.warnings] == ["new-vocabulary-head"]
    new = {p.path for p in plan.model.parameters if p.new}
    assert new == {p.path for p in plan.model.parameters if p.path.startswith("vocabulary.")}
    leaves = flatten(initial_arrays(plan.model, 0))
    assert leaves["vocabulary.dense.kernel"].std() > 0
    assert not leaves["vocabulary.bias"].any()


def damaged(spec: Path, change: str) -> None:
    path = spec.parent / "model" / "model.safetensors"
    tensors = load_file(path)
    match change:
        case "missing":
            del tensors["cls.predictions.transform.dense.weight"]
        case "misshapen":
            tensors["cls.predictions.bias"] = tensors["cls.predictions.bias"][:-1].copy()
        case "wrong type":
            tensors["cls.predictions.bias"] = tensors["cls.predictions.bias"].astype(np.int32)
        case "untied":
            config = spec.parent / "model" / "config.json"
            told = json.loads(config.read_text()) | {"tie_word_embeddings": False}
            config.write_text(json.dumps(told))
    save_file(tensors, path)


@pytest.mark.parametrize("change", ["missing", "misshapen", "wrong type", "untied"])
def test_a_damaged_head_is_refused_and_is_none_of_an_embeddings_business(
    tmp_path: Path, change: str
) -> None:
    spec = write(tmp_path, "bert")
    damaged(spec, change)
    assert found(spec) == [("vocabulary-head", "model.name_or_path")]
    rows = [{"query": a, "positive": f"the {a}"} for a in WORDS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    embedding = ("data={kind: jsonl, path: rows.jsonl}", "losses=[{kind: infonce}]")
    assert found(spec, *embedding, "train.batch_size=5") == []


@pytest.mark.parametrize("kind", ["mpnet", "modernbert", "qwen3"])
@pytest.mark.parametrize("auto", [False, True])
def test_other_families_are_refused_by_name(tmp_path: Path, kind: str, auto: bool) -> None:
    spec = write(tmp_path, "roberta", f"{kind}_torch", said="auto" if auto else kind)
    with pytest.raises(specrun.InputError) as caught:
        specrun.compile(spec, environ={})
    [told] = caught.value.diagnostics
    assert (told.code, told.path) == ("no-vocabulary-head", "model.kind")
    assert kind in told.message
    assert "masked_lm" in told.hint
    assert "bert" in told.hint.lower()


def test_a_tokenizer_without_a_mask_or_with_one_id_for_both_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    spec = write(tmp_path / "a", "bert", mask="[OTHER]")
    assert found(spec) == [("no-mask-token", "tokenizer")]
    spec = write(tmp_path / "b", "bert", pad=4)
    assert found(spec) == [("mask-is-padding", "tokenizer")]


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("model.pooling=mean", "model.pooling"),
        ("model.pooling=none", "model.pooling"),
        ("model.projection_dim=8", "model.projection_dim"),
        ("model.multi_vector={dim: 8}", "model.multi_vector"),
        ("model.towers=separate", "model.towers"),
        ("model.prompts.query='a '", "model.prompts.query"),
    ],
)
def test_nothing_that_is_said_of_embeddings_is_ignored(
    tmp_path: Path, setting: str, path: str
) -> None:
    assert ("no-effect", path) in found(write(tmp_path, "bert"), setting)


def test_models_and_losses_that_do_not_suit(tmp_path: Path) -> None:
    spec = write(tmp_path, "bert")
    trained = "tokenizer={kind: train, vocab_size: 300}"
    encoder = "model={kind: text_encoder, hidden_size: 8, num_hidden_layers: 0}"
    assert ("no-vocabulary-head", "model.kind") in found(spec, encoder, trained)
    language = "model={kind: masked_lm, hidden_size: 8, num_attention_heads: 2}"
    rows = ("data={kind: jsonl, path: rows.jsonl}", "losses=[{kind: infonce}]")
    (tmp_path / "rows.jsonl").write_text('{"query": "a", "positive": "b"}\n')
    assert ("nothing-hidden", "losses") in found(spec, language, trained, *rows)
    odd = "model={kind: masked_lm, hidden_size: 30, num_attention_heads: 4}"
    assert found(spec, odd, trained) == [("heads-do-not-divide", "model.num_attention_heads")]


def test_a_model_from_scratch_and_its_mask(tmp_path: Path) -> None:
    spec = write(tmp_path, "bert")
    small = "hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12"
    plan = specrun.compile(
        spec,
        environ={},
        overrides=[
            "name=tiny-125m",
            f"model={{kind: masked_lm, {small}}}",
            "tokenizer={kind: train, vocab_size: 300}",
        ],
    )
    assert plan.tokenizer.mask_id not in (None, plan.tokenizer.pad_id)
    assert {w.code for w in plan.warnings} == {"small-vocabulary", "other-size"}
    text = summary(plan)
    assert "masked_lm, 1 layers" in text
    assert "4lh² + 3lh·hf + 6lh + Vh is" in text
    assert dataclasses.asdict(plan)["model"]["config"]["vocabulary_head"] == "own"
