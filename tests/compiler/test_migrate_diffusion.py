"""The micro-diffusion guide's configurations as specs: its YAML, every option of its sections, and what contradicts itself."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import specrun
from specrun.cli import main
from specrun.compiler.front import load
from specrun.compiler.migrate.dialects import DIFFUSION
from specrun.compiler.migrate.diffusion import THREE_STAGES
from specrun.compiler.migrate.migrate import Migrated, migrate
from specrun.runtime.models.directory import model_type_of
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import TextSource
from specrun.spec.plan.networks import TextEncoderConfig
from specrun.spec.plan.plan import Plan
from tests.front.test_pretrained import tokenizer_text, write_model

GUIDE = """\
# Project settings
experiment_name: "my-diffusion-model"
data_dir: "data"
output_dir: "outputs"
device: "cuda"
mixed_precision: true
seed: 42

# Hardware constraints
hardware:
  max_vram_gb: 8.0
  memory_safety_margin: 0.1
  bytes_per_param: 4
  memory_multiplier: 3.0

# Model architecture
model:
  d_model: 768
  n_layers: 12
  n_heads: 12
  d_ff: 2048
  vocab_size: 25000
  max_seq_len: 512
  dropout: 0.1

# Training hyperparameters
training:
  learning_rate: 0.0002
  batch_size: 32
  max_epochs: 300
  eval_every: 1000
  save_every: 5000

# Text generation
generation:
  temperature: 0.8
  num_steps: 50
  max_length: 512
  top_k: null
  top_p: null
  confidence_schedule: "linear"

# Data processing
data:
  min_sentence_length: 10
  max_sentence_length: 512
  sentence_overlap: 50
  idf_corpus_size: 100000

# Curriculum learning
curriculum:
  stages:
    - name: "foundation"
      epochs: 50
      masking_rate_range: [0.75, 0.90]
      data_selection: "easy"
      format_type: "sentences"
    - name: "structural"
      epochs: 100
      masking_rate_range: [0.40, 0.60]
      data_selection: "medium"
      format_type: "pairs"
    - name: "refinement"
      epochs: 150
      masking_rate_range: [0.10, 0.30]
      data_selection: "all"
      format_type: "paragraphs"
"""
"""The YAML at the guide's end."""

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
NOUNS = "sea ship harbour captain storm wind bread oven garden snow river bridge road lamp book"
VERBS = "moves waits answers rises falls sleeps opens closes shines burns grows carries follows"
PLACES = "house north mountain market station library forest island valley kitchen workshop"


def corpus(folder: Path, files: int = 3, paragraphs: int = 45) -> None:
    """Text files of paragraphs of four sentences, no two alike."""
    draw = random.Random(5)
    folder.mkdir(parents=True)
    for i in range(files):
        written = [" ".join(_sentence(draw) for _ in range(4)) for _ in range(paragraphs)]
        (folder / f"{i}.txt").write_text("\n\n".join(written) + "\n", encoding="utf-8")


def _sentence(draw: random.Random) -> str:
    nouns, verbs, places = (words.split() for words in (NOUNS, VERBS, PLACES))
    said = f"The {draw.choice(nouns)} of {draw.choice(places)} {draw.randrange(1000)} {draw.choice(verbs)}"
    more = "".join(
        f" and the {draw.choice(nouns)} {draw.choice(verbs)} near the {draw.choice(places)}"
        for _ in range(draw.randrange(3))
    )
    return f"{said}{more}."


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus at the guide's data_dir."""
    folder = tmp_path_factory.mktemp("diffusion")
    corpus(folder / "data")
    (folder / "encoder").mkdir()
    return folder


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No model of this machine's Hugging Face cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))


def migrated(place: Path, content: str | Mapping[str, Any], tool: str | None = None) -> Migrated:
    text = content if isinstance(content, str) else json.dumps(content)
    (place / "old.yaml").write_text(text, encoding="utf-8")
    return migrate(place / "old.yaml", tool, model_type_of)


def spec_of(place: Path, content: str | Mapping[str, Any]) -> Mapping[str, Any]:
    found = migrated(place, content, "micro-diffusion")
    assert found.unmet == ()
    loaded = load(found.text, environ={}, local={})
    assert [d for d in loaded.diagnostics if d.severity == "error"] == []
    return loaded.tree


def planned(place: Path, content: str | Mapping[str, Any], *overrides: str) -> Plan:
    found = migrated(place, content)
    assert found.dialect is DIFFUSION
    assert found.unmet == ()
    (place / "spec.yaml").write_text(found.text)
    assert specrun.check(place / "spec.yaml", overrides=overrides, environ={}) == ()
    return specrun.compile(place / "spec.yaml", overrides=overrides, environ={})


def at(tree: Any, path: str) -> Any:
    for step in path.split("."):
        tree = tree[int(step)] if step.isdecimal() else _under(tree, step)
    return tree


def _under(tree: Any, step: str) -> Any:
    return tree[step] if isinstance(tree, Mapping) else getattr(tree, step)


# --- the YAML at the guide's end -------------------------------------------------------------------------------------


def test_the_guides_yaml(place: Path):
    """As it stands, at its full size: nothing of it is edited."""
    plan = planned(place, GUIDE)
    config = plan.model.config
    assert isinstance(config, TextEncoderConfig)
    assert (config.hidden_size, config.num_hidden_layers) == (768, 12)
    assert (config.num_attention_heads, config.intermediate_size) == (12, 2048)
    assert (config.hidden_act, config.norm, config.position_embedding) == (
        *("swiglu", "rmsnorm", "rotary"),
    )
    assert (config.vocabulary_head, config.pooling, config.bias) == ("own", "none", False)
    assert [s.stage for s in plan.segments] == ["foundation", "structural", "refinement"]
    assert [s.epochs for s in plan.segments] == [50, 100, 150]
    assert [(s.masking.minimum, s.masking.maximum) for s in plan.segments if s.masking] == [
        *((0.75, 0.9), (0.4, 0.6), (0.1, 0.3)),
    ]
    chosen = [s.selection for s in plan.segments]
    assert [s and (s.said, s.format) for s in chosen] == [
        *(("easy", "sentences"), ("medium", "pairs"), ("", "paragraphs")),
    ]
    assert [s.transition_epochs for s in plan.segments] == [0, 5, 5]
    assert [s.reset_optimizer for s in plan.segments] == [False, True, True]
    made = [s.pseudo.count if s.pseudo else 0 for s in plan.segments]
    assert made == [0, 0, min(100, plan.data.scan.formats[2].training_rows // 4)]
    rows = {f.format: f.training_rows for f in plan.data.scan.formats}
    assert plan.segments[2].rows == rows["paragraphs"]
    assert 0 < plan.segments[0].rows < rows["sentences"] / 2
    assert 0 < plan.segments[1].rows < rows["pairs"] / 2
    assert (plan.name, plan.output_dir, plan.seed) == ("my-diffusion-model", "outputs", 42)
    assert (plan.train.batch_size, plan.optimizer.learning_rate) == (32, 2e-4)
    assert (plan.precision.compute, plan.hardware.platform) == ("bfloat16", "gpu")
    assert (plan.hardware.max_memory_gb, plan.hardware.memory_multiplier) == (8, 3)
    assert plan.cost.rule_bytes is not None
    assert plan.evaluation is not None
    assert plan.evaluation.metrics == ("loss", "perplexity", "accuracy")
    assert plan.data.scan.validation_rows > 0
    assert plan.tokenizer.mask_id not in (None, plan.tokenizer.pad_id)
    assert plan.generation is not None
    assert (plan.generation.steps, plan.generation.max_length) == (50, 512)


def test_the_guides_yaml_holds_each_of_its_keys(place: Path):
    """Each line of it is in the spec by its name and line, or told."""
    found = migrated(place, GUIDE)
    told = {left.name for left in (*found.unmet, *found.idle)}
    for line, text in enumerate(GUIDE.splitlines(), 1):
        name = text.partition(":")[0].strip()
        section = text.endswith(":")
        if (
            name
            and not section
            and not name.startswith(("#", "-"))
            and not text.startswith("      ")
        ):
            assert f"`{name}`, line {line}" in found.text or name in told, name
    assert told == {"top_k", "top_p"}


def test_the_command_line_takes_it(place: Path, capsys: pytest.CaptureFixture[str]):
    """`migrate`, then `compile`, with nothing between."""
    folder = shutil.copytree(place, place.parent / f"{place.name}-command")
    (folder / "config.yaml").write_text(GUIDE)
    new, plan = folder / "new.yaml", folder / "plan.json"
    assert main(["migrate", str(folder / "config.yaml"), "-o", str(new)]) == 0
    said = capsys.readouterr()
    assert "a configuration of micro-diffusion" in said.out
    assert f"note: {MINILM} is not on this machine, and without it" in said.err
    assert main(["compile", str(new), "-o", str(plan)]) == 0
    assert "mixes in structural for 5 epochs" in capsys.readouterr().out


def test_the_encoder_of_centrality_is_the_guides_where_it_is_there(place: Path):
    """Without it the other two parts are scored; the comment says so, and the report where the file asks for it."""
    bare = spec_of(place, GUIDE)["data"]["difficulty"]
    assert bare["weights"] == {"lexical": 0.5, "syntactic": 0.5, "centrality": 0}
    assert bare["embedding"] is None
    text = migrated(place, GUIDE).text
    assert f"# 0.4, the default of micro-diffusion; {MINILM} is not on this machine" in text
    named = migrated(
        place,
        f"{GUIDE}  embedding_model: {MINILM}\n  lexical_weight: 0.4\n  syntactic_weight: 0.2\n",
    )
    told = {left.name: left.reason for left in named.unmet}
    assert set(told) == {"data.difficulty.embedding.name_or_path"}
    assert f"get it (`hf download {MINILM}`" in told["data.difficulty.embedding.name_or_path"]
    spec = load(named.text, environ={}, local={}).tree["data"]["difficulty"]
    assert spec["weights"]["lexical"] == pytest.approx(2 / 3)
    assert spec["weights"]["syntactic"] == pytest.approx(1 / 3)
    folder = shutil.copytree(place, place.parent / f"{place.name}-minilm")
    model = write_model(folder / "model", "torch_safetensors", tokenizer_text())
    (folder / "specrun.local.yaml").write_text(f"{MINILM}: {json.dumps(str(model))}\n")
    plan = planned(folder, GUIDE, *SMALL)
    assert plan.difficulty is not None
    centrality = plan.difficulty.settings.centrality
    assert centrality is not None
    assert (centrality.weight, centrality.clusters) == (0.4, 8)


SMALL = (
    *("model.hidden_size=16", "model.num_hidden_layers=1", "model.num_attention_heads=2"),
    *("model.intermediate_size=24", "tokenizer.vocab_size=400", "data.max_length=64"),
    "generation.max_length=64",
)


# --- every option of sections 1 to 7 ---------------------------------------------------------------------------------

STAGES = [
    {
        "name": "one",
        "epochs": 2,
        "masking_rate_range": [0.5, 0.8],
        "data_selection": "hard",
        "format_type": "paragraphs",
    },
    {
        "name": "two",
        "epochs": 4,
        "masking_rate_range": [0.2, 0.4],
        "data_selection": "all",
        "format_type": "pairs",
    },
]

OTHERWISE: dict[str, Any] = {
    "experiment_name": "custom_experiment",
    "data_dir": "data",
    "output_dir": "elsewhere",
    "cache_dir": "cache",
    "device": "cpu",
    "mixed_precision": False,
    "gradient_checkpointing": False,
    "seed": 7,
    "model": {
        "d_model": 32,
        "n_layers": 2,
        "n_heads": 4,
        "d_ff": 48,
        "vocab_size": 400,
        "max_seq_len": 96,
        "dropout": 0.2,
        "attention_dropout": 0.3,
        "activation": "gelu",
        "norm_type": "layernorm",
        "norm_eps": 1e-5,
        "pos_encoding": "learned",
        "init_std": 0.03,
        "use_bias": True,
        "mask_token_id": 0,
    },
    "training": {
        "learning_rate": 1e-3,
        "min_learning_rate": 1e-5,
        "weight_decay": 0.2,
        "beta1": 0.8,
        "beta2": 0.9,
        "eps": 1e-7,
        "grad_clip_norm": 0.5,
        "warmup_steps": 3,
        "scheduler": "cosine",
        "batch_size": 8,
        "gradient_accumulation_steps": 2,
        "max_epochs": 6,
        "max_steps": None,
        "eval_every": 20,
        "save_every": 30,
        "log_every": 5,
        "patience": 4,
        "min_delta": 0.01,
        "val_split": 0.2,
        "val_batch_size": 16,
        "dataloader_num_workers": 4,
        "pin_memory": True,
        "label_smoothing": 0.1,
        "dropout_schedule": "decay",
    },
    "curriculum": {
        "stages": STAGES,
        "lexical_weight": 0.6,
        "syntactic_weight": 0.4,
        "centrality_weight": 0,
        "easy_threshold": 30.0,
        "hard_threshold": 60.0,
        "transition_epochs": 2,
        "reset_optimizer": False,
    },
    "generation": {
        "temperature": 0.5,
        "top_k": 20,
        "top_p": 0.9,
        "num_steps": 10,
        "max_length": 48,
        "num_return_sequences": 3,
        "confidence_schedule": "exponential",
        "style_strength": 2.0,
        "interactive_mode": True,
    },
    "data": {
        "min_sentence_length": 12,
        "max_sentence_length": 300,
        "sentence_overlap": 9,
        "paragraph_max_sentences": 3,
        "idf_corpus_size": 50,
        "readability_metrics": ["flesch"],
    },
    "hardware": {
        "max_vram_gb": 6.0,
        "memory_safety_margin": 0.2,
        "bytes_per_param": 2,
        "memory_multiplier": 4.0,
    },
}
"""Every option of the guide, none with its default, where nothing forbids it."""

PLACES_OUT: tuple[tuple[str, str, Any], ...] = (
    ("experiment_name", "name", "custom_experiment"),
    ("output_dir", "output_dir", "elsewhere"),
    ("device", "hardware.platform", "cpu"),
    ("mixed_precision", "precision.compute", "float32"),
    ("gradient_checkpointing", "train.gradient_checkpointing", False),
    ("seed", "seed", 7),
    ("d_model", "model.config.hidden_size", 32),
    ("n_layers", "model.config.num_hidden_layers", 2),
    ("n_heads", "model.config.num_attention_heads", 4),
    ("d_ff", "model.config.intermediate_size", 48),
    ("vocab_size", "tokenizer.source.vocab_size", 400),
    ("max_seq_len", "data.max_query_length", 96),
    ("max_seq_len", "model.config.max_position_embeddings", 96),
    ("dropout", "model.config.hidden_dropout_prob", 0.2),
    ("attention_dropout", "model.config.attention_probs_dropout_prob", 0.3),
    ("activation", "model.config.hidden_act", "gelu"),
    ("norm_type", "model.config.norm", "layernorm"),
    ("norm_eps", "model.config.layer_norm_eps", 1e-5),
    ("pos_encoding", "model.config.position_embedding", "learned"),
    ("init_std", "model.config.initializer_range", 0.03),
    ("use_bias", "model.config.bias", True),
    ("learning_rate", "optimizer.learning_rate", 1e-3),
    ("min_learning_rate", "segments.0.schedule.min_learning_rate", 1e-5),
    ("weight_decay", "optimizer.weight_decay", 0.2),
    ("beta1", "optimizer.beta1", 0.8),
    ("beta2", "optimizer.beta2", 0.9),
    ("eps", "optimizer.eps", 1e-7),
    ("grad_clip_norm", "optimizer.max_grad_norm", 0.5),
    ("warmup_steps", "segments.0.schedule.warmup_steps", 3),
    ("scheduler", "segments.0.schedule.kind", "cosine"),
    ("batch_size", "train.batch_size", 8),
    ("gradient_accumulation_steps", "train.accumulation_steps", 2),
    ("eval_every", "evaluation.after.0", 20),
    ("save_every", "checkpoint.after.0", 30),
    ("log_every", "train.log_every_steps", 5),
    ("patience", "evaluation.early_stopping.patience", 4),
    ("min_delta", "evaluation.early_stopping.min_delta", 0.01),
    ("val_split", "data.validation.fraction", 0.2),
    ("val_batch_size", "evaluation.batch_size", 16),
    ("label_smoothing", "losses.0.label_smoothing", 0.1),
    ("dropout_schedule", "train.dropout_schedule", "decay"),
    ("name", "segments.1.stage", "two"),
    ("epochs", "segments.1.epochs", 4),
    ("masking_rate_range", "segments.0.masking.minimum", 0.5),
    ("masking_rate_range", "segments.0.masking.maximum", 0.8),
    ("data_selection", "segments.0.selection.said", "hard"),
    ("format_type", "segments.0.selection.format", "paragraphs"),
    ("format_type", "segments.1.selection.format", "pairs"),
    ("lexical_weight", "difficulty.settings.lexical.weight", 0.6),
    ("syntactic_weight", "difficulty.settings.syntactic.weight", 0.4),
    ("centrality_weight", "difficulty.settings.centrality", None),
    ("easy_threshold", "difficulty.easy_below", 30),
    ("hard_threshold", "difficulty.hard_above", 60),
    ("transition_epochs", "segments.1.transition_epochs", 2),
    ("reset_optimizer", "segments.1.reset_optimizer", False),
    ("temperature", "generation.temperature", 0.5),
    ("top_k", "generation.top_k", 20),
    ("top_p", "generation.top_p", 0.9),
    ("num_steps", "generation.steps", 10),
    ("max_length", "generation.max_length", 48),
    ("num_return_sequences", "generation.num_return_sequences", 3),
    ("confidence_schedule", "generation.confidence_schedule", "exponential"),
    ("style_strength", "generation.style_strength", 2),
    ("interactive_mode", "generation.interactive", True),
    ("min_sentence_length", "data.source.min_chars", 12),
    ("max_sentence_length", "data.source.max_chars", 300),
    ("sentence_overlap", "data.source.chunk_overlap", 9),
    ("paragraph_max_sentences", "data.source.paragraph_max_sentences", 3),
    ("idf_corpus_size", "difficulty.settings.lexical.idf_corpus_size", 50),
    ("readability_metrics", "difficulty.settings.syntactic.readability", ("flesch",)),
    ("max_vram_gb", "hardware.max_memory_gb", 6),
    ("memory_safety_margin", "hardware.memory_margin", 0.2),
    ("bytes_per_param", "hardware.bytes_per_parameter", 2),
    ("memory_multiplier", "hardware.memory_multiplier", 4),
)
"""Key of the guide, where its value is in the plan, and the value there."""


@pytest.fixture(scope="module")
def otherwise(place: Path) -> Plan:
    return planned(place, OTHERWISE)


@pytest.mark.parametrize(("key", "path", "value"), PLACES_OUT)
def test_every_option_is_in_the_plan(otherwise: Plan, key: str, path: str, value: Any):
    assert at(otherwise, path) == value
    assert key in {**OTHERWISE, **STAGES[0], **{k: v for s in SECTIONS for k, v in s.items()}}


def test_bytes_of_a_number_need_no_multiplier(place: Path) -> None:
    """The guide's rule of thumb has one by default."""
    found = migrated(place, GUIDE.replace("bytes_per_param: 4", "bytes_per_param: 2"))
    alone = migrated(place, {"d_ff": 64, "n_heads": 2, "hardware": {"bytes_per_param": 2}})
    for text in (found.text, alone.text):
        assert "\n  bytes_per_parameter: 2 " in text
    assert "memory_multiplier" not in alone.text


SECTIONS = [value for value in OTHERWISE.values() if isinstance(value, dict)]
WITHOUT_MEANING = {
    "cache_dir": "SPECRUN_CACHE",
    "mask_token_id": "`[MASK]`",
    "dataloader_num_workers": "no loader processes",
    "pin_memory": "no loader processes",
    "max_steps": "that of the epochs",
}


def test_what_has_no_meaning_is_said_by_name(place: Path):
    found = migrated(place, OTHERWISE)
    told = {left.name: left for left in found.idle}
    for name, part in WITHOUT_MEANING.items():
        assert part in told[name].reason
        assert f"#   {name} (line 1): " in found.text
    assert set(told) - set(WITHOUT_MEANING) == set()


def test_no_option_of_the_guide_is_forgotten():
    """Each is in the plan, without meaning, or has a test of its own."""
    own = {"data_dir", "max_epochs", "stages"}
    keys = (
        {k for s in SECTIONS for k in s} | {k for k in OTHERWISE if k not in NAMES} | {*STAGES[0]}
    )
    assert keys == {key for key, _, _ in PLACES_OUT} | set(WITHOUT_MEANING) | own


NAMES = ("model", "training", "curriculum", "generation", "data", "hardware")


def test_the_corpus_is_the_folder(otherwise: Plan, place: Path):
    assert isinstance(otherwise.data.source, TextSource)
    assert Path(otherwise.data.source.path) == (place / "data").resolve()
    assert otherwise.data.source.formats == ("pairs", "paragraphs")


DOCUMENTED = """\
data_dir: "data"
output_dir: "outputs"
cache_dir: "cache"
device: "cuda"
mixed_precision: true
gradient_checkpointing: true
experiment_name: "micro-diffusion"
seed: 42
model: {d_model: 768, n_layers: 12, n_heads: 12, d_ff: 2048, vocab_size: 25000, max_seq_len: 512, dropout: 0.1,
  attention_dropout: 0.1, activation: "swiglu", norm_type: "rmsnorm", norm_eps: 1e-6, pos_encoding: "rope",
  init_std: 0.02, use_bias: false, mask_token_id: 0}
training: {learning_rate: 2e-4, min_learning_rate: 2e-5, weight_decay: 0.1, beta1: 0.9, beta2: 0.95, eps: 1e-8,
  grad_clip_norm: 1.0, warmup_steps: 1000, scheduler: "cosine_with_restarts", batch_size: 32,
  gradient_accumulation_steps: 1, max_grad_norm: 1.0, max_epochs: 300, max_steps: null, eval_every: 1000,
  save_every: 5000, log_every: 100, patience: 10, min_delta: 1e-4, val_split: 0.1, val_batch_size: null,
  use_gradient_checkpointing: true, use_mixed_precision: true, dataloader_num_workers: 4, pin_memory: true,
  label_smoothing: 0.0, dropout_schedule: "constant"}
generation: {temperature: 0.8, top_k: null, top_p: null, num_steps: 50, max_length: 512, num_return_sequences: 1,
  confidence_schedule: "linear", style_strength: 1.0, interactive_mode: false}
data: {min_sentence_length: 10, max_sentence_length: 512, sentence_overlap: 50, paragraph_max_sentences: 10,
  idf_corpus_size: 100000, readability_metrics: ["flesch", "coleman_liau", "automated_readability"],
  complexity_weights: {lexical: 0.3, syntactic: 0.3, centrality: 0.4}}
hardware: {max_vram_gb: 8.0, memory_safety_margin: 0.1, bytes_per_param: 4, memory_multiplier: 3.0}
curriculum:
  lexical_weight: 0.3
  syntactic_weight: 0.3
  centrality_weight: 0.4
  easy_threshold: 33.0
  hard_threshold: 67.0
  n_clusters: 8
  embedding_model: "sentence-transformers/all-MiniLM-L6-v2"
  transition_epochs: 5
  reset_optimizer: true
  pseudo_data_max_samples: 100
  pseudo_data_ratio: 0.25
"""
"""Every option of sections 1 to 7 with the value that the guide shows."""


def test_every_option_as_the_guide_shows_it(place: Path):
    """A corpus and the encoder are all that it needs; 1000 steps of warm-up want some thousand sentences."""
    folder = place.parent / f"{place.name}-documented"
    corpus(folder / "data", paragraphs=210)
    model = write_model(folder / "model", "torch_safetensors", tokenizer_text())
    (folder / "specrun.local.yaml").write_text(f"{MINILM}: {json.dumps(str(model))}\n")
    text = DOCUMENTED + GUIDE.partition("curriculum:\n")[2]
    plan = planned(folder, text, *SMALL)
    assert getattr(plan.segments[0].schedule, "warmup_steps", None) == 1000
    assert plan.segments[2].pseudo is not None
    assert plan.segments[2].pseudo.count == 100
    bare = {left.name for left in migrated(folder, text).idle}
    assert bare == {
        *("cache_dir", "mask_token_id", "max_steps", "dataloader_num_workers", "pin_memory"),
        *("top_k", "top_p", "val_batch_size"),
        *("max_grad_norm", "use_gradient_checkpointing", "use_mixed_precision"),
        *("lexical_weight", "syntactic_weight", "centrality_weight"),
    }


FLAT: tuple[tuple[dict[str, Any], str, Any], ...] = (
    ({"use_mixed_precision": False}, "precision.compute", "float32"),
    ({"use_mixed_precision": True}, "precision.compute", "bfloat16"),
    ({"use_gradient_checkpointing": False}, "train.gradient_checkpointing", False),
    ({"max_grad_norm": 0.25}, "train.max_grad_norm", 0.25),
    ({"grad_clip_norm": 0.25, "max_grad_norm": 0.25}, "train.max_grad_norm", 0.25),
    ({"n_clusters": 4, "embedding_model": "encoder"}, "data.difficulty.clusters", 4),
    ({"embedding_model": "encoder"}, "data.difficulty.embedding.name_or_path", "encoder"),
    (
        {"complexity_weights": {"lexical": 0.2, "syntactic": 0.8, "centrality": 0.0}},
        "data.difficulty.weights",
        {"lexical": 0.2, "syntactic": 0.8, "centrality": 0},
    ),
    ({"scheduler": "cosine_with_restarts"}, "schedule.kind", "cosine_with_restarts"),
    ({"scheduler": "linear"}, "schedule.kind", "linear"),
    ({"scheduler": "constant"}, "schedule.kind", "constant_with_warmup"),
    ({"scheduler": "constant", "warmup_steps": 0}, "schedule.kind", "constant"),
    ({"warmup_steps": 1000}, "schedule.warmup_steps", 1000),
    ({}, "schedule.warmup_ratio", 0.05),
    ({"activation": "relu"}, "model.hidden_act", "relu"),
    ({"activation": "swiglu"}, "model.hidden_act", "swiglu"),
    ({"norm_type": "rmsnorm"}, "model.norm", "rmsnorm"),
    ({"pos_encoding": "rope"}, "model.position_embedding", "rotary"),
    ({"pos_encoding": "sinusoidal"}, "model.position_embedding", "sinusoidal"),
    ({"batch_size": 8, "val_batch_size": None}, "evaluation.batch_size", 8),
    ({"patience": None}, "evaluation.early_stopping", None),
    ({"min_delta": 0}, "evaluation.early_stopping.min_delta", 0),
    ({"max_steps": 70, "max_epochs": 9}, "train.max_steps", 70),
    ({"temperature": 0.3}, "generation.temperature", 0.3),
    ({"max_length": 40}, "generation.max_length", 40),
    ({"top_k": 3}, "generation.top_k", 3),
    ({"device": "cuda:0"}, "hardware.platform", "gpu"),
    ({"max_vram_gb": 4}, "hardware.max_memory_gb", 4),
    ({}, "hardware.max_memory_gb", None),
    ({}, "hardware.platform", "auto"),
    ({}, "train.epochs", None),
    ({"max_epochs": 300}, "train.epochs", 300),
)
"""Other values, without sections, and keys of two names."""


@pytest.mark.parametrize(("content", "path", "value"), FLAT)
def test_other_values_and_other_names(place: Path, content: dict[str, Any], path: str, value: Any):
    tree = spec_of(place, {"experiment_name": "x", **content})
    *above, last = path.split(".")
    section = at(tree, ".".join(above)) if above else tree
    assert section[last] == value


def test_defaults_are_the_guides(place: Path):
    """A file that says nothing but its name is the guide's default configuration, three stages included."""
    tree = spec_of(place, {"experiment_name": "x"})
    stages = tree["curriculum"]["stages"]
    assert [
        (s["name"], s["epochs"], s["masking_rate"], s["select"], s["format"]) for s in stages
    ] == [tuple(stage.values()) for stage in THREE_STAGES]
    assert (tree["optimizer"]["beta2"], tree["optimizer"]["weight_decay"]) == (0.95, 0.1)
    assert tree["evaluation"]["early_stopping"] == {"patience": 10, "min_delta": 1e-4}
    assert (tree["seed"], tree["output_dir"], tree["data"]["path"]) == (42, "outputs", "data")
    assert (tree["train"]["log_every_steps"], tree["checkpoint"]["every_steps"]) == (100, 5000)


def test_rows_that_are_not_held_out_are_not_evaluated(place: Path):
    found = migrated(
        place, {"experiment_name": "x", "val_split": 0, "eval_every": 9}, "micro-diffusion"
    )
    assert found.unmet == ()
    tree = load(found.text, environ={}, local={}).tree
    assert (tree["evaluation"], tree["data"]["validation"]) == (None, None)
    assert (
        "no texts are held out" in {x.name: x.reason for x in found.idle}["evaluation.every_steps"]
    )


def test_one_stage_of_all_texts(place: Path):
    """The guide's single stage: neither transitions, nor resets, nor difficulty have a meaning."""
    single = {**STAGES[1], "masking_rate_range": [0.1, 0.9], "format_type": "sentences"}
    content = {"stages": [single], "transition_epochs": 5, "lexical_weight": 0.3, "d_ff": 24}
    found = migrated(place, content)
    assert found.unmet == ()
    told = {left.name for left in found.idle}
    assert {"curriculum.transition_epochs", "data.difficulty.weights.lexical"} <= told
    (place / "spec.yaml").write_text(found.text)
    plan = specrun.compile(place / "spec.yaml", overrides=SMALL, environ={})
    assert (len(plan.segments), plan.segments[0].epochs, plan.difficulty) == (1, 4, None)


def test_a_custom_stage_of_the_guide(place: Path):
    stage = {
        **{"name": "custom_stage", "epochs": 100, "masking_rate_range": [0.5, 0.8]},
        **{"data_selection": "medium", "format_type": "sentences"},
    }
    plan = planned(
        place, {"experiment_name": "custom", "val_split": 0.1, "stages": [stage]}, *SMALL
    )
    [segment] = plan.segments
    assert (segment.stage, segment.epochs) == ("custom_stage", 100)
    assert segment.selection is not None
    assert segment.selection.said == "medium"
    assert isinstance(plan.data.source, TextSource)
    assert plan.data.source.formats == ("sentences",)


def test_a_transition_is_at_most_a_stage(place: Path):
    """The guide's default of 5 epochs, where a stage has fewer; one that is written stays, and is warned of."""
    tree = spec_of(place, {"stages": STAGES, "n_clusters": 8})
    assert tree["curriculum"]["transition_epochs"] == 4
    text = migrated(place, {"stages": STAGES, "transition_epochs": 9, "d_ff": 8}).text
    loaded = load(text, environ={}, local={})
    assert "capped" in [d.code for d in loaded.diagnostics]


def test_texts_that_the_model_makes(place: Path):
    """They are the third stage's, as in the guide; without a third stage they have no meaning."""
    asked = {"pseudo_data_ratio": 0.5, "pseudo_data_max_samples": 7}
    third = spec_of(place, {"curriculum": asked})["curriculum"]["stages"]
    assert [stage["pseudo_data"] is None for stage in third] == [True, True, False]
    assert (third[2]["pseudo_data"]["ratio"], third[2]["pseudo_data"]["max_samples"]) == (0.5, 7)
    silent = spec_of(place, {"seed": 1})["curriculum"]["stages"][2]["pseudo_data"]
    assert (silent["ratio"], silent["max_samples"]) == (0.25, 100)
    off = spec_of(place, {"pseudo_data_ratio": 0})["curriculum"]["stages"][2]
    assert off["pseudo_data"] is None
    two = migrated(place, {"stages": STAGES, **asked}, "micro-diffusion")
    assert two.unmet == ()
    told = {left.name: left.reason for left in two.idle}
    assert "there is no third stage" in told["curriculum.pseudo_data.ratio"]
    assert "there is no third stage" in told["curriculum.pseudo_data.max_samples"]


# --- what contradicts itself, and what is wrong ----------------------------------------------------------------------


def test_two_norms_of_clipping_are_an_error_with_both_lines(
    place: Path, capsys: pytest.CaptureFixture[str]
):
    text = GUIDE.replace(
        "  max_epochs: 300\n", "  max_epochs: 300\n  grad_clip_norm: 1.0\n  max_grad_norm: 0.5\n"
    )
    with pytest.raises(InputError) as caught:
        migrated(place, text)
    [found] = caught.value.diagnostics
    assert (found.code, found.file, found.line) == ("keys-disagree", "old.yaml", 32)
    assert "`grad_clip_norm` is 1.0 (line 31) and `max_grad_norm` 0.5 (line 32)" in found.message
    assert found.notes == ("old.yaml:31: `grad_clip_norm: 1.0`",)
    assert main(["migrate", str(place / "old.yaml"), "-o", str(place / "never.yaml")]) == 2
    err = capsys.readouterr().err
    assert "line 31" in err
    assert "old.yaml:32" in err
    assert not (place / "never.yaml").exists()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (GUIDE.replace("max_epochs: 300", "max_epochs: 200"), ("(line 30)", "stages (line 52)")),
        ("experiment_name: x\nmax_epochs: 10\n", ("(line 2)", "default curriculum")),
    ],
)
def test_epochs_that_are_not_those_of_the_stages(place: Path, text: str, lines: tuple[str, str]):
    with pytest.raises(InputError) as caught:
        migrated(place, text)
    [found] = caught.value.diagnostics
    assert found.code == "keys-disagree"
    assert "have 300 in all" in found.message
    for line in lines:
        assert line in found.message


@pytest.mark.parametrize(
    ("content", "name", "part"),
    [
        ({"n_heads": 5}, "n_heads", "divide"),
        ({"d_model": "wide"}, "d_model", "whole number"),
        ({"activation": "tanh"}, "activation", "tanh"),
        ({"norm_type": "batchnorm"}, "norm_type", "batchnorm"),
        ({"pos_encoding": "alibi"}, "pos_encoding", "positions are one of"),
        ({"scheduler": "polynomial"}, "scheduler", "not supported yet"),
        ({"dropout_schedule": "rise"}, "dropout_schedule", "rise"),
        ({"confidence_schedule": "cosine"}, "confidence_schedule", "cosine"),
        ({"masking_rate_range": [0.1, 0.2]}, "masking_rate_range", "curriculum.stages[]"),
        ({"easy_threshold": 70.0}, "easy_threshold", "above"),
        ({"lexical_weight": 0.9}, "data.difficulty.weights", "1"),
        ({"readability_metrics": ["smog"]}, "readability_metrics", "smog"),
        ({"val_split": 1.5}, "val_split", "1.5"),
        ({"device": "tpu"}, "device", "platforms"),
        ({"stages": []}, "stages", "list of mappings"),
        ({"stages": [{**STAGES[1], "wharble": 1}]}, "stages[0].wharble", "not known"),
        ({"lexical": 0.3, "lexical_weight": 0.4}, "lexical_weight", "says otherwise"),
    ],
)
def test_what_cannot_be_said_is_told(place: Path, content: dict[str, Any], name: str, part: str):
    found = migrated(place, {"experiment_name": "x", **content}, "micro-diffusion")
    told = {left.name: left.reason for left in found.unmet}
    assert name in told, told
    assert part in told[name]


def test_the_tool_is_told_by_its_words(place: Path):
    assert migrated(place, GUIDE).dialect is DIFFUSION
    model = OTHERWISE["model"]
    assert migrated(place, {"model": model}).dialect is DIFFUSION
    assert migrated(place, SMALL_FILE).dialect is DIFFUSION


SMALL_FILE = """\
data_dir: data
model: {d_model: 32, n_layers: 1, n_heads: 2, d_ff: 48, vocab_size: 300, max_seq_len: 64}
training: {learning_rate: 1e-3, batch_size: 4, warmup_steps: 2}
"""
WIDTHS = "d_model: 32\nn_layers: 1\nn_heads: 2\nmax_seq_len: 64\n"


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ("d_ff: 48\n", "micro-diffusion"),
        ("data_dir: data\n", "micro-diffusion"),
        ("curriculum: {lexical: 0.3}\n", "micro-diffusion"),
        ("masking_rate_range: [0.1, 0.2]\n", "micro-diffusion"),
        ("use_hard_negatives: true\n", "retnet-hrm"),
        ("hard_negatives: {refresh_every: 9}\n", "retnet-hrm"),
        ("eval_interval: 9\n", "retnet-hrm"),
        ("data: {train_path: x.jsonl}\n", "retnet-hrm"),
    ],
)
def test_words_of_one_tool_decide_between_two_that_share_sizes(place: Path, more: str, name: str):
    assert migrated(place, WIDTHS + more).dialect.name == name


@pytest.mark.parametrize("more", ["", "learning_rate: 1e-3\n", "data_dir: x\neval_interval: 9\n"])
def test_two_tools_that_are_as_likely_are_not_guessed_between(place: Path, more: str):
    with pytest.raises(InputError) as caught:
        migrated(place, WIDTHS + more)
    [found] = caught.value.diagnostics
    assert found.code == "which-tool"
    assert "keys of retnet-hrm and of micro-diffusion" in found.message
    assert "--from" in found.hint
    assert migrated(place, WIDTHS + more, "micro-diffusion").dialect is DIFFUSION


def test_a_linear_schedule_with_a_least_rate_cannot_be_said(
    place: Path, capsys: pytest.CaptureFixture[str]
):
    """It ends at 0 here, and elsewhere where the file says: that changes the training."""
    text = "data_dir: data\nd_ff: 8\nscheduler: linear\nmin_learning_rate: 3.0e-5\n"
    found = migrated(place, text)
    [left] = found.unmet
    assert (left.name, left.line) == ("min_learning_rate", 4)
    assert "ends at 0, not at 3e-05" in left.reason
    assert "min_learning_rate" not in {left.name for left in found.idle}
    assert main(["migrate", str(place / "old.yaml")]) == 2
    assert "not in the spec: min_learning_rate, line 4:" in capsys.readouterr().err


def test_a_linear_schedule_that_ends_at_zero_can_be_said(place: Path):
    """A written 0 is what it does; the guide's default is not, which a note says."""
    zero = migrated(place, "d_ff: 8\nscheduler: linear\nmin_learning_rate: 0\n")
    assert zero.unmet == ()
    assert not any("ends at 0" in note for note in zero.notes)
    silent = migrated(place, "d_ff: 8\nscheduler: linear\n")
    assert silent.unmet == ()
    assert any("ends at 0, and at 2e-05 in micro-diffusion" in note for note in silent.notes)
    flat = migrated(place, "d_ff: 8\nscheduler: constant\nmin_learning_rate: 3.0e-5\n")
    assert flat.unmet == ()


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        (
            "vocab_size: 300\nd_ff: 8\nmask_token_id: 99999\n",
            3,
            ("`mask_token_id` is 99999 (line 3)", "`vocab_size` (line 1) has 300 tokens"),
        ),
        ("vocab_size: 300\nmask_token_id: 300\n", 2, ("from 0 to 299",)),
        ("mask_token_id: -1\nvocab_size: 300\n", 2, ("`mask_token_id` is -1 (line 1)",)),
        ("d_ff: 8\nmask_token_id: 25000\n", 2, ("the default vocabulary has 25000",)),
        ("vocab_size: 300\nmask_token_id: mask\n", 2, ("a whole number",)),
        (
            "vocab_size: 300\nmask_token_id: 1\npad_token_id: 1\n",
            3,
            ("`mask_token_id` is 1 (line 2)", "`pad_token_id` (line 3)", "not padding"),
        ),
        ("vocab_size: 300\npad_token_id: 400\nmask_token_id: 1\n", 2, ("(line 2)", "(line 1)")),
    ],
)
def test_a_mask_is_of_the_vocabulary_and_not_padding(
    place: Path, text: str, line: int, parts: tuple[str, ...]
):
    with pytest.raises(InputError) as caught:
        migrated(place, text, "micro-diffusion")
    [found] = caught.value.diagnostics
    assert (found.code, found.line) == ("keys-disagree", line)
    for part in parts:
        assert part in found.message


@pytest.mark.parametrize("text", ["mask_token_id: 299\n", "mask_token_id: null\n"])
def test_a_mask_of_the_vocabulary_is_the_tokenizers(place: Path, text: str):
    found = migrated(place, f"vocab_size: 300\nd_ff: 8\n{text}")
    assert found.unmet == ()
    assert "mask_token_id" in {left.name for left in found.idle}


BAD_STAGES = """\
data_dir: data
curriculum:
  stages:
    - name: one
      epochs: two
      masking_rate_range: [0.9, 0.2]
      data_selection: easy
    - epoch: 3
      masking_rate_range: [0.1, 0.2]
      masking_rate: [0.1, 0.3]
      data_selection: some
      wharble: 1
"""


def test_a_stages_keys_are_told_at_their_own_lines(place: Path, capsys: pytest.CaptureFixture[str]):
    found = migrated(place, BAD_STAGES)
    told = {left.name: left for left in found.unmet}
    assert {name: left.line for name, left in told.items()} == {
        **{"stages[0].epochs": 5, "stages[0].masking_rate_range": 6, "stages[1].epoch": 8},
        **{"stages[1].masking_rate": 10, "stages[1].data_selection": 11, "stages[1].wharble": 12},
        "curriculum.stages[1].name": 8,
    }
    wrong = {"stages[0].epochs", "stages[0].masking_rate_range", "stages[1].data_selection"}
    assert {name for name, left in told.items() if left.wrong} == wrong
    assert told["stages[1].epoch"].reason == "not known; did you mean `epochs`?"
    assert told["stages[1].wharble"].reason == "not known"
    assert "above the greatest, 0.2" in told["stages[0].masking_rate_range"].reason
    for line in (4, 5, 6, 7, 9, 11):
        assert f", line {line}\n" in found.text
    assert main(["migrate", str(place / "old.yaml")]) == 2
    said = capsys.readouterr()
    assert "<text>" not in said.err + said.out
    assert "wrong value: stages[0].epochs, line 5: " in said.err
    assert "not in the spec: stages[1].epoch, line 8: " in said.err


@pytest.mark.parametrize(
    ("word", "close"),
    [
        ("nmae", "name"),
        ("epoch", "epochs"),
        ("masking_rate_rang", "masking_rate_range"),
        ("data_selecton", "data_selection"),
        ("format_typ", "format_type"),
    ],
)
def test_a_misspelt_key_of_a_stage_is_guessed_among_a_stages(place: Path, word: str, close: str):
    for value in ("x", 0):
        found = migrated(place, {"stages": [{**STAGES[0], word: value}]}, "micro-diffusion")
        [left] = [left for left in found.unmet if left.name == f"stages[0].{word}"]
        assert left.reason == f"not known; did you mean `{close}`?"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("model:\n  n_heads: four\n", 'whole number, found "four"'),
        ("model:\n  norm_type: batchnorm\n", 'may not be "batchnorm"'),
        ("data:\n  readability_metrics: [flesch, smog]\n", 'may not be "smog"'),
        ("training:\n  learning_rate: -1\n", "must be above 0"),
    ],
)
def test_a_wrong_value_is_told_as_one_at_its_line(
    place: Path, text: str, part: str, capsys: pytest.CaptureFixture[str]
):
    """It stands in the spec, so it is not said to be left out of it."""
    found = migrated(place, f"data_dir: data\nd_ff: 8\n{text}")
    [left] = found.unmet
    assert (left.wrong, left.line) == (True, 4)
    assert left.name == text.split()[1].rstrip(":")
    assert part in left.reason
    assert "left out. The spec trains something else" not in found.text
    assert f"#   {left.name} (line 4): " in found.text
    assert main(["migrate", str(place / "old.yaml")]) == 2
    err = capsys.readouterr().err
    assert f"wrong value: {left.name}, line 4: " in err
    assert "not in the spec" not in err


def test_a_wrong_sum_names_the_lines_of_its_parts(place: Path):
    found = migrated(place, "d_ff: 8\nlexical_weight: 0.9\nsyntactic_weight: 0.3\n")
    [left] = found.unmet
    assert (left.name, left.line, left.wrong) == ("data.difficulty.weights", 2, True)
    assert "(from `lexical_weight`, line 2, `syntactic_weight`, line 3)" in left.reason


@pytest.mark.parametrize(("device", "index"), [("cuda:1", "1"), ("gpu:0", "0"), ("cuda:03", "3")])
def test_a_devices_index_is_told(
    place: Path, device: str, index: str, capsys: pytest.CaptureFixture[str]
):
    """The spec says the platform; which device of several, the environment does."""
    found = migrated(place, f'd_ff: 8\ndevice: "{device}"\n')
    assert found.unmet == ()
    assert load(found.text, environ={}, local={}).tree["hardware"]["platform"] == "gpu"
    [note] = [note for note in found.notes if "CUDA_VISIBLE_DEVICES" in note]
    assert f"`device: {device}` (line 2)" in note
    assert f"CUDA_VISIBLE_DEVICES={index} " in note
    assert main(["migrate", str(place / "old.yaml")]) == 0
    said = capsys.readouterr()
    assert f"note: {note}" in said.err
    assert f"CUDA_VISIBLE_DEVICES={index}\n" in said.out


@pytest.mark.parametrize("device", ["cuda", "gpu", "cpu", "cpu:0", "auto"])
def test_a_device_without_an_index_needs_no_note(place: Path, device: str):
    found = migrated(place, f'd_ff: 8\ndevice: "{device}"\n')
    assert found.unmet == ()
    assert not any("CUDA_VISIBLE_DEVICES" in note for note in found.notes)


@pytest.mark.parametrize("device", ["cuda:", "cuda:x", "cuda:-1", "cuda:0,1", "tpu:0"])
def test_a_device_that_is_none_is_told(place: Path, device: str):
    [left] = migrated(place, f'd_ff: 8\ndevice: "{device}"\n').unmet
    assert (left.name, left.line) == ("device", 2)
    assert device in left.reason


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ("patience: 4\neval_every: 20\n", ("is 4", "line 2", "every 20 steps", "epochs")),
        ("eval_every: 20\n", ("is 10", "the default of micro-diffusion", "every 20 steps")),
        ("", ("is 10", "every 1000 steps")),
    ],
)
def test_patience_counts_evaluations_which_a_note_says(
    place: Path, more: str, parts: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    found = migrated(place, f"d_ff: 8\n{more}")
    [note] = [note for note in found.notes if "patience" in note]
    for part in (*parts, "it counts evaluations"):
        assert part in note
    assert main(["migrate", str(place / "old.yaml")]) == 0
    assert f"note: {note}" in capsys.readouterr().err


@pytest.mark.parametrize("more", ["patience: null\n", "val_split: 0\n"])
def test_no_patience_needs_no_note(place: Path, more: str):
    found = migrated(place, f"d_ff: 8\n{more}")
    assert not any("patience" in note for note in found.notes)


def test_a_value_that_follows_from_a_wrong_one_is_told_at_its_line(place: Path):
    found = migrated(place, "d_ff: 8\npos_encoding: learned\nmax_seq_len: 0\nbatch_size: many\n")
    assert {(left.name, left.line) for left in found.unmet} == {
        *(("max_seq_len", 3), ("batch_size", 4)),
    }
    assert all(left.wrong for left in found.unmet)


def test_stages_that_others_disagree_with_are_told_at_their_line_of_the_old_file(place: Path):
    """Misspelt epochs are no sum to compare before the spec is checked."""
    stage = "    masking_rate_range: [0.1, 0.2]\n"
    text = f"max_epochs: 9\nd_ff: 8\nstages:\n  - name: a\n    epochs: 2\n{stage}  - name: b\n    epoch: 3\n"
    told = {left.name: left for left in migrated(place, text).unmet}
    assert (told["stages[1].epoch"].line, told["max_epochs"].line) == (8, 1)
    assert "the stages (line 3) have" in told["max_epochs"].reason
    assert not any("<text>" in left.reason for left in told.values())
