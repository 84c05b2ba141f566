"""Batches, steps, optimizers, schedules, number formats and devices of other tools."""

from __future__ import annotations

from specrun.compiler.migrate.dialects import KEYWORDS
from specrun.compiler.migrate.draft import Draft, Old
from specrun.compiler.migrate.values import (
    NULL_IS_DEFAULT,
    count_of,
    is_count,
    is_off,
    items,
    plain,
)


def batch_rows(old: Old, path: str, note: str, draft: Draft) -> None:
    """Rows of a batch: of all devices here, of each in some tools."""
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


def whole_number(old: Old, path: str, note: str, draft: Draft) -> None:
    """A number of epochs, which some tools write as 3.0."""
    value = old.value
    if isinstance(value, float) and value.is_integer():
        draft.set(path, int(value), old)
    elif isinstance(value, float):
        draft.miss(old, f"`{path}` is a whole number; write `train.max_steps`")
    else:
        plain(old, path, note, draft)


def max_steps(old: Old, path: str, note: str, draft: Draft) -> None:
    """A number of steps, where it is above 0."""
    if old.value is None or (type(old.value) is int and old.value <= 0):
        draft.drop(old, "the length is that of the epochs")
    else:
        draft.set(path, old.value, old)


def optimizer(old: Old, path: str, note: str, draft: Draft) -> None:
    """The name of an optimizer."""
    if isinstance(old.value, str) and old.value.lower().startswith("adamw"):
        draft.set("optimizer.kind", "adamw", old)
    elif old.name == "adafactor" and is_off(old.value):
        draft.drop(old, "false is the default")
    else:
        draft.miss(old, f"not supported yet: the optimizer is `adamw`, found {old.value!r}")


def betas(old: Old, path: str, note: str, draft: Draft) -> None:
    """Both decay rates of the moments, or one of them."""
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


def schedule(old: Old, path: str, note: str, draft: Draft) -> None:
    """The name of a schedule."""
    if isinstance(old.value, str) and old.value in SCHEDULES:
        draft.set("schedule.kind", SCHEDULES[old.value], old)
    else:
        known = ", ".join(dict.fromkeys(SCHEDULES.values()))
        draft.miss(old, f"not supported yet: schedules are {known}; found {old.value!r}")


def warmup(old: Old, path: str, note: str, draft: Draft) -> None:
    """A number of steps, or a share of them."""
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


def compute(old: Old, path: str, note: str, draft: Draft) -> None:
    """The format that numbers of the layers have."""
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


def matmul(old: Old, path: str, note: str, draft: Draft) -> None:
    """Whether products take TF32: jax's precision of them."""
    if old.value is None:
        draft.drop(old, NULL_IS_DEFAULT)
    else:
        draft.set(path, "default" if old.value else "highest", old)


PLATFORMS = {"cuda": "gpu", "gpu": "gpu", "cpu": "cpu", "auto": "auto"}


def platform(old: Old, path: str, note: str, draft: Draft) -> None:
    """The kind of device. Which one of several is chosen from outside, so an index is told."""
    name, colon, index = str(old.value).partition(":")
    if name not in PLATFORMS or (colon and not (index.isascii() and index.isdecimal())):
        draft.miss(old, f"not supported yet: platforms are cpu and gpu, found {old.value!r}")
        return
    if not index or PLATFORMS[name] != "gpu":
        draft.set(path, PLATFORMS[name], old)
        return
    mend = f"CUDA_VISIBLE_DEVICES={int(index)}"
    if draft.dialect is KEYWORDS:
        draft.miss(old, f"which GPU it is, is chosen from outside ({mend}); write {name!r}")
        return
    draft.set(path, PLATFORMS[name], old, f"which one is chosen from outside: {mend}")
    draft.notes.append(
        f"`{old.name}: {old.value}` (line {old.line}) is `{path}: gpu`, without the index: "
        f"which device it is, is chosen from outside ({mend} specrun run ...)"
    )


def devices(old: Old, path: str, note: str, draft: Draft) -> None:
    """A number of devices, or a list of them."""
    draft.set(path, count_of(old.value), old)


def buckets(old: Old, path: str, note: str, draft: Draft) -> None:
    """Batches of texts of like length."""
    if is_off(old.value) or old.value == "random" or old.name == "length_column_name":
        draft.drop(old, "lengths are those of the tokens")
    else:
        draft.set(path, 4, old, "padded lengths a batch may take; rows stay shuffled")


def log_steps(old: Old, path: str, note: str, draft: Draft) -> None:
    """A number of steps between rows of metrics."""
    if is_count(old.value) and not isinstance(old.value, bool):
        draft.set(path, old.value, old)
    else:
        draft.drop(old, "`train.log_every_steps` is a number of steps")
