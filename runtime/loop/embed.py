"""Embedding many sequences: sorted by length, in batches of one size, padded to a power of two.

So the shapes that are compiled stay few: one for each power of two up to the longest row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from specrun.runtime.data.content import collate, lengths_of
from specrun.runtime.embedded import Embedded
from specrun.runtime.vectors import TokenVectors, gathered

SHORTEST = 8
"""Least padded length, in tokens."""

Encode = Callable[[Any, np.ndarray], np.ndarray]
"""(content, mask bool [B, S]) to embeddings [B, D]; content is ids int32 [B, S], pixels, or ``content.Both``."""


def embed(
    sequences: Sequence[Any],
    encode: Encode,
    *,
    batch_size: int,
    longest: int,
    pad_id: int,
    width: int,
    between: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Embeddings float32 [N, width] in the order of ``sequences``, not normalised.

    ``sequences`` are rows of ``content.Items``: int32 ids, none more than ``longest``, or images. ``between`` is called before each
    batch. Every batch has ``batch_size`` rows; what is lacking is filled up.
    """
    found = np.empty((len(sequences), width), np.float32)
    for rows, content, mask in batches(sequences, batch_size, longest, pad_id):
        between()
        found[rows] = np.asarray(encode(content, mask))[: len(rows)]
    return found


def embed_tokens(
    sequences: Sequence[Any],
    encode: Callable[[Any, np.ndarray], Embedded],
    *,
    batch_size: int,
    longest: int,
    pad_id: int,
    width: int,
    token_width: int,
    between: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, TokenVectors]:
    """As ``embed``, with the vectors that count, [tokens, token_width] of each text or image."""
    found = np.empty((len(sequences), width), np.float32)
    texts = [np.empty((0, token_width), np.float32)] * len(sequences)
    for rows, content, mask in batches(sequences, batch_size, longest, pad_id):
        between()
        dense, tokens = encode(content, mask)
        assert tokens is not None  # the plan's model gives them
        found[rows] = np.asarray(dense)[: len(rows)]
        vectors, valid = np.asarray(tokens.vectors), np.asarray(tokens.mask) > 0
        for i, row in enumerate(rows):
            texts[row] = vectors[i][valid[i]]
    return found, gathered(texts, token_width)


def batches(
    sequences: Sequence[Any], batch_size: int, longest: int, pad_id: int
) -> Iterator[tuple[np.ndarray, Any, np.ndarray]]:
    """(row numbers, content, mask): the rows from the shortest to the longest."""
    lengths = lengths_of(sequences)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        length = padded_length(int(lengths[rows].max()), longest)
        content, mask = collate([sequences[row] for row in rows], batch_size, length, pad_id)
        yield rows, content, mask


def padded_length(length: int, longest: int) -> int:
    """The least power of two that holds ``length``, at least ``SHORTEST`` and at most ``longest``."""
    power = 1 << max(length - 1, SHORTEST - 1).bit_length()
    return max(length, min(power, longest))
