"""From a spec to embeddings with a pretrained family: the kind, the padding id and the lengths must fit the directory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import specrun
from specrun.cli import main
from specrun.compiler.explain import explain
from specrun.compiler.summary import summary
from specrun.runtime.loop.parameters import read_parameters
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.families import NOT_YET, family_of
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.predict.export import export
from specrun.runtime.predict.predictor import Predictor

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
WORDS = ("open", "close", "read", "write", "file", "list", "tree", "a", "the", "x")
SPEC = """\
version: 1
name: tiny
model: {{kind: {kind}, name_or_path: {directory}}}
data:
  kind: jsonl
  path: rows.jsonl
  max_length: {{query: 8, positive: 12}}
  validation: {{kind: fraction, fraction: 0.2}}
losses: [{{kind: infonce}}]
train: {{batch_size: 9, max_steps: 3}}
evaluation: {{metrics: [mrr@10]}}
extends: []
"""


def tokenizer_text(pad_id: int = 1, pad: str = "<pad>") -> str:
    """Words with RoBERTa's special tokens around a text: ``<s> … </s>``."""
    special = ["<s>", "</s>", "<unk>"]
    special.insert(pad_id, pad)
    ids = {word: i for i, word in enumerate((*special, *WORDS))}
    made = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(special)
    made.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    return made.to_str()


SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
"""As RoBERTa and XLM-R number them: padding is 1."""


def byte_level(baked: bool) -> str:
    """RoBERTa's kind: byte-level BPE over a few letters, ``<s> … </s>`` around a text."""
    letters = ["\u0120", *"abcdefghijklmnopqrstuvwxyz", "re", "th", "the"]
    ids = {token: i for i, token in enumerate((*SPECIAL, *letters))}
    merges = [("r", "e"), ("t", "h"), ("th", "e")]
    made = Tokenizer(models.BPE(ids, merges, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return _finished(made, baked)


def unigram(baked: bool) -> str:
    """XLM-R's kind: a unigram model over pieces that begin with ▁."""
    words = [f"\u2581{word}" for word in WORDS]
    pieces = [*((token, 0.0) for token in SPECIAL), *((word, -3.0) for word in words)]
    pieces += [(letter, -9.0) for letter in "abcdefghijklmnopqrst"]
    made = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return _finished(made, baked)


def appending(padding_side: str = "left") -> str:
    """Qwen3-Embedding's kind: byte-level BPE, and behind every text the token that also pads."""
    letters = ["\u0120", *"abcdefghijklmnopqrstuvwxyz", "re", "th", "the"]
    ids = {token: i for i, token in enumerate(("<|im_start|>", *letters, "<|endoftext|>"))}
    made = Tokenizer(models.BPE(ids, [("r", "e"), ("t", "h"), ("th", "e")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.add_special_tokens(["<|im_start|>", "<|endoftext|>"])
    end = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", ids["<|endoftext|>"])]
    )
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), end])
    if padding_side == "left":
        made.enable_padding(
            direction="left", pad_id=ids["<|endoftext|>"], pad_token="<|endoftext|>"
        )
    return made.to_str()


def _finished(made: Tokenizer, baked: bool) -> str:
    made.add_special_tokens(SPECIAL)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    if baked:  # as some files bring along
        made.enable_padding(pad_id=1, pad_token="<pad>", length=20)
        made.enable_truncation(5)
    return made.to_str()


def write_model(folder: Path, flavour: str, tokenizer: str) -> Path:
    folder.mkdir()
    for file in (GOLDEN / flavour).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "tokenizer.json").write_text(tokenizer)
    return folder


def write_spec(folder: Path, kind: str, directory: Path) -> Path:
    pairs = [(a, b) for a in WORDS for b in WORDS if a != b]
    rows = [{"query": f"{a} {b}", "positive": f"the {b} {a} x"} for a, b in pairs]
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    spec = folder / "spec.yaml"
    spec.write_text(SPEC.format(kind=kind, directory=json.dumps(str(directory))))
    return spec


def found(spec: Path, **options: Any) -> list[tuple[str, str, str, str]]:
    try:
        specrun.compile(spec, environ={}, **options)
    except specrun.InputError as error:
        return [(d.code, d.path, d.message, d.hint) for d in error.diagnostics]
    return []


@pytest.mark.parametrize(
    ("kind", "flavour", "right"),
    [
        ("bert", "roberta_torch", "roberta"),
        ("bert", "xlmr_flax", "roberta"),
        ("roberta", "torch_safetensors", "bert"),
        ("roberta", "mpnet_torch", "mpnet"),
        ("mpnet", "roberta_torch", "roberta"),
        ("qwen3", "mpnet_torch", "mpnet"),
        ("bert", "qwen3_torch", "qwen3"),
        ("bert", "modernbert_torch", "modernbert"),
    ],
)
def test_a_directory_of_another_family_is_refused_by_the_right_kind(
    tmp_path: Path, kind: str, flavour: str, right: str
):
    directory = write_model(tmp_path / "model", flavour, tokenizer_text())
    [(code, path, message, hint)] = found(write_spec(tmp_path, kind, directory))
    assert (code, path) == ("other-family", "model.kind")
    assert f"a model of the kind `{right}`, not `{kind}`" in message
    assert hint == f"write `kind: {right}`"


@pytest.mark.parametrize("kind", ["roberta", "mpnet"])
def test_a_tokenizer_that_pads_with_another_id_is_refused(tmp_path: Path, kind: str):
    """Positions are counted behind the model's padding id, so another would count words as padding."""
    directory = write_model(tmp_path / "model", f"{kind}_torch", tokenizer_text(pad_id=3))
    [(code, path, message, _)] = found(write_spec(tmp_path, kind, directory))
    assert (code, path) == ("other-padding", "tokenizer")
    assert "pads with id 3" in message
    assert "padding id 1" in message
    with pytest.raises(specrun.InputError, match="pads with id 3"):
        Predictor(directory)


@pytest.mark.parametrize("kind", ["qwen3", "auto"])
def test_dropout_that_a_family_lacks_is_refused(tmp_path: Path, kind: str):
    """By the family's own words where it is named, and by the plan where config.json decides."""
    directory = write_model(tmp_path / "model", "qwen3_torch", tokenizer_text())
    spec = write_spec(tmp_path, kind, directory)
    [(code, path, message, hint)] = found(spec, overrides=["model.hidden_dropout_prob=0.1"])
    assert path == "model.hidden_dropout_prob"
    if kind == "auto":
        assert (code, message) == (
            "no-effect",
            "qwen3 has no dropout on embeddings and block outputs",
        )
        assert hint == "remove the line; model.attention_probs_dropout_prob has an effect"


def test_lengths_are_held_against_the_positions_that_tokens_have(tmp_path: Path):
    directory = write_model(tmp_path / "model", "roberta_torch", tokenizer_text())
    spec = write_spec(tmp_path, "roberta", directory)
    [(code, path, message, hint)] = found(spec, overrides=["data.max_length.positive=13"])
    assert (code, path, hint) == ("too-long", "data.max_length.positive", "at most 12")
    assert "13 tokens, but the model has 12 positions" in message


GROUPS = {"modernbert": [(0, 1), (1, 3)]}
"""The stacks of a family whose layers are not all alike: ModernBERT's first lacks a norm."""


@pytest.mark.parametrize(
    ("kind", "flavour"),
    [
        *(("roberta", "roberta_torch"), ("roberta", "xlmr_flax"), ("mpnet", "mpnet_torch")),
        ("qwen3", "qwen3_torch"),
        ("modernbert", "modernbert_torch"),
    ],
)
def test_a_family_trains_and_embeds(
    tmp_path: Path, kind: str, flavour: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    directory = write_model(tmp_path / "model", flavour, tokenizer_text())
    plan = specrun.compile(write_spec(tmp_path, kind, directory), environ={})
    assert plan.tokenizer.pad_id == getattr(plan.model.config, "pad_token_id", 1) == 1
    assert [(g.first, g.count) for g in plan.model.groups] == GROUPS.get(kind, [(0, 2)])
    result = specrun.run(plan)
    assert np.isfinite(result.metrics["loss"])
    before, after = Predictor(directory), Predictor(tmp_path / "runs" / "tiny")
    texts = ["open a file", "x", "", "read the list the tree the file"]
    assert np.abs(before.encode_text(texts) - after.encode_text(texts)).max() > 1e-4


@pytest.mark.parametrize(
    ("flavour", "family", "model_type"),
    [
        ("roberta_torch", "roberta", "roberta"),
        ("xlmr_flax", "roberta", "xlm-roberta"),
        ("mpnet_torch", "mpnet", "mpnet"),
        ("qwen3_torch", "qwen3", "qwen3"),
        ("modernbert_torch", "modernbert", "modernbert"),
    ],
)
def test_auto_decides_by_the_configuration_and_says_so(
    tmp_path: Path, flavour: str, family: str, model_type: str
):
    directory = write_model(tmp_path / "model", flavour, tokenizer_text())
    named = specrun.compile(write_spec(tmp_path, family, directory), environ={})
    plan = specrun.compile(write_spec(tmp_path, "auto", directory), environ={})
    assert (plan.model.config.kind, plan.model.decided_by) == (family, model_type)
    assert named.model.decided_by is None
    assert dataclasses.replace(plan.model, decided_by=None) == named.model
    said = summary(plan)
    assert f"model      {family} (auto: config.json says {model_type})" in said
    assert "(auto" not in summary(named)
    told = explain(plan, "model.kind")
    assert told.startswith("model.kind = auto\n  meaning  The family that `model_type` in")
    assert "spec.yaml:3" in told
    assert told.endswith(f"decided  {family}, by model_type {model_type!r} of config.json")
    assert "decided" not in explain(named, "model.kind")


@pytest.mark.parametrize(
    ("model_type", "hint"),
    [
        ("electra", "only these architectures are implemented"),
        ("qwen3_vl", "qwen3_vl is planned and not there yet; only these"),
    ],
)
def test_auto_refuses_what_it_does_not_know(tmp_path: Path, model_type: str, hint: str):
    directory = write_model(tmp_path / "model", "mpnet_torch", tokenizer_text())
    (directory / "config.json").write_text(json.dumps({"model_type": model_type}))
    [(_, path, message, mend)] = found(write_spec(tmp_path, "auto", directory))
    assert path == "model.name_or_path"
    assert (
        "must be one of: bert, roberta, xlm-roberta, camembert, mpnet, qwen3, modernbert" in message
    )
    assert f"found {model_type!r} (" in message
    assert mend.startswith(hint)


def test_what_is_planned_is_not_there():
    assert [name for name in NOT_YET if family_of(name)] == []


def test_padding_and_positions_agree(tmp_path: Path):
    """However far a row is padded, and whatever it is batched with, its embedding is the same."""
    directory = write_model(tmp_path / "model", "roberta_torch", tokenizer_text())
    predictor = Predictor(directory)
    texts = ["open a file", "x", "", "read the list the tree the file", "open a <pad> file"]
    together = predictor.encode_text(texts)
    alone = np.concatenate([predictor.encode_text([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)

    ids = predictor.trained.tokenizer.encode(texts, 12)[4]
    assert 1 in ids  # the padding id as a token of the text
    tight = build_encoder(predictor.trained.model).encode(
        predictor.trained.parameters, ids[None], np.ones((1, len(ids)), bool)
    )
    tight = np.asarray(tight) / np.linalg.norm(tight)
    np.testing.assert_allclose(tight, together[4:], atol=1e-6)


@pytest.mark.parametrize("made", [byte_level, unigram])
@pytest.mark.parametrize("baked", [False, True])
def test_robertas_tokenizers_bring_their_padding_and_special_tokens(
    tmp_path: Path, made: Any, baked: bool
):
    """Padding is the model's own id, special tokens stay when a text is cut, and padding changes nothing."""
    directory = write_model(tmp_path / "model", "xlmr_torch", made(baked))
    predictor = Predictor(directory)
    tokenizer = predictor.trained.tokenizer
    assert tokenizer.pad_id == predictor.trained.model.config.pad_token_id == 1
    texts = ["read the tree", "x", "", "open a file the list the tree the file a x a x a x"]
    ids = tokenizer.encode(texts, predictor.trained.lengths["positive"])
    assert [x[0] for x in ids] == [0] * 4
    assert [x[-1] for x in ids] == [2] * 4
    assert [len(x) for x in ids][1:] == [len(ids[1]), 2, 12]
    assert not any(1 in x for x in ids)
    together = predictor.encode_text(texts)
    alone = np.concatenate([predictor.encode_text([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "none"])
def test_qwen3s_tokenizer_ends_a_text_that_is_cut(tmp_path: Path, side: str):
    """The last token is what is pooled, so it must be there; it pads too, which the mask tells apart."""
    directory = write_model(tmp_path / "model", "qwen3_torch", appending(side))
    predictor = Predictor(directory)
    tokenizer = predictor.trained.tokenizer
    end = tokenizer.pad_id
    assert tokenizer.token_of(end)[0] == "<|endoftext|>"
    texts = ["read the tree", "x", "", "open a file the list the tree the file a x a x a x"]
    ids = tokenizer.encode(texts, predictor.trained.lengths["positive"])
    assert [(int(x[-1]), int((x == end).sum())) for x in ids] == [(end, 1)] * 4
    assert [len(x) for x in ids][1:] == [3, 1, 12]
    together = predictor.encode_text(texts)
    alone = np.concatenate([predictor.encode_text([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_adapters_on_one_tower_leave_the_other_as_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """From the spec to two exports: the positives' tower is the source still, the queries' has moved."""
    monkeypatch.chdir(tmp_path)
    directory = write_model(tmp_path / "model", "xlmr_torch", tokenizer_text())
    plan = specrun.compile(
        write_spec(tmp_path, "roberta", directory),
        overrides=[
            "model.towers=separate",
            "lora={rank: 2, target_modules: ['query.*.value']}",
            "optimizer.learning_rate=0.01",
        ],
        environ={},
    )
    assert {p.path.partition(".")[0] for p in plan.model.parameters if p.trained} == {"query"}
    specrun.run(plan)
    for tower in ("query", "positive"):
        arguments = ["export", "runs/tiny", "-o", tower, "--tower", tower, "--which", "final"]
        assert main(arguments) == 0
    assert capsys.readouterr().out.count("merged") == 1  # the other tower has no adapters
    texts = ["open a file", "x", "read the list"]
    source = Predictor(directory).encode_text(texts)
    np.testing.assert_array_equal(Predictor(tmp_path / "positive").encode_text(texts), source)
    assert np.abs(Predictor(tmp_path / "query").encode_text(texts) - source).max() > 1e-3
    before = (directory / "model.safetensors").read_bytes()
    assert (tmp_path / "positive" / "model.safetensors").read_bytes() == before


def test_a_directorys_own_head_trains_on(tmp_path: Path):
    """It is read, not drawn: the start does not depend on the seed; a new one in its place is refused."""
    first = write_model(tmp_path / "first", "torch_safetensors", tokenizer_text())
    spec = write_spec(tmp_path, "auto", first)
    headed = specrun.compile(spec, environ={}, overrides=["model.projection_dim=6"])
    [head] = [p for p in headed.model.parameters if p.path == "projection.kernel"]
    assert head.new
    folder = tmp_path / "run"
    specrun.run(dataclasses.replace(headed, output_dir=str(folder)))
    export(folder, tmp_path / "second")
    spec = write_spec(tmp_path, "auto", tmp_path / "second")
    plan = specrun.compile(spec, environ={}, overrides=["train.trainable=[projection.kernel]"])
    [head] = [p for p in plan.model.parameters if p.path == "projection.kernel"]
    assert (head.new, head.shape, plan.model.embedding_dim) == (False, (16, 6), 6)
    assert plan.model.weights is not None
    assert plan.model.weights.head is not None
    written = read_parameters(folder / "best")["projection"]["kernel"]
    for seed in (0, 1):
        started = initial_arrays(plan.model, seed)["projection"]["kernel"]
        np.testing.assert_array_equal(started, written)
    [(code, path, _, hint)] = found(spec, overrides=["model.projection_dim=6"])
    assert (code, path) == ("own-head", "model.projection_dim")
    assert "remove" in hint
    head_path = Path(plan.model.weights.head.path)
    head_path.write_bytes(head_path.read_bytes()[:-1] + b"x")
    with pytest.raises(specrun.InputError, match="changed since the plan was compiled"):
        initial_arrays(plan.model, 0)
