"""What a value of another tool becomes, by the path that its key has here. The keys are those of ``compiler.foreign``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from specrun.compiler.migrate.curriculum import embedding, pseudo_data, stages
from specrun.compiler.migrate.data import data_path, held_out, lengths
from specrun.compiler.migrate.draft import Draft, Old
from specrun.compiler.migrate.evaluation import (
    checkpoints_kept,
    evaluations,
    metric,
    metrics,
    patience,
    project,
    saves,
    trackers,
)
from specrun.compiler.migrate.losses import loss, loss_name, of_loss, prefixes, temperature
from specrun.compiler.migrate.models import positions, pretrained, targets, tower, towers
from specrun.compiler.migrate.training import (
    batch_rows,
    betas,
    buckets,
    compute,
    devices,
    log_steps,
    matmul,
    max_steps,
    optimizer,
    platform,
    schedule,
    warmup,
    whole_number,
)
from specrun.compiler.migrate.values import Rule, as_list, noted, plain, switch


def run_name(old: Old, path: str, note: str, draft: Draft) -> None:
    """A name of a run, in the letters that one may have here."""
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", str(old.value)).strip("-._")
    if text and old.value is not None:
        draft.set("name", text, old)
    else:
        draft.drop(old, "null is the file's name")


def start(old: Old, path: str, note: str, draft: Draft) -> None:
    """The state to start from."""
    if old.value is None:
        draft.drop(old, "null starts from the seed")
    else:
        draft.miss(old, "`init_from` takes a run of specrun, not another tool's checkpoint")


RULES: Mapping[str, Rule] = {
    "name": run_name,
    "init_from": start,
    "model.name_or_path": pretrained,
    "model.text.name_or_path": tower,
    "model.image.name_or_path": tower,
    "model.position_embedding": positions,
    "model.towers": towers,
    "tokenizer.vocab_size": noted,
    "data.path": data_path,
    "data.validation.path": held_out,
    "data.validation.fraction": held_out,
    "data.max_length": lengths,
    "data.min_chars": noted,
    "data.max_chars": noted,
    "data.chunk_overlap": noted,
    "data.negatives": switch,
    "data.difficulty.embedding": embedding,
    "curriculum.stages": stages,
    "curriculum.stages[].pseudo_data.ratio": pseudo_data,
    "curriculum.stages[].pseudo_data.max_samples": pseudo_data,
    "losses": loss,
    "losses[].kind": loss,
    "losses[].name": loss_name,
    "losses[].temperature": temperature,
    "losses[].margin": of_loss,
    "losses[].bias": of_loss,
    "losses[].negatives": of_loss,
    "losses[].symmetric": of_loss,
    "lora": switch,
    "lora.target_modules": targets,
    "matryoshka": switch,
    "matryoshka.dims": prefixes,
    "matryoshka.weights": as_list,
    "train.batch_size": batch_rows,
    "train.micro_batch_size": batch_rows,
    "train.epochs": whole_number,
    "train.max_steps": max_steps,
    "train.accumulation_steps": noted,
    "train.gradient_cache": switch,
    "train.gradient_cache.chunk_size": plain,
    "train.length_buckets": buckets,
    "train.log_every_steps": log_steps,
    "optimizer.kind": optimizer,
    "optimizer.beta1": betas,
    "schedule.kind": schedule,
    "schedule.warmup_steps": warmup,
    "schedule.warmup_ratio": warmup,
    "precision.compute": compute,
    "precision.matmul": matmul,
    "evaluation.every_steps": evaluations,
    "evaluation.batch_size": batch_rows,
    "evaluation.metrics": metrics,
    "evaluation.select_best": metric,
    "evaluation.early_stopping.patience": patience,
    "evaluation.early_stopping.min_delta": patience,
    "checkpoint.every_steps": saves,
    "checkpoint.keep": checkpoints_kept,
    "tracking": trackers,
    "tracking[].project": project,
    "tracking[].entity": project,
    "hardware.devices": devices,
    "hardware.platform": platform,
    "hardware.max_memory_gb": noted,
}
"""By path. A path without a rule takes the value as it is where its key means the same, else the key is told."""


SWITCHES = ("lora", "matryoshka", "train.gradient_cache", "data.negatives", "tracking")
"""Sections that are on where they are present."""
