"""Names that other tools, and guides, use for what this spec says in its own words.

A name maps to its path here, with what differs; one whose feature this version lacks says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from specrun.spec.tree import Path, parse_path


@dataclass(frozen=True)
class Foreign:
    """``new`` is the path in the spec; empty where this version has no such thing. ``note`` is what differs."""

    new: str = ""
    note: str = ""

    def message(self, old: str) -> str:
        """What a user who wrote ``old`` should know."""
        if self.new:
            return f"`{old}` is now `{self.new}`" + (f" ({self.note})" if self.note else "")
        return f"`{old}` is not in this version" + (f": {self.note}" if self.note else "")

    @property
    def section(self) -> str:
        """The section that the new name stands in; empty for the root."""
        return self.new.rpartition(".")[0]


def _to(new: str, note: str = "") -> Foreign:
    return Foreign(new, note)


def _later(note: str = "") -> Foreign:
    return Foreign("", note)


_PER_DEVICE = "`batch_size` is global: the number per device times the devices"
_SECTION_IS_ON = "a section that is present is on, null is off"
_ONLY_FLOAT32 = "it computes in float32, see `precision`"
_HOST = "batches are gathered from a memory-mapped cache and there are no loader processes"

FOREIGN: Mapping[str, Foreign] = {
    # the model
    "model_name": _to("model.name_or_path"),
    "model_name_or_path": _to("model.name_or_path"),
    "base_model_path": _to("model.name_or_path", "machine-local paths go into specrun.local.yaml"),
    "d_model": _to("model.hidden_size"),
    "hidden_dim": _to("model.hidden_size"),
    "n_layers": _to("model.num_hidden_layers"),
    "num_layers": _to("model.num_hidden_layers"),
    "n_heads": _to("model.num_attention_heads"),
    "num_heads": _to("model.num_attention_heads"),
    "d_ff": _to("model.intermediate_size"),
    "activation": _to("model.hidden_act"),
    "pos_encoding": _to("model.position_embedding", "`rope` is `rotary`"),
    "position_embedding_type": _to("model.position_embedding", "`absolute` is `learned`"),
    "norm_eps": _to("model.layer_norm_eps"),
    "init_std": _to("model.initializer_range"),
    "attention_dropout": _to("model.attention_probs_dropout_prob"),
    "pooling_mode": _to("model.pooling"),
    "pooling_method": _to("model.pooling"),
    "embedding_dim": _to("model.projection_dim"),
    # the data
    "data_path": _to("data.path"),
    "train_file": _to("data.path"),
    "dataset_path": _to("data.path"),
    "val_data_path": _to("data.validation.path", "with `kind: file`"),
    "validation_file": _to("data.validation.path", "with `kind: file`"),
    "val_split": _to("data.validation.fraction", "with `kind: fraction`"),
    "validation_split": _to("data.validation.fraction", "with `kind: fraction`"),
    "max_seq_len": _to("data.max_length", "one length for queries and one for positives"),
    "max_seq_length": _to("data.max_length", "one length for queries and one for positives"),
    "query_column": _to("data.columns.query"),
    "positive_column": _to("data.columns.positive"),
    # the losses
    "loss_type": _to("losses", "a list of items with `kind`"),
    "loss": _to("losses", "a list of items with `kind`"),
    "tau": _to("losses[].temperature"),
    "scale": _to("losses[].temperature", "temperature = 1 / scale"),
    "logit_scale": _to("losses[].train_temperature", "temperature = 1 / exp(logit_scale)"),
    "mrl_dims": _to("matryoshka.dims"),
    "matryoshka_dims": _to("matryoshka.dims"),
    "matryoshka_weights": _to("matryoshka.weights"),
    "mrl_weights": _to("matryoshka.weights"),
    "use_mrl": _to("matryoshka", _SECTION_IS_ON),
    # adapters
    "use_lora": _to("lora", _SECTION_IS_ON),
    "lora_r": _to("lora.rank"),
    "r": _to("lora.rank"),
    "lora_rank": _to("lora.rank"),
    "lora_alpha": _to("lora.alpha"),
    "lora_dropout": _to("lora.dropout"),
    "lora_target_modules": _to("lora.target_modules"),
    "use_rslora": _to("lora.rslora"),
    # training
    "num_train_epochs": _to("train.epochs"),
    "num_epochs": _to("train.epochs"),
    "max_epochs": _to("train.epochs"),
    "per_device_train_batch_size": _to("train.batch_size", _PER_DEVICE),
    "train_batch_size": _to("train.batch_size", _PER_DEVICE),
    "per_device_eval_batch_size": _to("evaluation.batch_size", _PER_DEVICE),
    "eval_batch_size": _to("evaluation.batch_size"),
    "val_batch_size": _to("evaluation.batch_size"),
    "gradient_accumulation_steps": _to("train.accumulation_steps"),
    "accumulate_grad_batches": _to("train.accumulation_steps"),
    "grad_clip_norm": _to("train.max_grad_norm"),
    "gradient_clip_val": _to("train.max_grad_norm"),
    "use_gradient_checkpointing": _to("train.gradient_checkpointing"),
    "dataloader_drop_last": _to("train.drop_last"),
    "use_gradient_cache": _to("train.micro_batch_size", "rows encoded at a time; null is off"),
    "mini_batch_size": _to("train.micro_batch_size"),
    "gc_chunk_size": _to("train.micro_batch_size"),
    "logging_steps": _to("train.log_every_steps"),
    "log_every": _to("train.log_every_steps"),
    "log_every_n_steps": _to("train.log_every_steps"),
    # optimizer and schedule
    "lr": _to("optimizer.learning_rate"),
    "adam_beta1": _to("optimizer.beta1"),
    "adam_beta2": _to("optimizer.beta2"),
    "adam_epsilon": _to("optimizer.eps"),
    "betas": _to("optimizer.beta1", "and `optimizer.beta2`, one number each"),
    "optim": _to("optimizer.kind", "`adamw_torch` and the like are `adamw`"),
    "scheduler": _to("schedule.kind"),
    "scheduler_type": _to("schedule.kind"),
    "lr_scheduler": _to("schedule.kind"),
    "lr_scheduler_type": _to("schedule.kind"),
    "num_warmup_steps": _to("schedule.warmup_steps"),
    "min_lr": _to("schedule.min_learning_rate"),
    # evaluation, checkpoints, the run
    "eval_steps": _to("evaluation.every_steps"),
    "eval_every": _to("evaluation.every_steps"),
    "eval_interval": _to("evaluation.every_steps"),
    "metric_for_best_model": _to("evaluation.select_best"),
    "early_stopping_patience": _to("evaluation.early_stopping.patience", "in evaluations"),
    "early_stopping_threshold": _to("evaluation.early_stopping.min_delta"),
    "save_steps": _to("checkpoint.every_steps"),
    "save_every": _to("checkpoint.every_steps"),
    "save_total_limit": _to("checkpoint.keep"),
    "run_name": _to("name"),
    "experiment_name": _to("name"),
    "random_seed": _to("seed"),
    "device": _to("hardware.platform", "`cuda` is `gpu`"),
    "num_devices": _to("hardware.devices"),
    # what other versions do
    "fp16": _later(_ONLY_FLOAT32),
    "bf16": _later(_ONLY_FLOAT32),
    "torch_dtype": _later(_ONLY_FLOAT32),
    "mixed_precision": _later(_ONLY_FLOAT32),
    "use_mixed_precision": _later(_ONLY_FLOAT32),
    "load_in_4bit": _later("weights are kept in float32"),
    "quantization": _later("weights are kept in float32"),
    "attn_implementation": _later(),
    "encoder_mode": _later("`model.kind` says which encoder it is"),
    "retrieval_mode": _later("queries and positives are text"),
    "image_root": _later("queries and positives are text"),
    "image_base_dir": _later("queries and positives are text"),
    "teacher_model_name": _later("there is no distillation"),
    "distillation_alpha": _later("there is no distillation"),
    "distillation_temperature": _later("there is no distillation"),
    "use_hard_negatives": _later("there is no mining; negatives are the batch's other rows"),
    "mining": _later("negatives are the batch's other rows"),
    "norm_type": _later("norms are LayerNorm"),
    "use_bias": _later("layers have biases"),
    "dropout_schedule": _later("dropout is constant"),
    "label_smoothing": _later(),
    "masking_rate_range": _later("there is no masked diffusion"),
    "transition_epochs": _later("stages follow one another without mixing"),
    "pseudo_data_ratio": _later("there is no masked diffusion"),
    "dataloader_num_workers": _later(_HOST),
    "num_workers": _later(_HOST),
    "pin_memory": _later(_HOST),
    "report_to": _to("tracking", "a list of items with `kind`"),
    "logging_dir": _to("tracking[].log_dir", "of the item of kind `tensorboard`"),
    "generation": _later("it trains encoders"),
    "sweep": _later("write one spec for each point"),
}

LATER_KINDS: Mapping[str, tuple[str, ...]] = {
    "losses": ("triplet", "cosent", "colbert", "distillation", "masked_diffusion", "causal_lm"),
    "model": ("clip", "siglip", "qwen2_vl", "qwen3_vl", "llama", "masked_diffusion", "vae"),
    "data": ("csv", "tsv", "parquet", "huggingface"),
    "optimizer": ("adam", "adafactor", "lion", "sgd", "muon"),
}
"""Kinds that are known and not in this version."""

KIND_NAMES: Mapping[str, tuple[str, str]] = {
    "mrl": ("losses", "Matryoshka is a section of its own: `matryoshka.dims`"),
    "matryoshka": ("losses", "Matryoshka is a section of its own: `matryoshka.dims`"),
    "cached_infonce": ("losses", "write `infonce`, and set `train.micro_batch_size`"),
    "MultipleNegativesRankingLoss": ("losses", "write `infonce`; temperature = 1 / scale"),
    "mnrl": ("losses", "write `infonce`; temperature = 1 / scale"),
    "adamw_torch": ("optimizer", "write `adamw`"),
    "minilm": ("model", "write `bert`"),
    "transformer": ("model", "write `text_encoder`"),
}
"""Kinds under other names: the section they stand in, and what to write."""


def is_here(key: str, path: Path) -> bool:
    """True where a foreign name is meant as such: telling ones anywhere, plain words where they would stand."""
    known = FOREIGN.get(key)
    if known is None:
        return False
    if not path or "_" in key:
        return True
    own = parse_path(known.section.replace("[]", "[0]")) or ()
    bare = tuple(0 if isinstance(step, int) else step for step in path)
    return bare == own
