"""Images of one size beside the tokens: what a batch takes of a side that is an image, or a text and an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np


class Both(NamedTuple):
    """What the network is given of texts and images together, in place of the ids alone."""

    ids: Any  # int32 [..., S]
    pixels: Any  # uint8 [..., H, W, 3]


class Items(Protocol):
    """A side's rows as the network takes them. An image counts as one token, with a text it counts as none."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...
    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows]"""
        ...

    def lengths_of(self, rows: np.ndarray, /) -> np.ndarray:
        """int64, of the shape of ``rows``"""
        ...

    def gather(self, rows: np.ndarray, length: int, pad_id: int, /) -> tuple[Any, np.ndarray]:
        """What the network is given of ``rows``, and the mask bool [*rows.shape, length]."""
        ...


@dataclass(frozen=True)
class Images:
    """Row i is ``pixels[of[i]]``: rows with the same image share it."""

    pixels: np.ndarray  # uint8 [images, H, W, 3]
    of: np.ndarray  # int64 [rows]

    def __len__(self) -> int:
        return len(self.of)

    @property
    def lengths(self) -> np.ndarray:
        """One for every row. int64 [rows]"""
        return np.ones(len(self.of), np.int64)

    def lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """int64, of the shape of ``rows``"""
        return np.ones(rows.shape, np.int64)

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3]"""
        return np.asarray(self.pixels[self.of[index]])

    def gather(self, rows: np.ndarray, length: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels uint8 [*rows.shape, H, W, 3], and a mask that is true, [*rows.shape, 1]."""
        if length != 1:
            raise ValueError(f"an image counts as one token, and {length} are asked for")
        return np.asarray(self.pixels[self.of[rows]]), np.ones((*rows.shape, 1), np.bool_)


@dataclass(frozen=True)
class TextsAndImages:
    """Rows of which each has a text and an image."""

    texts: Items
    images: Images

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> np.ndarray:
        """Those of the texts. int64 [rows]"""
        return self.texts.lengths

    def lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """Those of the texts, of the shape of ``rows``."""
        return self.texts.lengths_of(rows)

    def __getitem__(self, index: int) -> Both:
        return Both(self.texts[index], self.images[index])

    def gather(self, rows: np.ndarray, length: int, pad_id: int) -> tuple[Both, np.ndarray]:
        """Ids and pixels, and the mask of the texts."""
        ids, mask = self.texts.gather(rows, length, pad_id)
        return Both(ids, self.images.gather(rows, 1, pad_id)[0]), mask


def lengths_of(items: Sequence[Any]) -> np.ndarray:
    """Tokens of rows as ``Items`` gives them, int64 [rows]. Those that are made when asked for say it themselves."""
    told = getattr(items, "lengths", None)
    return told if told is not None else np.array([_length(item) for item in items], np.int64)


def _length(item: Any) -> int:
    ids = item.ids if isinstance(item, Both) else item
    return 1 if ids.ndim == 3 else len(ids)


def collate(items: Sequence[Any], size: int, length: int, pad_id: int) -> tuple[Any, np.ndarray]:
    """What the network is given of ``items``, filled up to ``size`` rows, and the mask bool [size, length].

    Filling rows are one token of padding, or a black image.
    """
    if isinstance(items[0], Both):
        ids, mask = collate([item.ids for item in items], size, length, pad_id)
        return Both(ids, collate([item.pixels for item in items], size, 1, pad_id)[0]), mask
    if items[0].ndim == 3:
        pixels = np.zeros((size, *items[0].shape), np.uint8)
        pixels[: len(items)] = items
        return pixels, np.ones((size, 1), np.bool_)
    ids = np.full((size, length), pad_id, np.int32)
    mask = np.zeros((size, length), np.bool_)
    mask[len(items) :, 0] = True
    for i, item in enumerate(items):
        ids[i, : len(item)] = item
        mask[i, : len(item)] = True
    return ids, mask
