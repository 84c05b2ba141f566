"""All rows as token ids, made once and read through a memory map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers

from specrun.runtime import cache
from specrun.runtime.data.rows import Rows, map_array
from specrun.runtime.data.scan import ensure_rows, rows_of
from specrun.runtime.data.tokenizer import load
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
class Negatives:
    """The negatives of all rows behind one another: those of row i are ``ends[i]`` to before ``ends[i + 1]``."""

    tokens: Ragged
    ends: np.ndarray  # int64 [rows + 1]

    def of(self, rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the first ``most`` negatives of each row, 0 for what is lacking, and which are there.

        int64 and bool, both [*rows.shape, most]
        """
        starts, counts = self.ends[rows], self.ends[rows + 1] - self.ends[rows]
        nth = np.arange(most)
        there = nth < counts[..., None]
        return np.where(there, starts[..., None] + nth, 0), there

    @property
    def longest(self) -> np.ndarray:
        """Tokens of the longest negative of each row, 0 where there is none. int64 [rows]"""
        found = np.zeros(len(self.ends) - 1, np.int64)
        owners = np.repeat(np.arange(len(found)), np.diff(self.ends))
        np.maximum.at(found, owners, self.tokens.lengths)
        return found


@dataclass(frozen=True)
class TokenSplit:
    """One side of the rows. ``negatives`` is None where no row has one."""

    queries: Ragged
    positives: Ragged
    negatives: Negatives | None = None

    @cached_property
    def positive_lengths(self) -> np.ndarray:
        """Tokens of the longest text of each row's positive side, its negatives included. int64 [rows]"""
        own = self.positives.lengths
        return own if self.negatives is None else np.maximum(own, self.negatives.longest)


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
    prompts = tokenizer.prompts
    parts: list[object] = [
        FORMAT,
        rows_digest,
        tokenizer.digest,
        max_query_length,
        max_positive_length,
        tokenizers.__version__,
        *((prompts.query, prompts.positive) if prompts.any else ()),
    ]

    def write(folder: Path) -> None:
        rows = rows_of(rows_digest)
        encoder = load(tokenizer, rows_digest=rows_digest)
        query, positive = (
            lambda texts: encoder.encode_all(texts, max_query_length, prompts.query),
            lambda texts: encoder.encode_all(texts, max_positive_length, prompts.positive),
        )
        _write(folder, rows, query, positive, tell)

    folder = cache.make(_KIND, cache.digest_of(parts), write)
    return Tokens(_load(folder, "training"), _load(folder, "validation"), tokenizer.pad_id)


Encode = Callable[[Sequence[str]], Iterator[np.ndarray]]
"""Texts of a side to their ids."""


def _write(folder: Path, rows: Rows, query: Encode, positive: Encode, tell: Tell) -> None:
    splits = (rows.training, rows.validation)
    total = sum(2 * len(s) + (len(s.negatives.texts) if s.negatives else 0) for s in splits)
    count = 0

    def one() -> None:
        nonlocal count
        count += 1
        if count % TOLD_EVERY == 0 or count == total:
            tell("tokenising, texts", count, total)

    tell("tokenising, texts", 0, total)
    for side, split in (("training", rows.training), ("validation", rows.validation)):
        _write_ragged(folder, f"{side}.queries", query(split.queries), one)
        _write_ragged(folder, f"{side}.positives", positive(split.positives), one)
        if split.negatives is not None:
            name = f"{side}.negatives"
            _write_ragged(folder, name, positive(split.negatives.texts), one)
            np.asarray(split.negatives.ends, "<i8").tofile(folder / f"{name}.rows")


def _write_ragged(
    folder: Path, name: str, texts: Iterator[np.ndarray], one: Callable[[], None]
) -> None:
    ends = [0]
    with (folder / f"{name}.ids").open("wb") as file:
        for ids in texts:
            file.write(ids.astype("<i4", copy=False).tobytes())
            ends.append(ends[-1] + len(ids))
            one()
    np.array(ends, "<i8").tofile(folder / f"{name}.ends")


def _load(folder: Path, side: str) -> TokenSplit:
    rows = folder / f"{side}.negatives.rows"
    negatives = None
    if rows.exists():
        negatives = Negatives(_load_ragged(folder, f"{side}.negatives"), map_array(rows, "<i8"))
    return TokenSplit(
        _load_ragged(folder, f"{side}.queries"),
        _load_ragged(folder, f"{side}.positives"),
        negatives,
    )


def _load_ragged(folder: Path, name: str) -> Ragged:
    return Ragged(
        map_array(folder / f"{name}.ids", "<i4"), map_array(folder / f"{name}.ends", "<i8")
    )
