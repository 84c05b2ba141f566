"""What a processor does to a picture: bytes after resizing and crop, and the numbers that scale them.

The steps are transformers' with Pillow (``image_processing_backends.PilBackend``): the same sizes, the same
roundings, the same bytes. Rescaling and normalising are one multiplication and one addition per channel, so
bytes are kept and the device does the rest.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from specrun.runtime.images.faults import BadImage
from specrun.runtime.images.naflex import pack, shape_of
from specrun.spec.plan.images import ImageProcessor, Resample

_FILTERS: dict[Resample, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def process(image: Image.Image, processor: ImageProcessor) -> np.ndarray:
    """A decoded picture as bytes. uint8 [height, width, 3]; of patches as ``naflex`` says

    BadImage when the picture is not RGB and the processor converts none.
    """
    if processor.do_convert_rgb:
        image = to_rgb(image)
    elif image.mode != "RGB":
        detail = (
            f"its mode is {image.mode}, and this processor takes RGB only (do_convert_rgb: false)"
        )
        raise BadImage("unsupported_image", "", detail)
    if processor.do_resize:
        height, width = resized(image.height, image.width, processor)
        image = image.resize((width, height), _FILTERS[processor.resample])
    pixels = np.array(image)
    if processor.patches is not None:
        return pack(pixels, processor.patches)
    return pixels if processor.crop is None else _center_crop(pixels, *processor.crop)


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB; over white where the picture is transparent, as ``image_transforms.convert_to_rgb``.

    Transformers before 5.21 dropped the transparency instead and showed what lay beneath it.
    """
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def affine(processor: ImageProcessor) -> tuple[np.ndarray, np.ndarray]:
    """(scale, shift), both float32 [3]: ``bytes * scale + shift`` is the processor's ``pixel_values``."""
    mean, std = np.array(processor.mean), np.array(processor.std)
    scale = processor.rescale_factor / std
    return scale.astype(np.float32), (-mean / std).astype(np.float32)


def resized(height: int, width: int, processor: ImageProcessor) -> tuple[int, int]:
    """Height and width of a picture after resizing and before the crop."""
    if processor.patches is not None:
        return shape_of(height, width, processor.patches)
    if processor.size is not None:
        return processor.size
    edge = processor.shortest_edge
    if edge is None:
        return height, width
    short, long = sorted((height, width))
    other = int(edge * long / short)
    return (other, edge) if width <= height else (edge, other)


def _center_crop(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of a picture; zeros around one that is smaller. uint8 [height, width, 3]"""
    for axis, wanted in enumerate((height, width)):
        pixels = _center(pixels, axis, wanted)
    return np.ascontiguousarray(pixels)


def _center(pixels: np.ndarray, axis: int, wanted: int) -> np.ndarray:
    """``wanted`` entries of an axis around its middle; odd remainders go where transformers puts them."""
    there = pixels.shape[axis]
    if there >= wanted:
        start = (there - wanted) // 2
        return pixels[(slice(None),) * axis + (slice(start, start + wanted),)]
    before = math.ceil((wanted - there) / 2)
    around = [(0, 0)] * pixels.ndim
    around[axis] = (before, wanted - there - before)
    return np.pad(pixels, around)
