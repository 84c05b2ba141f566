"""All rows as token ids, made once and read through a memory map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers

from specrun.runtime import cache
from specrun.runtime.data.rows import Rows, map_array
from specrun.runtime.data.scan import ensure_rows, rows_of
from specrun.runtime.data.tokenizer import Tokenizer, load
from specrun.runtime.telling import Tell, silent
from specrun.spec.plan.data import DataPlan, TokenizerPlan

FORMAT = 1
TOLD_EVERY = 1000
_KIND = "tokens"


@dataclass(frozen=True)
class Ragged:
    """Sequences of ids behind one another: row i is ``ids[ends[i] : ends[i + 1]]``, never empty."""

    ids: np.ndarray  # int32 [all tokens]
    ends: np.ndarray  # int64 [rows + 1]

    def __len__(self) -> int:
        return len(self.ends) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows]"""
        return np.diff(self.ends)

    def lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """int64, of the shape of ``rows``"""
        return self.ends[rows + 1] - self.ends[rows]

    def __getitem__(self, index: int) -> np.ndarray:
        """int32 [length of the row]"""
        return np.asarray(self.ids[self.ends[index] : self.ends[index + 1]])

    def gather(self, rows: np.ndarray, length: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows padded to ``length``, which none may exceed: ids int32 and mask bool, both [*rows.shape, length]."""
        starts, sizes = self.ends[rows], self.lengths_of(rows)
        if sizes.size and sizes.max() > length:
            raise ValueError(f"a row of {sizes.max()} tokens does not fit into {length}")
        offsets = np.arange(length)
        mask = offsets < sizes[..., None]
        at = np.where(mask, starts[..., None] + offsets, 0)
        return np.where(mask, self.ids[at], np.int32(pad_id)), mask


@dataclass(frozen=True)
class TokenSplit:
    """One side of the rows."""

    queries: Ragged
    positives: Ragged


@dataclass(frozen=True)
class Tokens:
    """The rows of a plan as ids, in the order of ``Rows``."""

    training: TokenSplit
    validation: TokenSplit
    pad_id: int


def ensure_tokens(data: DataPlan, tokenizer: TokenizerPlan, tell: Tell = silent) -> Tokens:
    """The plan's tokens, from the cache or made again. InputError when rows or tokenizer changed."""
    rows = ensure_rows(data, tell)
    return tokens_of(rows.digest, tokenizer, data.max_query_length, data.max_positive_length, tell)


def tokens_of(
    rows_digest: str,
    tokenizer: TokenizerPlan,
    max_query_length: int,
    max_positive_length: int,
    tell: Tell = silent,
) -> Tokens:
    """The tokens of rows that the cache holds. RunError when it does not, or cannot be written."""
    parts = [
        FORMAT,
        rows_digest,
        tokenizer.digest,
        max_query_length,
        max_positive_length,
        tokenizers.__version__,
    ]

    def write(folder: Path) -> None:
        rows = rows_of(rows_digest)
        encoder = load(tokenizer, rows_digest=rows_digest)
        _write(folder, rows, encoder, max_query_length, max_positive_length, tell)

    folder = cache.make(_KIND, cache.digest_of(parts), write)
    return Tokens(_load(folder, "training"), _load(folder, "validation"), tokenizer.pad_id)


def _write(
    folder: Path, rows: Rows, tokenizer: Tokenizer, query: int, positive: int, tell: Tell
) -> None:
    total = 2 * (len(rows.training) + len(rows.validation))
    count = 0

    def one() -> None:
        nonlocal count
        count += 1
        if count % TOLD_EVERY == 0 or count == total:
            tell("tokenising, texts", count, total)

    tell("tokenising, texts", 0, total)
    for side, split in (("training", rows.training), ("validation", rows.validation)):
        _write_ragged(folder, f"{side}.queries", tokenizer, split.queries, query, one)
        _write_ragged(folder, f"{side}.positives", tokenizer, split.positives, positive, one)


def _write_ragged(
    folder: Path,
    name: str,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_length: int,
    one: Callable[[], None],
) -> None:
    ends = [0]
    with (folder / f"{name}.ids").open("wb") as file:
        for ids in tokenizer.encode_all(texts, max_length):
            file.write(ids.astype("<i4", copy=False).tobytes())
            ends.append(ends[-1] + len(ids))
            one()
    np.array(ends, "<i8").tofile(folder / f"{name}.ends")


def _load(folder: Path, side: str) -> TokenSplit:
    return TokenSplit(
        _load_ragged(folder, f"{side}.queries"), _load_ragged(folder, f"{side}.positives")
    )


def _load_ragged(folder: Path, name: str) -> Ragged:
    return Ragged(
        map_array(folder / f"{name}.ids", "<i4"), map_array(folder / f"{name}.ends", "<i8")
    )
