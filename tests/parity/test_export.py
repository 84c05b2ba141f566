"""Exports as sentence-transformers and transformers load them: the embeddings are those of our predictor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.runtime.adapters.lora import is_adapter
from specrun.runtime.loop.parameters import write_parameters
from specrun.runtime.models.encoder import initial_parameters
from specrun.runtime.predict.export import export
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.trees import flatten, unflatten
from tests.front.test_pretrained import appending, byte_level, unigram, write_model
from tests.minilm import minilm_or_skip
from tests.parity.test_minilm import TEXTS
from tests.runtime.test_export import frozen, make_pretrained_run, moved

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.parity

EMBEDDING = 1e-5
"""Largest difference of a unit vector's number in f32."""

SHORT = ["open a file", "x", "a b", "read(path)", "Eine Straße", "a long text " * 30]
VARIANTS: dict[str, dict[str, Any]] = {
    "bert": {"flavour": "torch_safetensors"},
    "bert under LoRA, cls": {"flavour": "flax_msgpack", "lora": True, "pooling": "cls"},
    "bert with a head": {"flavour": "torch_safetensors", "projection_dim": 6},
    "bert with a head under LoRA": {"flavour": "torch_head", "projection_dim": 6, "lora": True},
    "roberta": {"flavour": "roberta_torch_head"},
    "roberta under LoRA": {"flavour": "roberta_flax", "lora": True},
    "xlm-r under LoRA": {"flavour": "xlmr_torch", "lora": True},
    "bert pooled by the last token": {"flavour": "torch_safetensors", "pooling": "last"},
    "mpnet, last, with a head": {
        **{"flavour": "mpnet_torch", "pooling": "last", "projection_dim": 6},
    },
    "mpnet": {"flavour": "mpnet_torch_head"},
    "mpnet under LoRA": {"flavour": "mpnet_torch", "lora": True},
    "qwen3": {"flavour": "qwen3_torch_head", "pooling": "last"},
    "qwen3 under LoRA": {"flavour": "qwen3_torch", "lora": True, "pooling": "last"},
    "modernbert": {"flavour": "modernbert_torch_head"},
    "modernbert under LoRA": {"flavour": "modernbert_torch", "lora": True, "pooling": "cls"},
    "modernbert with a head": {"flavour": "modernbert_torch", "projection_dim": 6},
    "qwen3 with a head": {"flavour": "qwen3_torch", "projection_dim": 6},
    "mpnet with a head": {"flavour": "mpnet_torch", "projection_dim": 6},
}
CLASSES = {
    "bert": "BertModel",
    "roberta": "RobertaModel",
    "xlm-r": "XLMRobertaModel",
    "mpnet": "MPNetModel",
    "qwen3": "Qwen3Model",
    "modernbert": "ModernBertModel",
}


@pytest.mark.parametrize("name", VARIANTS)
def test_sentence_transformers_embeds_as_we_do(tmp_path: Path, name: str):
    make_pretrained_run(tmp_path, **VARIANTS[name])
    export(tmp_path / "run", tmp_path / "out")
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    expected = Predictor(tmp_path / "run").encode_document(SHORT)
    np.testing.assert_allclose(model.encode(SHORT), expected, atol=EMBEDDING, rtol=0)
    assert model.max_seq_length == 8


def pooled(model: Any, directory: Path, pooling: str) -> np.ndarray:
    """Unit embeddings as the model card of an export tells to make them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    batch = tokenizer(SHORT, padding=True, truncation=True, max_length=8, return_tensors="pt")
    with torch.no_grad():
        hidden = model.eval()(batch.input_ids, attention_mask=batch.attention_mask)
    x, weight = hidden.last_hidden_state, batch.attention_mask[..., None].float()
    last = x[torch.arange(len(x)), batch.attention_mask.sum(1) - 1]
    mean = (x * weight).sum(1) / weight.sum(1)
    found = {"cls": x[:, 0], "last": last, "mean": mean}[pooling]
    return torch.nn.functional.normalize(found).numpy()


@pytest.mark.parametrize("to", ["sentence-transformers", "hf"])
@pytest.mark.parametrize("name", [n for n in VARIANTS if "head" not in n])
def test_transformers_embeds_as_we_do(tmp_path: Path, name: str, to: Any):
    """Nothing is missing from the file, and nothing in it is unexpected, the pooler that no source had apart."""
    make_pretrained_run(tmp_path, **VARIANTS[name])
    export(tmp_path / "run", tmp_path / "out", to=to)
    model, told = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert type(model).__name__ == CLASSES[name.split()[0]]
    assert not told["unexpected_keys"]
    assert all(key.startswith("pooler.") for key in told["missing_keys"])
    found = pooled(model, tmp_path / "out", VARIANTS[name].get("pooling", "mean"))
    expected = Predictor(tmp_path / "run").encode_document(SHORT)
    np.testing.assert_allclose(found, expected, atol=EMBEDDING, rtol=0)


ADAPTED: dict[str, dict[str, Any]] = {
    "bert, cls": {"flavour": "torch_safetensors", "pooling": "cls"},
    "roberta, last": {"flavour": "roberta_torch", "pooling": "last"},
    "mpnet": {"flavour": "mpnet_torch"},
}


@pytest.mark.parametrize("name", ADAPTED)
def test_peft_loads_the_adapters_upon_the_source(tmp_path: Path, name: str):
    """The base is as it was, so the run's other numbers must not have moved either."""
    plan = make_pretrained_run(tmp_path, **ADAPTED[name], lora=True)
    run = tmp_path / "run"
    frozen(run)
    start, drawn = (flatten(x) for x in (initial_parameters(plan.model, 0), moved(plan.model)))
    leaves = {p: drawn[p] if is_adapter(p) else np.asarray(x) for p, x in start.items()}
    shutil.rmtree(run / "best")
    write_parameters(run / "best", unflatten(leaves), {"step": 1})
    export(run, tmp_path / "out", to="peft")
    base = transformers.AutoModel.from_pretrained(tmp_path / "source")
    found = pooled(
        peft.PeftModel.from_pretrained(base, tmp_path / "out"),
        tmp_path / "out",
        ADAPTED[name].get("pooling", "mean"),
    )
    expected = Predictor(run).encode_document(SHORT)
    np.testing.assert_allclose(found, expected, atol=EMBEDDING, rtol=0)
    plain = transformers.AutoModel.from_pretrained(tmp_path / "source")
    without = pooled(plain, tmp_path / "out", ADAPTED[name].get("pooling", "mean"))
    assert np.abs(without - expected).max() > 100 * EMBEDDING


def test_we_read_a_dense_that_sentence_transformers_wrote(tmp_path: Path):
    make_pretrained_run(tmp_path)
    export(tmp_path / "run", tmp_path / "plain")
    made = sentence_transformers.SentenceTransformer(str(tmp_path / "plain"), device="cpu")
    modules = sentence_transformers.sentence_transformer.modules
    torch.manual_seed(3)
    dense = modules.Dense(16, 6, bias=False, activation_function=torch.nn.Identity())
    whole = sentence_transformers.SentenceTransformer(
        modules=[made[0], made[1], dense, modules.Normalize()], device="cpu"
    )
    whole.save(str(tmp_path / "theirs"))
    found = Predictor(tmp_path / "theirs").encode_text(SHORT)
    np.testing.assert_allclose(found, whole.encode(SHORT), atol=EMBEDDING, rtol=0)
    export(tmp_path / "theirs", tmp_path / "out")
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_array_equal(again.encode(SHORT), whole.encode(SHORT))


@pytest.mark.parametrize("side", ["query", "positive"])
def test_each_tower_is_a_model_of_its_own(tmp_path: Path, side: Any):
    make_pretrained_run(tmp_path, towers=True, lora=True)
    export(tmp_path / "run", tmp_path / "out", side=side)
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    expected = Predictor(tmp_path / "run").encode_text(SHORT, side=side)
    np.testing.assert_allclose(model.encode(SHORT), expected, atol=EMBEDDING, rtol=0)


def test_bfloat16_loads_as_bfloat16(tmp_path: Path):
    make_pretrained_run(tmp_path)
    export(tmp_path / "run", tmp_path / "out", dtype="bfloat16")
    model = transformers.AutoModel.from_pretrained(tmp_path / "out")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    expected = Predictor(tmp_path / "run").encode_document(SHORT)
    found = Predictor(tmp_path / "out").encode_text(SHORT)
    np.testing.assert_allclose(found, expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("made", [byte_level, unigram])
def test_robertas_tokenizers_are_kept(tmp_path: Path, made: Any):
    directory = write_model(tmp_path / "model", "xlmr_torch", made(True))
    export(directory, tmp_path / "out")
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    texts = ["read the tree", "x", "open a file the list the tree the file a x a x a x"]
    expected = Predictor(directory).encode_text(texts)
    np.testing.assert_allclose(model.encode(texts), expected, atol=EMBEDDING, rtol=0)


def with_pooling(directory: Path, side: str) -> None:
    """The files of sentence-transformers that pool by the last token, with padding on ``side``."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "padding_side": side,
        "model_max_length": 12,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_lasttoken": True}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(
            [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
        )
    ]
    (directory / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize("side", ["left", "right"])
def test_qwen3_pads_on_either_side(tmp_path: Path, side: str):
    """As sentence-transformers embeds with the directory's own tokenizer, texts cut at the length among them."""
    directory = write_model(tmp_path / "model", "qwen3_torch", appending())
    with_pooling(directory, side)
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    assert model.tokenizer.padding_side == side
    texts = ["read the tree", "x", "open a file the list the tree the file a x a x a x"]
    expected = Predictor(directory).encode_text(texts)
    np.testing.assert_allclose(model.encode(texts), expected, atol=EMBEDDING, rtol=0)
    export(directory, tmp_path / "out")
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(again.encode(texts), expected, atol=EMBEDDING, rtol=0)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_prompts_are_sentence_transformers(tmp_path: Path, padding: str):
    """As encode_query and encode_document put them, over a directory and over what is exported of it."""
    directory = write_model(tmp_path / "model", "qwen3_torch", appending())
    with_pooling(directory, padding)
    prompts = {"query": "read the: ", "document": "", "other": "x"}
    settings = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    (directory / "config_sentence_transformers.json").write_text(json.dumps(settings))
    export(directory, tmp_path / "out")
    texts = ["the tree", "x", "open a file the list the tree the file a x a x a x"]
    for folder in (directory, tmp_path / "out"):
        model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        ours = Predictor(folder)
        queries, documents = model.encode_query(texts), model.encode_document(texts)
        assert np.abs(queries - documents).max() > 1e-2
        np.testing.assert_allclose(ours.encode_query(texts), queries, atol=EMBEDDING, rtol=0)
        np.testing.assert_allclose(ours.encode_document(texts), documents, atol=EMBEDDING, rtol=0)


def test_the_real_minilm_comes_back(tmp_path: Path):
    directory = minilm_or_skip()
    done = export(directory, tmp_path / "out")
    assert "vocab.txt" in done.facts["files_of_the_source"]
    assert done.facts["left_out"] == ["embeddings.position_ids"]
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    original = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    texts = list(TEXTS)
    np.testing.assert_array_equal(model.encode(texts), original.encode(texts))
    ours = Predictor(directory).encode_text(texts)
    np.testing.assert_allclose(model.encode(texts), ours, atol=EMBEDDING, rtol=0)
