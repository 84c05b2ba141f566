"""The plan's picture processor: from a decoded picture to the numbers that a network reads."""

from __future__ import annotations

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record

Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""Pillow's filters."""

HALF = (0.5, 0.5, 0.5)


@record
class Patching:
    """Pictures keep their shape: each is resized to as many whole patches as may be, and cut into them."""

    size: Annotated[int, Fact(doc="Height and width of a patch.", unit="pixels")]
    most: Annotated[int, Fact(doc="Most patches of a picture; one of fewer is padded.")]


@record
class ImageProcessor:
    """What is done to each picture, in this order; every picture comes out at ``height`` × ``width``.

    The steps and their names are those of preprocessor_config.json. A step that is not done has the
    values that change nothing: no size, no crop, a factor of 1, a mean of 0, a deviation of 1.
    """

    do_convert_rgb: Annotated[
        bool, Fact(doc="Pictures become RGB, over white where transparent; else only RGB is taken.")
    ]
    do_resize: Annotated[bool, Fact(doc="Resized.")]
    shortest_edge: Annotated[
        int | None, Fact(doc="Length of the shorter edge, the shape kept.", unit="pixels")
    ]
    size: Annotated[
        tuple[int, int] | None, Fact(doc="Height and width, whatever the shape.", unit="pixels")
    ]
    resample: Annotated[Resample, Fact(doc="Filter of the resizing.")]
    do_center_crop: Annotated[bool, Fact(doc="Cropped to the middle, or padded with zeros.")]
    crop: Annotated[tuple[int, int] | None, Fact(doc="Height and width kept.", unit="pixels")]
    patches: Annotated[
        Patching | None, Fact(doc="Patches of a picture of any shape; null is one size for all.")
    ]
    do_rescale: Annotated[bool, Fact(doc="Multiplied.")]
    rescale_factor: Annotated[float, Fact(doc="By what the bytes are multiplied.")]
    do_normalize: Annotated[bool, Fact(doc="Mean subtracted, divided by the deviation.")]
    mean: Annotated[tuple[float, float, float], Fact(doc="Mean of red, green, blue.")]
    std: Annotated[tuple[float, float, float], Fact(doc="Deviation of red, green, blue.")]

    @property
    def height(self) -> int:
        """Rows of pixels of every processed picture; of patches one more than there may be."""
        return self._shape[0]

    @property
    def width(self) -> int:
        """Pixels in a row of every processed picture, or of a patch."""
        return self._shape[1]

    @property
    def _shape(self) -> tuple[int, int]:
        if self.patches is not None:
            return self.patches.most + 1, self.patches.size**2
        shape = self.crop or self.size
        assert shape is not None  # a processor without one size for all is not made
        return shape


def uniform(height: int, width: int) -> ImageProcessor:
    """For a model from scratch: any picture to ``height`` × ``width``, bicubic; bytes 0 to 255 become -1 to 1."""
    return ImageProcessor(
        do_convert_rgb=True,
        do_resize=True,
        shortest_edge=None,
        size=(height, width),
        resample="bicubic",
        do_center_crop=False,
        crop=None,
        patches=None,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        mean=HALF,
        std=HALF,
    )
