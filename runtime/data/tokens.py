"""Token ids of all rows: tokenised once into memory-mapped files, keyed by rows, tokenizer and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specrun.runtime import cache
from specrun.runtime.data.rows import SPLITS, Rows
from specrun.runtime.data.scan import ensure_rows, rows_of
from specrun.runtime.data.tokenizer import Tokenizer, load
from specrun.spec.plan.data import DataPlan, TokenizerPlan

AT_A_TIME = 4096
SIDES = ("queries", "positives")


@dataclass(frozen=True)
class Ragged:
    """Sequences of ids behind one another. ``lengths`` is int64 [n]."""

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def gather(self, rows: np.ndarray, length: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids int32, mask bool), both [*rows.shape, length], padded by ``pad_id``; what is longer is cut."""
        counts = np.minimum(self.offsets[rows + 1] - self.offsets[rows], length)
        steps = np.arange(length)
        mask = steps < counts[..., None]
        places = np.where(mask, self.offsets[rows][..., None] + steps, 0)
        return np.where(mask, self.ids[places], np.int32(pad_id)).astype(np.int32), mask


@dataclass(frozen=True)
class TokenSplit:
    """Ids of one split."""

    queries: Ragged
    positives: Ragged


@dataclass(frozen=True)
class Tokens:
    """Ids of both splits, and the id that pads."""

    training: TokenSplit
    validation: TokenSplit
    pad_id: int


def ensure_tokens(data: DataPlan, tokenizer: TokenizerPlan) -> Tokens:
    """The plan's tokens, from the cache or made again from its rows."""
    ensure_rows(data)
    return tokens_of(data.scan.rows_digest, tokenizer, data.max_query_length, data.max_positive_length)


def tokens_of(rows_digest: str, tokenizer: TokenizerPlan, query_length: int, positive_length: int) -> Tokens:
    """Tokens of rows in the cache, cut at the two lengths."""
    key = cache.key_of("tokens", 1, rows_digest, tokenizer.digest, query_length, positive_length)
    limits = (query_length, positive_length)
    folder = cache.obtain(
        "tokens",
        key,
        lambda f: _write(f, rows_of(rows_digest), load(tokenizer, rows_digest=rows_digest), limits),
    )
    training, validation = (_read(folder, name) for name in SPLITS)
    return Tokens(training=training, validation=validation, pad_id=tokenizer.pad_id)


def ragged(sequences: Sequence[np.ndarray]) -> Ragged:
    """Sequences in memory as one ragged array."""
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in sequences], dtype=np.int64)]).astype(np.int64)
    ids = np.concatenate(sequences).astype(np.int32) if sequences else np.zeros(0, np.int32)
    return Ragged(ids=ids, offsets=offsets)


def _write(folder: Path, rows: Rows, tokenizer: Tokenizer, limits: tuple[int, int]) -> None:
    for name in SPLITS:
        for side, limit in zip(SIDES, limits, strict=True):
            texts: Sequence[str] = getattr(getattr(rows, name), side)
            found = ragged([s for i in range(0, len(texts), AT_A_TIME) for s in tokenizer.encode(texts[i : i + AT_A_TIME], limit)])
            np.save(folder / f"{name}.{side}.ids.npy", found.ids)
            np.save(folder / f"{name}.{side}.offsets.npy", found.offsets)


def _read(folder: Path, name: str) -> TokenSplit:
    return TokenSplit(
        **{
            side: Ragged(
                ids=np.load(folder / f"{name}.{side}.ids.npy", mmap_mode="r"),
                offsets=np.load(folder / f"{name}.{side}.offsets.npy"),
            )
            for side in SIDES
        }
    )
