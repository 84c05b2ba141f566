"""All rows as token ids, made once and read through a memory map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers

from specrun.runtime import cache
from specrun.runtime.data.content import Images, Items, TextsAndImages
from specrun.runtime.data.items import image_of, text_of
from specrun.runtime.data.pixel_cache import Pixels, pixels_of
from specrun.runtime.data.rows import Rows, Split, map_array
from specrun.runtime.data.scan import ensure_rows, rows_of
from specrun.runtime.data.tables import as_table
from specrun.runtime.data.tokenizer import load
from specrun.runtime.telling import Tell, silent
from specrun.spec.plan.data import (
    MODALITIES,
    DataPlan,
    Modality,
    RetrievalMode,
    TableSource,
    TokenizerPlan,
)
from specrun.spec.plan.images import ImageProcessor

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

    tokens: Items
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

    queries: Items
    positives: Items
    negatives: Negatives | None = None

    @property
    def texts_only(self) -> bool:
        """Whether a row is one text: ``positives`` are then the very items of the queries."""
        return self.positives is self.queries

    @cached_property
    def positive_lengths(self) -> np.ndarray:
        """Tokens of the longest text of each row's positive side, its negatives included; 0 without such a side.

        int64 [rows]
        """
        if self.texts_only:
            return np.zeros(len(self.queries), np.int64)
        own = self.positives.lengths
        return own if self.negatives is None else np.maximum(own, self.negatives.longest)


@dataclass(frozen=True)
class Tokens:
    """The rows of a plan as ids, in the order of ``Rows``."""

    training: TokenSplit
    validation: TokenSplit
    pad_id: int


def ensure_tokens(
    data: DataPlan,
    tokenizer: TokenizerPlan,
    tell: Tell = silent,
    processor: ImageProcessor | None = None,
) -> Tokens:
    """The plan's tokens and pixels, from the cache or made again. InputError when rows or tokenizer changed.

    ``processor`` is the model's, which rows of images need.
    """
    rows = ensure_rows(data, tell)
    mode: RetrievalMode = "t2t"
    pixels = None
    source = as_table(data.source)
    if isinstance(source, TableSource) and source.images is not None:
        assert processor is not None  # the compiler sees to it
        mode = source.retrieval_mode
        pixels = pixels_of(rows, source.images, processor, tell)
    lengths = (data.max_query_length, data.max_positive_length)
    return tokens_of(rows.digest, tokenizer, *lengths, tell, mode=mode, pixels=pixels)


def tokens_of(
    rows_digest: str,
    tokenizer: TokenizerPlan,
    max_query_length: int,
    max_positive_length: int,
    tell: Tell = silent,
    *,
    mode: RetrievalMode = "t2t",
    pixels: Pixels | None = None,
) -> Tokens:
    """The tokens of rows that the cache holds. RunError when it does not, or cannot be written.

    ``pixels`` are needed to gather from rows of images; without them only lengths can be asked for.
    """
    prompts = tokenizer.prompts
    parts: list[object] = [
        FORMAT,
        rows_digest,
        tokenizer.digest,
        max_query_length,
        max_positive_length,
        tokenizers.__version__,
        *((prompts.query, prompts.positive) if prompts.any else ()),
        *([mode] if mode != "t2t" else []),
    ]
    query, positive = (MODALITIES[mode[at]] for at in (0, -1))

    def write(folder: Path) -> None:
        rows = rows_of(rows_digest)
        encoder = load(tokenizer, rows_digest=rows_digest)
        pairs = rows.training.texts_only
        sides = _Sides(
            query,
            lambda texts: encoder.encode_all(texts, max_query_length, prompts.query, pairs=pairs),
            positive,
            lambda texts: encoder.encode_all(texts, max_positive_length, prompts.positive),
        )
        _write(folder, rows, sides, tell)

    folder = cache.make(_KIND, cache.digest_of(parts), write)
    rows = rows_of(rows_digest)
    found = (
        _load(folder, name, split, query, positive, pixels)
        for name, split in (("training", rows.training), ("validation", rows.validation))
    )
    return Tokens(*found, tokenizer.pad_id)


Encode = Callable[[Sequence[str]], Iterator[np.ndarray]]
"""Texts of a side to their ids."""


class _Sides(NamedTuple):
    """What each side is made of, and how its texts become ids."""

    query: Modality
    encode_query: Encode
    positive: Modality
    encode_positive: Encode


def _write(folder: Path, rows: Rows, sides: _Sides, tell: Tell) -> None:
    parts = list(_texts(rows, sides))
    total = sum(len(texts) for _, texts, _ in parts)
    count = 0

    def one() -> None:
        nonlocal count
        count += 1
        if count % TOLD_EVERY == 0 or count == total:
            tell("tokenising, texts", count, total)

    tell("tokenising, texts", 0, total)
    for name, texts, encode in parts:
        _write_ragged(folder, name, encode(texts), one)
    for side, split in (("training", rows.training), ("validation", rows.validation)):
        if split.negatives is not None:
            np.asarray(split.negatives.ends, "<i8").tofile(folder / f"{side}.negatives.rows")


def _texts(rows: Rows, sides: _Sides) -> Iterator[tuple[str, Sequence[str], Encode]]:
    """(name, texts, how they become ids) of everything that is tokenised."""
    for side, split in (("training", rows.training), ("validation", rows.validation)):
        if split.texts_only:
            yield f"{side}.queries", split.queries, sides.encode_query
            continue
        if sides.query == "text":
            yield f"{side}.queries", split.queries, sides.encode_query
        elif sides.query == "both":
            texts = [text_of(item) for item in split.queries]
            yield f"{side}.queries", texts, sides.encode_query
        if sides.positive == "text":
            yield f"{side}.positives", split.positives, sides.encode_positive
            if split.negatives is not None:
                yield f"{side}.negatives", split.negatives.texts, sides.encode_positive


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


def _load(
    folder: Path,
    side: str,
    split: Split,
    query: Modality,
    positive: Modality,
    pixels: Pixels | None,
) -> TokenSplit:
    def items(name: str, what: Modality, of: Sequence[str]) -> Items:
        if what == "text":
            return _load_ragged(folder, f"{side}.{name}")
        images = _images(of, pixels)
        return (
            images
            if what == "image"
            else TextsAndImages(_load_ragged(folder, f"{side}.{name}"), images)
        )

    negatives = None
    if split.negatives is not None:
        ends = map_array(folder / f"{side}.negatives.rows", "<i8")
        negatives = Negatives(items("negatives", positive, split.negatives.texts), ends)
    queries = items("queries", query, split.queries)
    return TokenSplit(
        queries,
        queries if split.texts_only else items("positives", positive, split.positives),
        negatives,
    )


def _images(items: Sequence[str], pixels: Pixels | None) -> Images:
    """The images of items, or where there are no pixels yet what says how many there are."""
    if pixels is None:
        return Images(np.empty((0, 0, 0, 3), np.uint8), np.zeros(len(items), np.int64))
    return Images(pixels.array, np.array([pixels.index[image_of(x)] for x in items], np.int64))


def _load_ragged(folder: Path, name: str) -> Ragged:
    return Ragged(
        map_array(folder / f"{name}.ids", "<i4"), map_array(folder / f"{name}.ends", "<i8")
    )
