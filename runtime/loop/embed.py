"""Embedding many sequences: sorted by length, in batches of one size, padded to a power of two.

So the shapes that are compiled stay few: one for each power of two up to the longest row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from specrun.runtime.data.content import collate, lengths_of

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


def normalised(embeddings: np.ndarray, dimension: int) -> np.ndarray:
    """The first ``dimension`` numbers of each row [N, D], brought to length 1. A zero row stays zero."""
    cut = embeddings[:, :dimension]
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    return cut / np.maximum(norms, np.finfo(np.float32).tiny)
