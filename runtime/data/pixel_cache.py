"""The pixels of a plan's images, from the cache or made again from their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from specrun.runtime.data.pictures import place_of, workers
from specrun.runtime.data.rows import Rows
from specrun.runtime.telling import Tell, silent
from specrun.spec.diagnostics import InputError
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
    """Every image that the rows name, processed.

    InputError when a file changed or is gone since the scan and the cache has lost its pixels too, and for an image
    that the processor would make too large; RunError when the cache cannot be written.
    """
    from specrun.runtime.images.cache import image_cache  # Pillow, which texts do not need

    digests = list(rows.images)
    paths = [str(place_of(source.root, name)) for name in rows.images.values()]
    found = image_cache(paths, digests, processor, source.max_pixels, workers(), tell)
    if found.bad:
        first = next(iter(found.bad.values()))
        raise InputError(
            f"{len(found.bad)} images cannot be processed, the first is {first}",
            code="bad-image",
            hint="take their rows out of the data, or lower data.max_image_pixels",
        )
    return Pixels(found.pixels, dict(zip(digests, found.index.tolist(), strict=True)))
