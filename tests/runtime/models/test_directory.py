"""A model directory as facts, and every fault of its configuration by name."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrun.runtime.models.bert.table import DEFAULTS, FIXED
from specrun.runtime.models.directory import PretrainedDirectory, inspect
from specrun.spec.diagnostics import InputError
from tests.runtime.models.tiny import (
    bert_config,
    modernbert_config,
    mpnet_config,
    qwen3_config,
    roberta_config,
)
from tests.runtime.weights.files import safetensors_bytes, tensors, write_config

CONFIG = bert_config(num_hidden_layers=1)
MODULES = ("Transformer", "Pooling", "Normalize")


def write(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def sentence_directory(folder: Path, *, new: bool, below: str = "") -> None:
    """As sentence-transformers up to 5, or 6 (``new``), writes one; the network in the folder ``below``."""
    package = "sentence_transformers.base.modules" if new else "sentence_transformers.models"
    paths = (below, "1_Pooling", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{package}.{kind}"}
        for i, (kind, path) in enumerate(zip(MODULES, paths, strict=True))
    ]
    write(folder, "modules.json", modules)
    old = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    write(folder, "1_Pooling/config.json", {"pooling_mode": "cls"} if new else old)
    if new:
        write(folder / below, "tokenizer_config.json", {"model_max_length": 9})
        write(folder / below, "sentence_bert_config.json", {"transformer_task": "x"})
    else:
        write(folder / below, "sentence_bert_config.json", {"max_seq_length": 9})
    write(folder / below, "tokenizer.json", {})


def faults(folder: Path, *parts: str) -> InputError:
    with pytest.raises(InputError) as caught:
        inspect(folder)
    for part in parts:
        assert part in str(caught.value)
    assert all(d.file.startswith(str(folder)) and d.hint for d in caught.value.diagnostics)
    return caught.value


def test_a_plain_directory(tmp_path: Path):
    write_config(tmp_path, CONFIG)
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors(CONFIG)))
    write(tmp_path, "tokenizer.json", {})
    write(tmp_path, "tokenizer_config.json", {"model_max_length": 1e30})
    found = inspect(tmp_path)
    assert found.config == CONFIG
    assert (found.pooling, found.normalize, found.max_length) == ("mean", False, 12)
    assert found.tokenizer == tmp_path / "tokenizer.json"
    assert found.weights
    assert found.weights.files[0].bytes == (tmp_path / "model.safetensors").stat().st_size
    assert found.config_input.role == "config"
    assert found.config_input.files == 2
    assert inspect(tmp_path, weights=False).weights is None


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("below", ["", "0_Transformer"])
def test_both_spellings_of_sentence_transformers(tmp_path: Path, new: bool, below: str):
    write_config(tmp_path / below, CONFIG)
    sentence_directory(tmp_path, new=new, below=below)
    found = inspect(tmp_path)
    assert (found.pooling, found.normalize, found.max_length) == ("cls", True, 9)
    assert found.config.pooling == "cls"
    assert found.tokenizer == tmp_path / below / "tokenizer.json"


@pytest.mark.parametrize(
    "spelling", [{"pooling_mode": "lasttoken"}, {"pooling_mode_lasttoken": True}]
)
def test_the_last_token_in_both_spellings(tmp_path: Path, spelling: dict[str, Any]):
    write_config(tmp_path, CONFIG)
    sentence_directory(tmp_path, new=False)
    write(tmp_path, "1_Pooling/config.json", spelling)
    found = inspect(tmp_path)
    assert (found.pooling, found.config.pooling) == ("last", "last")


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ({}, ("", "")),
        ({"query": "q: ", "document": ""}, ("q: ", "")),
        ({"corpus": "c", "passage": "p: ", "task": "t"}, ("", "p: ")),
        ({"query": "q: ", "document": "d: ", "passage": "p: "}, ("q: ", "d: ")),
    ],
)
def test_prompts_are_found_where_sentence_transformers_looks(
    tmp_path: Path, prompts: dict[str, str], expected: tuple[str, str]
):
    write_config(tmp_path, CONFIG)
    sentence_directory(tmp_path, new=True)
    write(tmp_path, "config_sentence_transformers.json", {"prompts": prompts})
    found = inspect(tmp_path)
    assert (found.prompts.query, found.prompts.positive) == expected
    assert found.pools_prompts
    write(tmp_path, "1_Pooling/config.json", {"pooling_mode": "cls", "include_prompt": False})
    assert not inspect(tmp_path).pools_prompts


def test_the_digest_covers_every_file_that_was_read(tmp_path: Path):
    write_config(tmp_path, CONFIG)
    sentence_directory(tmp_path, new=False)
    before = inspect(tmp_path).config_input
    assert before == inspect(tmp_path).config_input
    write(tmp_path, "sentence_bert_config.json", {"max_seq_length": 8})
    assert before.digest != inspect(tmp_path).config_input.digest


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"model_type": "electra"},
            "model_type must be one of: bert, roberta, xlm-roberta, camembert, mpnet, qwen3, "
            "modernbert; "
            "found 'electra'",
        ),
        ({"model_type": ["bert"]}, "found ['bert']"),
        (
            {"model_type": "roberta", "pad_token_id": None},
            "pad_token_id must be a whole number from 0 to 2147483647, found None",
        ),
        (
            {"model_type": "roberta", "pad_token_id": 11},
            "12 positions leave none for a token",
        ),
        ({"model_type": "mpnet", "pad_token_id": 0}, "pad_token_id must be 1, found 0"),
        (
            {"model_type": "mpnet", "relative_attention_num_buckets": 64},
            "relative_attention_num_buckets must be 32, found 64",
        ),
        ({"model_type": None}, "found None"),
        (
            {"hidden_size": "16"},
            "hidden_size must be a whole number from 1 to 2147483647, found '16'",
        ),
        ({"hidden_size": True}, "found True"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers must be a whole number from 0 to 512"),
        ({"vocab_size": 0}, "vocab_size must be a whole number from 1"),
        ({"num_hidden_layers": -1}, "num_hidden_layers must be a whole number from 0 to 512"),
        ({"type_vocab_size": 0}, "type_vocab_size must be a whole number from 1"),
        ({"hidden_dropout_prob": 1}, "hidden_dropout_prob must be a number from 0 to below 1"),
        ({"layer_norm_eps": 0}, "layer_norm_eps must be a number above 0"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps must be a number above 0"),
        ({"hidden_act": 3}, "hidden_act must be text"),
        ({"hidden_act": "mish"}, "hidden_act must be one of: gelu"),
        ({"num_attention_heads": 3}, "16 / 3 is not whole"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type must be 'absolute'"),
        ({"is_decoder": True}, "is_decoder must be False, found True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config must be None"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads must be {}"),
        ({"auto_map": {"AutoModel": "mine.Model"}}, "code that comes with the model"),
    ],
)
def test_a_faulty_configuration(tmp_path: Path, changes: dict[str, Any], found: str):
    write_config(tmp_path, CONFIG, **changes)
    faults(tmp_path, found)


@pytest.mark.parametrize(
    "changes",
    [
        {"position_embedding_type": "absolute", "is_decoder": False, "pruned_heads": {}},
        {"quantization_config": None, "unknown_key": 3, "auto_map": {"AutoTokenizer": "x"}},
        {"num_hidden_layers": 0, "num_attention_heads": 5},
    ],
)
def test_a_harmless_configuration(tmp_path: Path, changes: dict[str, Any]):
    write_config(tmp_path, CONFIG, **changes)
    assert isinstance(inspect(tmp_path), PretrainedDirectory)


def test_roberta_loses_the_positions_up_to_the_padding_id(tmp_path: Path):
    config = roberta_config(num_hidden_layers=1)
    write_config(tmp_path, config, model_type="xlm-roberta")
    write(tmp_path, "tokenizer_config.json", {"model_max_length": 512})
    found = inspect(tmp_path)
    assert found.config == config
    assert found.max_length == config.longest == 12
    sentence_directory(tmp_path, new=False)
    write(tmp_path, "sentence_bert_config.json", {"max_seq_length": 13})
    faults(tmp_path, "max_seq_length 13 exceeds the 12 positions")


def test_mpnet_loses_the_positions_up_to_the_padding_id(tmp_path: Path):
    config = mpnet_config(num_hidden_layers=1)
    write_config(tmp_path, config, model_type="mpnet")
    found = inspect(tmp_path)
    assert (found.config, found.config.longest) == (config, 12)
    write_config(tmp_path, config, model_type="mpnet", max_position_embeddings=2)
    faults(tmp_path, "2 positions leave none for a token")


def write_qwen3(folder: Path, **changes: Any) -> None:
    """config.json in config.json's words."""
    values = {k: v for k, v in vars(qwen3_config()).items() if k not in ("pooling", "kind")}
    own = {"model_type": "qwen3", "attention_dropout": values.pop("attention_probs_dropout_prob")}
    write(folder, "config.json", {**values, **own, **changes})


@pytest.mark.parametrize(
    ("changes", "theta"),
    [
        ({"rope_theta": 5e6}, 5e6),
        ({"rope_theta": 5e6, "rope_scaling": None}, 5e6),
        ({"rope_theta": 7, "rope_parameters": {"rope_type": "default", "rope_theta": 5e6}}, 5e6),
        ({"rope_theta": 5e6, "rope_scaling": {"type": "default"}}, 5e6),
        ({"layer_types": ["full_attention"] * 3, "sliding_window": 8}, 1e6),
    ],
)
def test_qwen3_in_both_spellings_of_the_rotation(
    tmp_path: Path, changes: dict[str, Any], theta: float
):
    write_qwen3(tmp_path, **changes)
    assert inspect(tmp_path).config == qwen3_config(pooling="mean", rope_theta=theta)
    write_qwen3(tmp_path, num_key_value_heads=None, attention_dropout=0.25)
    found = inspect(tmp_path).config
    assert found == qwen3_config(
        pooling="mean", num_key_value_heads=4, attention_probs_dropout_prob=0.25
    )


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling.rope_type must be 'def"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters.rope_type must be 'default'"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor must be 1.0"),
        ({"rope_parameters": [1]}, "rope_parameters must be an object, found [1]"),
        ({"rope_theta": None}, "rope_theta must be a number above 0, found None"),
        ({"rope_theta": "1e6"}, "rope_theta must be a number above 0, found '1e6'"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "all be 'full_attention'"),
        ({"layer_types": 3}, "layer_types must all be 'full_attention', found 3"),
        ({"use_sliding_window": True}, "use_sliding_window must be False, found True"),
        ({"attention_bias": True}, "attention_bias must be False, found True"),
        ({"is_causal": False}, "is_causal must be True, found False"),
        ({"hidden_act": "gelu"}, "hidden_act must be one of: silu, swish"),
        ({"attention_dropout": 1}, "attention_dropout must be a number from 0 to below 1"),
        ({"num_key_value_heads": 3}, "4 / 3 is not whole"),
        ({"num_key_value_heads": 0}, "num_key_value_heads must be a whole number from 1"),
        ({"head_dim": 5}, "head_dim must be even, found 5"),
    ],
)
def test_a_faulty_qwen3(tmp_path: Path, changes: dict[str, Any], found: str):
    write_qwen3(tmp_path, **changes)
    faults(tmp_path, found)


def write_modernbert(folder: Path, **changes: Any) -> None:
    """config.json in config.json's words, as version 4 writes it."""
    unlike = ("pooling", "kind", "global_layers")
    values = {k: v for k, v in vars(modernbert_config()).items() if k not in unlike}
    own = {
        "model_type": "modernbert",
        "attention_dropout": values.pop("attention_probs_dropout_prob"),
        "hidden_activation": values.pop("hidden_act"),
        "global_attn_every_n_layers": 3,
    }
    values = {**values, **own, **changes}
    write(folder, "config.json", {k: v for k, v in values.items() if v != "absent"})


def turned(full: float, sliding: float, **more: Any) -> dict[str, Any]:
    return {
        "full_attention": {"rope_type": "default", "rope_theta": full, **more},
        "sliding_attention": {"rope_type": "default", "rope_theta": sliding},
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"global_attn_every_n_layers": 2}, {"global_layers": (0, 2)}),
        ({"global_attn_every_n_layers": "absent"}, {}),
        (
            {"layer_types": ["sliding_attention", "full_attention", "full_attention"]},
            {"global_layers": (1, 2)},
        ),
        (
            {"rope_parameters": turned(7.0, 5.0)},
            {"global_rope_theta": 7.0, "local_rope_theta": 5.0},
        ),
        ({"local_rope_theta": None}, {"local_rope_theta": 160000.0}),
        ({"local_rope_theta": "absent", "norm_bias": True}, {"norm_bias": True}),
        ({"attention_dropout": 0.5}, {"attention_probs_dropout_prob": 0.5}),
    ],
)
def test_modernbert_in_both_spellings(
    tmp_path: Path, changes: dict[str, Any], expected: dict[str, Any]
):
    write_modernbert(tmp_path, **changes)
    assert inspect(tmp_path).config == modernbert_config(**expected)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"global_attn_every_n_layers": 0}, "must be a whole number from 1, found 0"),
        ({"global_attn_every_n_layers": "3"}, "must be a whole number from 1, found '3'"),
        ({"layer_types": ["full_attention"]}, "layer_types must name 3 layers, found 1"),
        ({"layer_types": ["full_attention", "x", 3]}, "layer_types must be 'full_attention' or"),
        ({"local_attention": 0}, "local_attention must be a whole number from 1"),
        ({"norm_bias": 1}, "norm_bias must be true or false, found 1"),
        ({"mlp_dropout": 1.0}, "mlp_dropout must be a number from 0 to below 1"),
        ({"hidden_activation": "mish"}, "hidden_activation must be one of: gelu"),
        ({"num_attention_heads": 16}, "16 / 16 = 1 is odd"),
        ({"rope_parameters": 3}, "rope_parameters must be an object, found 3"),
        (
            {"rope_parameters": turned(7.0, 5.0, rope_type="yarn")},
            "rope_parameters.full_attention.rope_type must be 'default', found 'yarn'",
        ),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling.rope_type must be 'default'"),
        ({"global_rope_theta": None}, "global_rope_theta must be a number above 0, found None"),
        ({"head_dim": 8}, "head_dim must be None, found 8"),
    ],
)
def test_a_faulty_modernbert(tmp_path: Path, changes: dict[str, Any], found: str):
    write_modernbert(tmp_path, **changes)
    faults(tmp_path, found)


def test_all_faults_at_once(tmp_path: Path):
    write_config(tmp_path, CONFIG, hidden_size=0, hidden_act="mish", is_decoder=True)
    sentence_directory(tmp_path, new=False)
    write(tmp_path, "1_Pooling/config.json", {"pooling_mode_max_tokens": True})
    write(tmp_path, "sentence_bert_config.json", {"max_seq_length": "long"})
    assert len(faults(tmp_path, "max_seq_length", "found max").diagnostics) == 5


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("modules.json", "{", "not JSON"),
        ("modules.json", {}, "a list of"),
        ("modules.json", [{"idx": 0}], "a list of"),
        ("modules.json", "[" * 99_999, "not JSON"),
        (
            "modules.json",
            [
                {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                {"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
            ],
            "the head's config.json is needed",
        ),
        (
            "modules.json",
            [
                {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                {"idx": 2, "path": "2_LSTM", "type": "sentence_transformers.models.LSTM"},
            ],
            "found Transformer → Pooling → LSTM",
        ),
        (
            "modules.json",
            [
                {"idx": 0, "path": "../x", "type": "a.Transformer"},
                {"idx": 1, "path": "1_Pooling", "type": "a.Pooling"},
            ],
            "must lie inside",
        ),
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "mean, cls, lasttoken; found max"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}, "found mean and max"),
        ("1_Pooling/config.json", [], "a JSON object is needed"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "whole number ≥ 1"),
        ("sentence_bert_config.json", {"max_seq_length": 13}, "exceeds the 12 positions"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "tokenizer.json keeps the case"),
        ("sentence_bert_config.json", {"module_output_name": "logits"}, "found 'logits'"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "q", "prompts": {"q": "query: "}},
            "puts 'query: ' before every text",
        ),
        ("config_sentence_transformers.json", {"prompts": ["q"]}, "an object of texts by name"),
        ("config_sentence_transformers.json", {"prompts": {"query": 1}}, "an object of texts by"),
        ("config.json", "", "not JSON"),
        ("config.json", "null", "nothing but null"),
        ("modules.json", "null", "nothing but null"),
        ("config.json", "[]", "a JSON object is needed, found list"),
    ],
)
def test_faulty_pieces(tmp_path: Path, name: str, content: Any, found: str):
    write_config(tmp_path, CONFIG)
    sentence_directory(tmp_path, new=False)
    write(tmp_path, name, content)
    faults(tmp_path, found)


DENSE = {
    "in_features": 16,
    "out_features": 6,
    "bias": False,
    "activation_function": "torch.nn.modules.linear.Identity",
}


def dense_directory(folder: Path, **changes: Any) -> None:
    """Transformer → Pooling → Dense; a change to None removes the setting."""
    write_config(folder, CONFIG)
    sentence_directory(folder, new=False)
    modules = json.loads((folder / "modules.json").read_text())[:2]
    modules.append({"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    write(folder, "modules.json", modules)
    settings = {k: v for k, v in {**DENSE, **changes}.items() if v is not None}
    write(folder, "2_Dense/config.json", settings)


def test_a_dense_is_the_head(tmp_path: Path):
    dense_directory(tmp_path, module_output_name="sentence_embedding", use_residual=False)
    assert inspect(tmp_path).config == dataclasses.replace(CONFIG, pooling="cls", projection_dim=6)
    before = inspect(tmp_path).config_input.digest
    dense_directory(tmp_path)
    assert inspect(tmp_path).config_input.digest != before


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"bias": True}, "bias must be False, found True"),
        ({"bias": None}, "bias must be False, found True"),
        (
            {"activation_function": "torch.nn.modules.activation.Tanh"},
            "found 'torch.nn.modules.activation.Tanh': a head has no activation",
        ),
        ({"activation_function": None}, "activation.Tanh"),
        ({"use_residual": True}, "no residual connection"),
        ({"module_input_name": "token_embeddings"}, "found 'token_embeddings'"),
        ({"module_output_name": "other"}, "found 'other'"),
        ({"init_weight": 1}, "init_weight is not known here"),
        ({"out_features": 0}, "whole numbers ≥ 1"),
        ({"out_features": "6"}, "whole numbers ≥ 1"),
        ({"in_features": 8}, "in_features is 8, but the model is 16 wide"),
    ],
)
def test_another_dense_is_refused(tmp_path: Path, changes: dict[str, Any], found: str):
    dense_directory(tmp_path, **changes)
    faults(tmp_path, found)


def test_lower_casing_that_the_tokenizer_does_is_fine(tmp_path: Path):
    write_config(tmp_path, CONFIG)
    sentence_directory(tmp_path, new=False)
    write(tmp_path, "sentence_bert_config.json", {"do_lower_case": True, "max_seq_length": 7})
    write(tmp_path, "tokenizer.json", {"normalizer": {"type": "BertNormalizer", "lowercase": True}})
    assert inspect(tmp_path).max_length == 7


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
PIECES = {
    "config.json": [*DEFAULTS, *FIXED, "model_type", "auto_map"],
    "modules.json": ["idx", "path", "type"],
    "1_Pooling/config.json": ["pooling_mode", "pooling_mode_max_tokens"],
    "sentence_bert_config.json": ["max_seq_length", "do_lower_case", "module_output_name"],
    "config_sentence_transformers.json": ["default_prompt_name", "prompts"],
    "tokenizer_config.json": ["model_max_length"],
    "tokenizer.json": ["normalizer"],
}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_the_files_hold_the_answer_is_a_directory_or_a_refusal(data: st.DataObject):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_config(folder, CONFIG)
        sentence_directory(folder, new=data.draw(st.booleans()))
        piece = data.draw(st.sampled_from(sorted(PIECES)))
        path = folder / piece
        content = json.loads(path.read_text()) if path.is_file() else {}
        part = content[data.draw(st.integers(0, 2))] if isinstance(content, list) else content
        part[data.draw(st.sampled_from(PIECES[piece]))] = data.draw(JSON)
        write(folder, piece, data.draw(st.sampled_from([content, content, data.draw(JSON)])))
        try:
            assert isinstance(inspect(folder), PretrainedDirectory)
        except InputError as error:
            hints = [diagnostic.hint for diagnostic in error.diagnostics]
            assert all(hints)


def test_nothing_there(tmp_path: Path):
    faults(tmp_path / "no", "a model directory is needed, found nothing there")
    (tmp_path / "file").write_text("")
    faults(tmp_path / "file", "found a file")
    faults(tmp_path, "the model's config.json is needed, found none")


def test_tables_and_directory_need_no_jax():
    code = (
        "import sys, specrun.runtime.models.directory, specrun.runtime.models.tables, "
        "specrun.runtime.models.initial; "
        "print([m for m in ('jax', 'flax', 'optax', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
