"""Evaluations, checkpoints, metrics and trackers of other tools."""

from __future__ import annotations

import re
from typing import Any

from specrun.compiler.migrate.draft import Draft, Old
from specrun.compiler.migrate.values import NULL_IS_DEFAULT, is_count, is_off, items, plain


def evaluations(old: Old, path: str, note: str, draft: Draft) -> None:
    """When it is evaluated: a word, or a number of steps."""
    if old.value in ("no", "epoch", "steps") or old.value is False:
        draft.assume("evaluation", "no" if old.value is False else old.value, f"from {old.origin}")
        draft.drop(old, "`evaluation` is there or not, and `every_steps` null is each epoch")
    elif isinstance(old.value, float) and 0 < old.value < 1:
        draft.miss(old, "a share of the steps cannot be said; write a number of steps")
    else:
        plain(old, path, note, draft)


def saves(old: Old, path: str, note: str, draft: Draft) -> None:
    """When state is saved: a word, or a number of steps."""
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


def checkpoints_kept(old: Old, path: str, note: str, draft: Draft) -> None:
    """How many states are kept."""
    if is_count(old.value):
        draft.set(path, max(2, old.value), old, "" if old.value > 1 else "at least 2")
    else:
        draft.drop(old, "the two newest and the best are kept")


_METRIC = re.compile(r"(mrr|ndcg|recall|precision)@([1-9][0-9]*)")


def metric(old: Old, path: str, note: str, draft: Draft) -> None:
    """The metric that chooses the best."""
    found = _metric_of(old.value)
    if found is not None:
        draft.set(path, found, old)
    elif old.value is None:
        draft.drop(old, NULL_IS_DEFAULT)
    else:
        draft.miss(old, f"{_METRICS}; found {old.value!r}")


_METRICS = "metrics are mrr@k, ndcg@k, recall@k and precision@k"


def metrics(old: Old, path: str, note: str, draft: Draft) -> None:
    """The metrics that are measured."""
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


def trackers(old: Old, path: str, note: str, draft: Draft) -> None:
    """Where metrics go besides metrics.jsonl."""
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


def project(old: Old, path: str, note: str, draft: Draft) -> None:
    """A setting of a tracker, which is told once the trackers are known."""
    draft.assume(path.replace("tracking[].", "wandb."), old.value, f"from {old.origin}")


def patience(old: Old, path: str, note: str, draft: Draft) -> None:
    """When training stops early."""
    if is_off(old.value) and not (old.value == 0 and old.name == "min_delta"):
        draft.drop(old, "without `evaluation.early_stopping` it never stops early")
    else:
        draft.set(path, old.value, old, note)
