"""Pictures of any shape as an array of one size: the patches row by row, filled up, and a last row that says the shape.

The steps are those of transformers' Siglip2ImageProcessor with Pillow. A processed picture is uint8
[max_num_patches + 1, patch_size², 3]. The first four bytes of its last row are height and width in patches, two bytes
each, the greater first; the patches beyond height · width and the rest of that row are zeros.
"""

from __future__ import annotations

import math

import numpy as np

from specrun.spec.plan.images import Patching

_PRECISION = 1e-5
_LARGEST = 100.0
"""Where transformers' search for the scale ends, and the greatest scale that it tries."""


def shape_of(height: int, width: int, patching: Patching) -> tuple[int, int]:
    """Height and width in pixels of a picture that is to have at most ``max_num_patches`` patches.

    Both are whole patches: the picture's at the greatest scale that fits, each rounded up, and never less than one.
    As ``get_image_size_for_max_num_patches``: bisection from the same ends, in the same f64 operations.
    """
    low, high = _PRECISION / 10, _LARGEST
    while high - low >= _PRECISION:
        middle = (low + high) / 2
        down, across = _scaled(height, middle, patching), _scaled(width, middle, patching)
        if (down / patching.size) * (across / patching.size) <= patching.most:
            low = middle
        else:
            high = middle
    return _scaled(height, low, patching), _scaled(width, low, patching)


def _scaled(length: int, scale: float, patching: Patching) -> int:
    return max(patching.size, math.ceil(length * scale / patching.size) * patching.size)


def pack(pixels: np.ndarray, patching: Patching) -> np.ndarray:
    """A picture uint8 [height, width, 3] of whole patches, at most ``most`` → uint8 [most + 1, size², 3]."""
    size = patching.size
    height, width = pixels.shape[0] // size, pixels.shape[1] // size
    grid = pixels.reshape(height, size, width, size, 3).transpose(0, 2, 1, 3, 4)
    packed = np.zeros((patching.most + 1, size * size, 3), np.uint8)
    packed[: height * width] = grid.reshape(height * width, size * size, 3)
    packed[-1].reshape(-1)[:4] = (*divmod(height, 256), *divmod(width, 256))
    return packed
