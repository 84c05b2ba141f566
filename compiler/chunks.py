"""Rows encoded at a time, which a spec may say by two names."""

from __future__ import annotations

from specrun.spec.words.train import Train

MICRO = "train.micro_batch_size"
CACHE = "train.gradient_cache.chunk_size"


def chunk_rows(train: Train) -> int | None:
    """Rows encoded at a time; None is all."""
    return train.gradient_cache.chunk_size if train.gradient_cache else train.micro_batch_size


def chunk_key(train: Train) -> str:
    """Where the spec says it, or would."""
    return CACHE if train.gradient_cache else MICRO
