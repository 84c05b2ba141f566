"""Images as a user hands them over: opened one at a time, when their batch is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from specrun.runtime.data.content import Both
from specrun.runtime.images.decode import pixels_of, read
from specrun.runtime.images.faults import BadImage
from specrun.runtime.images.pixels import process
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.images import ImageProcessor

Picture = str | os.PathLike[str] | bytes | Image.Image

MAX_PIXELS = 50_000_000
"""Most pixels of an image, as ``data.max_image_pixels`` has it where nothing else is said."""


class Opened(Sequence[np.ndarray]):
    """What the image network takes of pictures: item i is uint8 [H, W, 3]. InputError for one that cannot be read."""

    def __init__(
        self, images: Sequence[Picture], processor: ImageProcessor, max_pixels: int = MAX_PIXELS
    ):
        if not isinstance(images, list | tuple):
            raise InputError(
                f"images must be a list, found {type(images).__name__}",
                code="bad-image",
                hint="put a single image into a list",
            )
        self._images, self._processor, self._max_pixels = images, processor, max_pixels

    def __len__(self) -> int:
        return len(self._images)

    @property
    def lengths(self) -> np.ndarray:
        """One for every image. int64 [images]"""
        return np.ones(len(self._images), np.int64)

    def __getitem__(self, index: Any) -> Any:
        image = self._images[index]
        try:
            if isinstance(image, Image.Image):
                return process(image, self._processor)
            if isinstance(image, bytes):
                return pixels_of(image, self._processor, self._max_pixels)
            if isinstance(image, str | os.PathLike):
                data = read(str(Path(image)), self._max_pixels)
                return pixels_of(data, self._processor, self._max_pixels)
        except BadImage as bad:
            name = str(image)[:200] if isinstance(image, str | os.PathLike) else f"images[{index}]"
            reason = bad.reason.replace("_", " ")
            message = f"{name}: {reason}, {bad.detail}"
            raise InputError(message, code="bad-image") from bad
        raise InputError(
            f"images must be paths, bytes or Pillow's images, but images[{index}] is {type(image).__name__}",
            code="bad-image",
        )


class Paired(Sequence[Both]):
    """Texts and images together."""

    def __init__(self, ids: Sequence[np.ndarray], images: Sequence[np.ndarray]):
        self._ids, self._images = ids, images

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def lengths(self) -> np.ndarray:
        """Those of the texts. int64 [texts]"""
        return np.array([len(ids) for ids in self._ids], np.int64)

    def __getitem__(self, index: Any) -> Any:
        return Both(self._ids[index], self._images[index])
