"""The sizes of SigLIP 2's pictures, as transformers 5.23 gives them; `tests/parity/test_images.py` compares many more."""

from __future__ import annotations

import pytest

from specrun.runtime.images.naflex import shape_of
from specrun.spec.plan.images import Patching


@pytest.mark.parametrize(
    ("height", "width", "size", "most", "expected"),
    [
        (480, 640, 16, 256, (224, 288)),
        (1, 1000, 16, 256, (16, 4096)),
        (1000, 1, 16, 256, (4096, 16)),
        (33, 97, 16, 64, (80, 192)),
        (224, 224, 16, 256, (256, 256)),
        (5000, 31, 14, 100, (1400, 14)),
        (7, 7, 4, 9, (12, 12)),
        (300, 301, 16, 10, (48, 48)),
    ],
)
def test_sizes_are_those_of_transformers(
    height: int, width: int, size: int, most: int, expected: tuple[int, int]
) -> None:
    assert shape_of(height, width, Patching(size=size, most=most)) == expected
