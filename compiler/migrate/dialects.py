"""The tools whose configurations are migrated: how each is told, and what it takes where its file is silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.compiler.foreign.foreign import Foreign, to
from specrun.compiler.foreign.table import ORIGINS
from specrun.spec.diagnostics import InputError


@dataclass(frozen=True)
class Dialect:
    """``words`` tell the tool; ``per_device`` are counts that it means for each device.

    ``presets`` are what models whose name begins so have instead of the defaults. ``places`` are keys, by section,
    that this tool means otherwise than the others.
    """

    name: str
    title: str
    words: frozenset[str]
    defaults: Mapping[str, Any]
    per_device: frozenset[str]
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    places: Mapping[tuple[str, str], Foreign] = field(
        default_factory=dict[tuple[str, str], Foreign]
    )


VEMBED = Dialect(
    name="vembed",
    title="vembed-factory",
    words=frozenset(
        {
            *("text_model_name", "image_model_name"),
            *("encoder_mode", "teacher_model_name", "val_data_path", "image_root", "loss_type"),
            *("retrieval_mode", "scheduler_type", "use_gradient_cache", "use_mrl", "mrl_dims"),
            *("distillation_alpha", "distillation_temperature", "attn_implementation", "use_lora"),
            *("lora_r", "lora_target_modules", "config_override"),
        }
    ),
    defaults={
        "epochs": 3,
        "batch_size": 32,
        "learning_rate": 1e-5,
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "loss_type": "infonce",
        "temperature": 0.07,
        "scheduler_type": "cosine",
    },
    per_device=frozenset({"batch_size"}),
    presets={"qwen3": {"batch_size": 16, "learning_rate": 1e-5, "use_gradient_cache": True}},
)
"""Its guide's values. Its presets for CLIP and SigLIP say nothing that the guide shows."""

_SHARED = frozenset({"model_name_or_path", "report_to", "run_name", "logging_dir"})
"""Words of TrainingArguments and its companions that vembed-factory has too."""

TRAINING_ARGUMENTS = Dialect(
    name="sentence-transformers",
    title="TrainingArguments",
    words=frozenset({*ORIGINS["TrainingArguments"], *ORIGINS["sentence-transformers"]}) - _SHARED,
    defaults={
        "num_train_epochs": 3,
        "per_device_train_batch_size": 8,
        "learning_rate": 5e-5,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "lr_scheduler_type": "linear",
        "seed": 42,
        "loss": "MultipleNegativesRankingLoss",
    },
    per_device=frozenset(
        {
            *("per_device_train_batch_size", "per_gpu_train_batch_size"),
            *("per_device_eval_batch_size", "per_gpu_eval_batch_size"),
        }
    ),
)

_WIDTHS = frozenset({"d_model", "n_layers", "n_heads", "max_seq_len"})
"""Sizes that the RetNet-HRM encoder and micro-diffusion name alike: they tell the two from others, not apart."""

RETNET = Dialect(
    name="retnet-hrm",
    title="the RetNet-HRM encoder",
    words=_WIDTHS
    | {
        *("use_hard_negatives", "hard_negatives", "mining", "refresh_every"),
        *("eval_interval", "resume_from", "train_path", "dropout_rate", "positive_column"),
    },
    defaults={
        "vocab_size": 50257,
        "d_model": 768,
        "n_layers": 6,
        "n_heads": 12,
        "max_seq_len": 512,
        "dropout_rate": 0.1,
        "batch_size": 32,
        "learning_rate": 1e-4,
        "max_steps": 50000,
        "temperature": 0.07,
        "positive_column": "code",
    },
    per_device=frozenset({"batch_size"}),
)
"""Its guide's values."""

DIFFUSION = Dialect(
    name="micro-diffusion",
    title="micro-diffusion",
    words=_WIDTHS
    | frozenset(
        {
            *("experiment_name", "data_dir", "cache_dir", "mixed_precision"),
            *("d_ff", "attention_dropout", "activation", "norm_type", "norm_eps"),
            *("pos_encoding", "init_std", "use_bias", "mask_token_id"),
            *("grad_clip_norm", "max_epochs", "eval_every", "save_every", "log_every"),
            *("val_split", "val_batch_size", "use_mixed_precision", "dropout_schedule"),
            *("use_gradient_checkpointing", "pin_memory", "label_smoothing", "min_delta"),
            *("curriculum", "masking_rate_range", "data_selection", "format_type"),
            *("stages", "lexical_weight", "syntactic_weight", "centrality_weight"),
            *("easy_threshold", "hard_threshold", "n_clusters", "embedding_model"),
            *("transition_epochs", "reset_optimizer", "pseudo_data_ratio"),
            *("pseudo_data_max_samples", "num_steps", "confidence_schedule", "style_strength"),
            *("interactive_mode", "num_return_sequences", "min_sentence_length"),
            *("max_sentence_length", "sentence_overlap", "paragraph_max_sentences"),
            *("idf_corpus_size", "readability_metrics", "complexity_weights"),
            *("max_vram_gb", "memory_safety_margin", "bytes_per_param", "memory_multiplier"),
        }
    ),
    defaults={
        "experiment_name": "micro-diffusion",
        "seed": 42,
        "data_dir": "data",
        "output_dir": "outputs",
        "mixed_precision": True,
        "gradient_checkpointing": True,
        "d_model": 768,
        "n_layers": 12,
        "n_heads": 12,
        "d_ff": 2048,
        "vocab_size": 25000,
        "max_seq_len": 512,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation": "swiglu",
        "norm_type": "rmsnorm",
        "norm_eps": 1e-6,
        "pos_encoding": "rope",
        "init_std": 0.02,
        "use_bias": False,
        "learning_rate": 2e-4,
        "min_learning_rate": 2e-5,
        "weight_decay": 0.1,
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-8,
        "grad_clip_norm": 1.0,
        "scheduler": "cosine_with_restarts",
        "batch_size": 32,
        "gradient_accumulation_steps": 1,
        "eval_every": 1000,
        "save_every": 5000,
        "log_every": 100,
        "patience": 10,
        "min_delta": 1e-4,
        "val_split": 0.1,
        "label_smoothing": 0.0,
        "dropout_schedule": "constant",
        "lexical_weight": 0.3,
        "syntactic_weight": 0.3,
        "centrality_weight": 0.4,
        "easy_threshold": 33.0,
        "hard_threshold": 67.0,
        "n_clusters": 8,
        "embedding_model": "sentence-transformers/all-MiniLM-L6-v2",
        "transition_epochs": 5,
        "reset_optimizer": True,
        "pseudo_data_ratio": 0.25,
        "pseudo_data_max_samples": 100,
        "min_sentence_length": 10,
        "max_sentence_length": 512,
        "sentence_overlap": 50,
        "paragraph_max_sentences": 10,
        "idf_corpus_size": 100000,
        "readability_metrics": ["flesch", "coleman_liau", "automated_readability"],
    },
    per_device=frozenset(),
    places={
        ("", "temperature"): to("generation.temperature"),
        ("", "top_k"): to("generation.top_k"),
        ("", "top_p"): to("generation.top_p"),
        ("", "max_length"): to("generation.max_length"),
        **dict.fromkeys((("", "vocab_size"), ("model", "vocab_size")), to("tokenizer.vocab_size")),
        **{
            (section, name): to(new, note)
            for section in ("", "train", "data")
            for name, new, note in (
                ("gradient_accumulation_steps", "train.accumulation_steps", ""),
                ("patience", "evaluation.early_stopping.patience", "evaluations, not epochs"),
                ("min_sentence_length", "data.min_chars", "a shorter text is left out"),
                ("max_sentence_length", "data.max_chars", "a longer text is cut"),
                ("sentence_overlap", "data.chunk_overlap", "words that its pieces share"),
            )
        },
    },
)
"""Its guide's values. Stages and warm-up, which depend on one another, are completed in ``diffusion``.

Generation needs none: the spec's defaults are the guide's. Neither `device` nor the memory limit is assumed: a
spec without them runs on any machine.
"""

KEYWORDS = Dialect(
    name="keywords",
    title="specrun.Trainer",
    words=frozenset(),
    defaults={},
    per_device=TRAINING_ARGUMENTS.per_device,
)
"""Keywords of Python: any tool's names, and the spec's own defaults."""

DIALECTS = (VEMBED, TRAINING_ARGUMENTS, RETNET, DIFFUSION)


def named(name: str) -> Dialect:
    """The tool of that name."""
    return next(d for d in DIALECTS if d.name == name)


def told(names: Iterable[str]) -> Dialect:
    """The tool whose words occur most often, by keys and sections. InputError when two are as likely, or none is.

    A word that two tools share counts for both, so only words of one alone decide between them.
    """
    found = set(names)
    counts = {d.name: len(found & d.words) for d in DIALECTS}
    best = max(counts.values())
    likely = [name for name, count in counts.items() if count == best]
    if best == 0 or len(likely) > 1:
        listed = ", ".join(d.name for d in DIALECTS)
        what = "no key of any tool" if best == 0 else f"keys of {' and of '.join(likely)}"
        raise InputError(
            f"the file holds {what}, so it does not show which tool it is for",
            code="which-tool",
            hint=f"name it: --from {listed.replace(', ', ' | ')}",
        )
    return named(likely[0])
