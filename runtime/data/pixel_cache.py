"""The pixels of a plan's images, from the cache or made again from their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specrun.runtime.data.rows import Rows
from specrun.runtime.telling import Tell, silent
from specrun.spec.plan.data import ImageSource
from specrun.spec.plan.images import ImageProcessor


@dataclass(frozen=True)
class Pixels:
    """All different images: the one with a digest is ``array[index[digest]]``."""

    array: np.ndarray  # uint8 [images, H, W, 3]
    index: Mapping[str, int]


def pixels_of(
    rows: Rows, source: ImageSource, processor: ImageProcessor, tell: Tell = silent
) -> Pixels:
    """Every image that the rows name, processed. InputError when a file changed or is gone since the scan."""
    from specrun.runtime.images.cache import image_cache

    paths = {digest: Path(source.root, name) for digest, name in rows.images.items()}
    array = image_cache(paths, processor, source.max_pixels, tell)
    return Pixels(array, {digest: i for i, digest in enumerate(paths)})
