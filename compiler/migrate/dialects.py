"""The tools whose configurations are migrated: how each is told, and what it takes where its file is silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.compiler.foreign.table import ORIGINS
from specrun.spec.diagnostics import InputError


@dataclass(frozen=True)
class Dialect:
    """``words`` tell the tool; ``per_device`` are counts that it means for each device.

    ``presets`` are what models whose name begins so have instead of the defaults.
    """

    name: str
    title: str
    words: frozenset[str]
    defaults: Mapping[str, Any]
    per_device: frozenset[str]
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


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

RETNET = Dialect(
    name="retnet-hrm",
    title="the RetNet-HRM encoder",
    words=frozenset(
        {
            *("d_model", "n_layers", "n_heads", "max_seq_len", "use_hard_negatives"),
            *("eval_interval", "hard_negatives", "mining", "resume_from"),
        }
    ),
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

KEYWORDS = Dialect(
    name="keywords",
    title="specrun.Trainer",
    words=frozenset(),
    defaults={},
    per_device=TRAINING_ARGUMENTS.per_device,
)
"""Keywords of Python: any tool's names, and the spec's own defaults."""

DIALECTS = (VEMBED, TRAINING_ARGUMENTS, RETNET)


def named(name: str) -> Dialect:
    """The tool of that name."""
    return next(d for d in DIALECTS if d.name == name)


def told(names: Iterable[str]) -> Dialect:
    """The tool whose words occur most often. InputError when two are as likely, or none is."""
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
