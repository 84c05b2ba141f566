"""Vectors of texts on the host, and how texts are compared by them. Imports no jax.

A collection of texts is an array [N, D], a vector for each, or ``TokenVectors``, some for each.
Both have a length and are indexed by texts, so what ranks texts need not know which it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Reduce = Literal["mean", "sum"]

TILE = 2048
"""Tokens of either side whose products are held at a time: 16 MiB, unless one text has more."""


@dataclass(frozen=True)
class TokenVectors:
    """The token vectors of texts, one text after the other: text i has ``vectors[starts[i]:starts[i + 1]]``."""

    vectors: np.ndarray  # float32 [tokens, D]
    starts: np.ndarray  # int64 [texts + 1]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text. int64 [texts]"""
        return np.diff(self.starts)

    def __getitem__(self, texts: slice | Sequence[int] | np.ndarray) -> TokenVectors:
        """Some of the texts; a slice copies nothing."""
        if isinstance(texts, slice):
            first, stop, _ = texts.indices(len(self))
            starts = self.starts[first : max(first, stop) + 1]
            return TokenVectors(self.vectors[starts[0] : starts[-1]], starts - starts[0])
        return gathered([self.text(int(i)) for i in texts], self.vectors.shape[1])

    def text(self, index: int) -> np.ndarray:
        """The vectors of one text, [tokens, D]."""
        return self.vectors[self.starts[index] : self.starts[index + 1]]


Vectors = np.ndarray | TokenVectors

Compare = Callable[[Any, Any], np.ndarray]
"""Scores float32 [N, M] of N texts asked and M offered."""


def gathered(texts: Sequence[np.ndarray], width: int) -> TokenVectors:
    """Texts given as arrays [tokens, ``width``], one after the other."""
    starts = np.cumsum([0, *(len(text) for text in texts)], dtype=np.int64)
    vectors = np.concatenate(texts) if texts else np.empty((0, width), np.float32)
    return TokenVectors(np.ascontiguousarray(vectors, np.float32), starts)


def normalised(embeddings: np.ndarray, dimension: int) -> np.ndarray:
    """The first ``dimension`` numbers of each row [N, D], brought to length 1. A zero row stays zero."""
    cut = embeddings[:, :dimension]
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    return cut / np.maximum(norms, np.finfo(np.float32).tiny)


def cut(found: Vectors, dimension: int) -> Vectors:
    """Every vector cut to its first ``dimension`` numbers and brought to length 1."""
    if isinstance(found, TokenVectors):
        return TokenVectors(normalised(found.vectors, dimension), found.starts)
    return normalised(found, dimension)


def products(asked: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """Dot products of vectors: [N, D] and [M, D] to [N, M]."""
    return asked @ offered.T


def by_maxsim(reduce: Reduce) -> Compare:
    """MaxSim of queries asked and documents offered."""
    return lambda asked, offered: maxsim(asked, offered, reduce)


def turned(compare: Compare) -> Compare:
    """The comparison with the sides changed: documents are asked, and queries offered."""
    return lambda asked, offered: np.ascontiguousarray(compare(offered, asked).T)


def maxsim(queries: TokenVectors, documents: TokenVectors, reduce: Reduce) -> np.ndarray:
    """``Σ_t max_s q_t · d_s`` of every query with every document, or the mean over t. float32 [N, M]

    Exact, and in tiles of tokens. A text without tokens has 0 with every other (Khattab & Zaharia
    2020, equation 3, and `runtime.losses.maxsim` with what lies on a device).
    """
    found = np.zeros((len(queries), len(documents)), np.float32)
    for left in _groups(queries.starts):
        asked = queries[left]
        for right in _groups(documents.starts):
            found[left, right] = _tile(asked, documents[right])
    if reduce == "mean":
        found /= np.maximum(queries.lengths, 1)[:, None].astype(np.float32)
    return found


def maxsim_of_pairs(queries: TokenVectors, documents: TokenVectors, reduce: Reduce) -> np.ndarray:
    """MaxSim of each query with the document of its own number. float32 [N]"""
    return np.array(
        [
            maxsim(queries[i : i + 1], documents[i : i + 1], reduce)[0, 0]
            for i in range(len(queries))
        ],
        np.float32,
    )


def _tile(queries: TokenVectors, documents: TokenVectors) -> np.ndarray:
    """Sums over query tokens. Texts without tokens are left out, for an empty run of rows has no maximum."""
    found = np.zeros((len(queries), len(documents)), np.float32)
    rows, columns = np.flatnonzero(queries.lengths), np.flatnonzero(documents.lengths)
    if not len(rows) or not len(columns):
        return found
    with np.errstate(
        invalid="ignore", over="ignore"
    ):  # who ranks by them refuses what is not finite
        scores = documents.vectors @ queries.vectors.T  # [document tokens, query tokens]
        nearest = np.maximum.reduceat(scores, documents.starts[:-1][columns], axis=0)
        sums = np.add.reduceat(nearest, queries.starts[:-1][rows], axis=1)
    found[np.ix_(rows, columns)] = sums.T
    return found


def _groups(starts: np.ndarray) -> list[slice]:
    """Consecutive texts of at most ``TILE`` tokens together, or of one longer text."""
    found: list[slice] = []
    first, count = 0, len(starts) - 1
    while first < count:
        fitting = int(np.searchsorted(starts, starts[first] + TILE, side="right")) - 1
        stop = max(first + 1, fitting)
        found.append(slice(first, stop))
        first = stop
    return found
