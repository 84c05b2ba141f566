"""What a value of another tool becomes, by the path that its key has here. The keys are those of ``compiler.foreign``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from specrun.compiler.migrate.curriculum import embedding, pseudo_data, stages
from specrun.compiler.migrate.dialects import DIFFUSION
from specrun.compiler.migrate.draft import Draft, Old
from specrun.compiler.migrate.losses import loss, loss_name, of_loss, temperature
from specrun.compiler.migrate.models import tower
from specrun.compiler.migrate.values import (
    NULL_IS_DEFAULT,
    Rule,
    count_of,
    is_count,
    is_off,
    items,
    noted,
    plain,
)


def _rows(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.value is None:
        draft.drop(old, NULL_IS_DEFAULT)
        return
    if old.name not in draft.dialect.per_device or not is_count(old.value):
        draft.set(path, old.value, old)
        return
    if draft.devices is None:
        said = f"it is for each device; on N devices write N × {old.value}"
        draft.set(path, old.value, old, said)
    else:
        said = f"{old.value} for each device, times {draft.devices}"
        draft.set(path, old.value * draft.devices, old, said)


def _whole(old: Old, path: str, note: str, draft: Draft) -> None:
    value = old.value
    if isinstance(value, float) and value.is_integer():
        draft.set(path, int(value), old)
    elif isinstance(value, float):
        draft.miss(old, f"`{path}` is a whole number; write `train.max_steps`")
    else:
        plain(old, path, note, draft)


def _max_steps(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.value is None or (type(old.value) is int and old.value <= 0):
        draft.drop(old, "the length is that of the epochs")
    else:
        draft.set(path, old.value, old)


def _optimizer(old: Old, path: str, note: str, draft: Draft) -> None:
    if isinstance(old.value, str) and old.value.lower().startswith("adamw"):
        draft.set("optimizer.kind", "adamw", old)
    elif old.name == "adafactor" and is_off(old.value):
        draft.drop(old, "false is the default")
    else:
        draft.miss(old, f"not supported yet: the optimizer is `adamw`, found {old.value!r}")


def _betas(old: Old, path: str, note: str, draft: Draft) -> None:
    if len(items(old.value)) == 2:
        for key, beta in zip(("beta1", "beta2"), items(old.value), strict=True):
            draft.set(f"optimizer.{key}", beta, old)
    elif old.name == "betas":
        draft.miss(old, "two numbers are needed")
    else:
        draft.set(path, old.value, old)


SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant",
    "constant_with_warmup": "constant_with_warmup",
    "cosine_with_restarts": "cosine_with_restarts",
    "cosine_with_min_lr": "cosine",
}


def _schedule(old: Old, path: str, note: str, draft: Draft) -> None:
    if isinstance(old.value, str) and old.value in SCHEDULES:
        draft.set("schedule.kind", SCHEDULES[old.value], old)
    else:
        known = ", ".join(dict.fromkeys(SCHEDULES.values()))
        draft.miss(old, f"not supported yet: schedules are {known}; found {old.value!r}")


def _warmup(old: Old, path: str, note: str, draft: Draft) -> None:
    if is_off(old.value) or old.value == 0:
        draft.drop(old, "there is no warm-up without it")
    elif isinstance(old.value, float) and 0 < old.value < 1:
        draft.set("schedule.warmup_ratio", old.value, old)
    else:
        draft.set(path, old.value, old)


NUMBERS = {
    **{True: "bfloat16", False: "float32", "no": "float32", "fp32": "float32"},
    **{"float32": "float32", "bf16": "bfloat16", "bfloat16": "bfloat16"},
    **{"fp16": "bfloat16", "float16": "bfloat16", "half": "bfloat16", "auto": "float32"},
}


MIXED = ("mixed_precision", "use_mixed_precision", "use_amp", "amp")
"""Switches that do not say which format they mean."""


def _compute(old: Old, path: str, note: str, draft: Draft) -> None:
    value = old.value.removeprefix("torch.") if isinstance(old.value, str) else old.value
    if old.name in ("bf16", "fp16", "bf16_full_eval", "fp16_full_eval") and is_off(value):
        draft.drop(old, "false is the default")
    elif isinstance(value, bool | str) and value in NUMBERS:
        half = old.name.startswith("fp16") or value in ("fp16", "float16", "half")
        half = half or (value is True and old.name in MIXED)
        why = "there is no float16, and bfloat16 needs no loss scaling" if half else ""
        draft.set(path, NUMBERS[value], old, why)
    else:
        draft.miss(old, f"numbers are float32 or bfloat16, found {old.value!r}")


def _matmul(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.value is None:
        draft.drop(old, NULL_IS_DEFAULT)
    else:
        draft.set(path, "default" if old.value else "highest", old)


def _switch(old: Old, path: str, note: str, draft: Draft) -> None:
    """A section that is on or off."""
    if is_off(old.value) and path not in draft.settings:
        draft.drop(old, f"without the section `{path}` it is off")
    draft.set(path, None if is_off(old.value) else True, old)


def _list(old: Old, path: str, note: str, draft: Draft) -> None:
    value = old.value
    if value is None:
        draft.drop(old, NULL_IS_DEFAULT)
    else:
        draft.set(path, items(value), old)


def _targets(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.name in ("target_modules", "lora_target_modules") and old.value != "all-linear":
        _list(old, path, note, draft)
    elif is_off(old.value):
        draft.drop(old, "it asks for nothing")
    else:
        draft.miss(old, f"name the layers in `{path}`: {note or 'all-linear is not known here'}")


def _evaluations(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.value in ("no", "epoch", "steps") or old.value is False:
        draft.assume("evaluation", "no" if old.value is False else old.value, f"from {old.origin}")
        draft.drop(old, "`evaluation` is there or not, and `every_steps` null is each epoch")
    elif isinstance(old.value, float) and 0 < old.value < 1:
        draft.miss(old, "a share of the steps cannot be said; write a number of steps")
    else:
        plain(old, path, note, draft)


def _saves(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.value in ("no", "epoch", "steps", "best"):
        draft.drop(
            old, "`checkpoint.every_steps` null is each epoch; the last state is always saved"
        )
        if old.value in ("no", "epoch"):
            draft.assume("checkpoint", old.value, "")
    elif isinstance(old.value, float) and 0 < old.value < 1:
        draft.miss(old, "a share of the steps cannot be said; write a number of steps")
    else:
        plain(old, path, note, draft)


def _keep(old: Old, path: str, note: str, draft: Draft) -> None:
    if is_count(old.value):
        draft.set(path, max(2, old.value), old, "" if old.value > 1 else "at least 2")
    else:
        draft.drop(old, "the two newest and the best are kept")


_METRIC = re.compile(r"(mrr|ndcg|recall|precision)@([1-9][0-9]*)")


def _metric(old: Old, path: str, note: str, draft: Draft) -> None:
    found = _metric_of(old.value)
    if found is not None:
        draft.set(path, found, old)
    elif old.value is None:
        draft.drop(old, NULL_IS_DEFAULT)
    else:
        draft.miss(old, f"{_METRICS}; found {old.value!r}")


_METRICS = "metrics are mrr@k, ndcg@k, recall@k and precision@k"


def _metrics(old: Old, path: str, note: str, draft: Draft) -> None:
    names = items(old.value)
    found = [m for m in map(_metric_of, names) if m is not None]
    if found:
        draft.set(path, list(dict.fromkeys(found)), old)
    if not names:
        draft.drop(old, "it names none")
    if len(found) < len(names):
        draft.miss(old, f"{_METRICS}; found {', '.join(map(str, names))}")


def _metric_of(name: Any) -> str | None:
    """``val/mrr`` is MRR at 10, ``eval_dev_cosine_ndcg@10`` is nDCG at 10."""
    text = str(name).lower().rpartition("/")[2]
    found = _METRIC.search({"mrr": "mrr@10", "ndcg": "ndcg@10"}.get(text, text))
    return found.group() if found else None


_TRACKERS = ("tensorboard", "wandb")


def _trackers(old: Old, path: str, note: str, draft: Draft) -> None:
    names = items(old.value)
    if old.name in ("use_wandb", "wandb", "tensorboard") and isinstance(old.value, bool):
        names = [old.name.removeprefix("use_")] if old.value else []
    if old.name == "logging_dir":
        draft.assume("logging_dir", old.value, f"from {old.origin}")
        return
    wanted = _TRACKERS if "all" in names else [n for n in names if n in _TRACKERS]
    for i, name in enumerate(wanted):
        draft.set(f"tracking[{i}].kind", name, old)
    other = [n for n in names if n not in (*_TRACKERS, "all") and not is_off(n)]
    if other:
        draft.drop(old, f"trackers are tensorboard and wandb, not {', '.join(map(str, other))}")
    elif not wanted:
        draft.drop(old, "metrics.jsonl is always written")


def _project(old: Old, path: str, note: str, draft: Draft) -> None:
    draft.assume(path.replace("tracking[].", "wandb."), old.value, f"from {old.origin}")


def _lengths(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.value is None:
        draft.drop(old, NULL_IS_DEFAULT)
        return
    if draft.dialect is DIFFUSION:
        draft.set(path, old.value, old)
        return
    for side in ("query", "positive"):
        draft.set(f"data.max_length.{side}", old.value, old)
    if draft.dialect.name == "retnet-hrm":
        draft.set("model.max_position_embeddings", old.value, old)


def _source(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.value is None:
        draft.drop(old, "null is none")
        return
    draft.set("data.path", old.value, old)


_ENDINGS = {
    **{".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"},
    **{".parquet": "parquet"},
}


def format_of(path: str) -> str:
    """The kind of data that a path's ending tells; a folder is a saved Hugging Face dataset."""
    return next((k for ending, k in _ENDINGS.items() if path.endswith(ending)), "huggingface")


def _held_out(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.value is None or old.value == 0:
        draft.drop(old, "null holds nothing out")
        return
    draft.set("data.validation.kind", "fraction" if path.endswith("fraction") else "file", old)
    draft.set(path, old.value, old)


def _positions(old: Old, path: str, note: str, draft: Draft) -> None:
    known = {"rope": "rotary", "absolute": "learned"}
    same = ("rotary", "learned", "sinusoidal", "none")
    found = known.get(old.value, old.value) if isinstance(old.value, str) else None
    if found in same:
        draft.set(path, found, old)
    else:
        draft.miss(old, f"positions are one of {', '.join(same)}, found {old.value!r}")


def _towers(old: Old, path: str, note: str, draft: Draft) -> None:
    shared = bool(old.value) != old.name.startswith("separate")
    draft.set(path, "shared" if shared else "separate", old)


def _platform(old: Old, path: str, note: str, draft: Draft) -> None:
    names = {"cuda": "gpu", "gpu": "gpu", "cpu": "cpu", "auto": "auto"}
    name = str(old.value).partition(":")[0]
    if name in names:
        draft.set(path, names[name], old)
    else:
        draft.miss(old, f"not supported yet: platforms are cpu and gpu, found {old.value!r}")


def _devices(old: Old, path: str, note: str, draft: Draft) -> None:
    draft.set(path, count_of(old.value), old)


def _name(old: Old, path: str, note: str, draft: Draft) -> None:
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", str(old.value)).strip("-._")
    if text and old.value is not None:
        draft.set("name", text, old)
    else:
        draft.drop(old, "null is the file's name")


def _buckets(old: Old, path: str, note: str, draft: Draft) -> None:
    if is_off(old.value) or old.value == "random" or old.name == "length_column_name":
        draft.drop(old, "lengths are those of the tokens")
    else:
        draft.set(path, 4, old, "padded lengths a batch may take; rows stay shuffled")


def _logging(old: Old, path: str, note: str, draft: Draft) -> None:
    if is_count(old.value) and not isinstance(old.value, bool):
        draft.set(path, old.value, old)
    else:
        draft.drop(old, "`train.log_every_steps` is a number of steps")


def _patience(old: Old, path: str, note: str, draft: Draft) -> None:
    if is_off(old.value) and not (old.value == 0 and old.name == "min_delta"):
        draft.drop(old, "without `evaluation.early_stopping` it never stops early")
    else:
        draft.set(path, old.value, old, note)


def _start(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.value is None:
        draft.drop(old, "null starts from the seed")
    else:
        draft.miss(old, "`init_from` takes a run of specrun, not another tool's checkpoint")


def _cutting(old: Old, path: str, note: str, draft: Draft) -> None:
    if old.name == "truncate_dim":
        draft.drop(old, note)
    else:
        _list(old, path, note, draft)


def _pretrained(old: Old, path: str, note: str, draft: Draft) -> None:
    """A model by name: ``kind: auto`` reads its family from config.json."""
    if old.value is None:
        draft.miss(old, "a model is needed")
    else:
        draft.set("model.kind", "auto", old, "config.json decides")
        draft.set("model.name_or_path", old.value, old)


RULES: Mapping[str, Rule] = {
    "name": _name,
    "init_from": _start,
    "model.name_or_path": _pretrained,
    "model.text.name_or_path": tower,
    "model.image.name_or_path": tower,
    "model.position_embedding": _positions,
    "model.towers": _towers,
    "tokenizer.vocab_size": noted,
    "data.path": _source,
    "data.validation.path": _held_out,
    "data.validation.fraction": _held_out,
    "data.max_length": _lengths,
    "data.min_chars": noted,
    "data.max_chars": noted,
    "data.chunk_overlap": noted,
    "data.negatives": _switch,
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
    "lora": _switch,
    "lora.target_modules": _targets,
    "matryoshka": _switch,
    "matryoshka.dims": _cutting,
    "matryoshka.weights": _list,
    "train.batch_size": _rows,
    "train.micro_batch_size": _rows,
    "train.epochs": _whole,
    "train.max_steps": _max_steps,
    "train.accumulation_steps": noted,
    "train.gradient_cache": _switch,
    "train.gradient_cache.chunk_size": plain,
    "train.length_buckets": _buckets,
    "train.log_every_steps": _logging,
    "optimizer.kind": _optimizer,
    "optimizer.beta1": _betas,
    "schedule.kind": _schedule,
    "schedule.warmup_steps": _warmup,
    "schedule.warmup_ratio": _warmup,
    "precision.compute": _compute,
    "precision.matmul": _matmul,
    "evaluation.every_steps": _evaluations,
    "evaluation.batch_size": _rows,
    "evaluation.metrics": _metrics,
    "evaluation.select_best": _metric,
    "evaluation.early_stopping.patience": _patience,
    "evaluation.early_stopping.min_delta": _patience,
    "checkpoint.every_steps": _saves,
    "checkpoint.keep": _keep,
    "tracking": _trackers,
    "tracking[].project": _project,
    "tracking[].entity": _project,
    "hardware.devices": _devices,
    "hardware.platform": _platform,
    "hardware.max_memory_gb": noted,
}
"""By path. A path without a rule takes the value as it is where its key means the same, else the key is told."""


SWITCHES = ("lora", "matryoshka", "train.gradient_cache", "data.negatives", "tracking")
"""Sections that are on where they are present."""
