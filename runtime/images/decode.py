"""JPEG, PNG and WebP files to pictures, one by one and many at once.

The content decides the format. The size is read from the header and held against the limit before anything is
decoded; Pillow's own limit counts for WebP beside it. Of an animation the first picture is taken, and the orientation in EXIF is left alone: that is what
transformers' processors do with a picture that Pillow opened. No setting of Pillow is changed.
"""

from __future__ import annotations

import io
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from specrun.runtime.images.containers import Format, read_header, require_whole
from specrun.runtime.images.faults import BadImage
from specrun.runtime.images.pixels import process, resized, to_rgb
from specrun.spec.plan.images import ImageProcessor

LOOK_AHEAD = 4
"""Pictures begun and not yet handed out, for each worker."""

_BYTES_PER_PIXEL = 8
_BYTES_BESIDE = 64 << 20
"""A file larger than these two allow is not read: no picture within the limit of pixels needs so much."""

_READERS: dict[Format, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
}

Item = TypeVar("Item")
Result = TypeVar("Result")


def decode(source: str | os.PathLike[str] | bytes, max_pixels: int) -> Image.Image:
    """The picture of a file, or of its bytes, in RGB; over white where it is transparent. Raises BadImage."""
    if isinstance(source, bytes):
        return to_rgb(load(source, max_pixels))
    path = os.fspath(source)
    try:
        return to_rgb(load(read(path, max_pixels), max_pixels))
    except BadImage as fault:
        raise fault.at(path) from fault.__cause__


def decode_all(
    paths: Sequence[str], processor: ImageProcessor, max_pixels: int, workers: int
) -> Generator[np.ndarray | BadImage, None, None]:
    """Each file processed, or what is wrong with it, in the order of ``paths``. uint8 [height, width, 3]

    Decoded by threads, for Pillow works outside of Python's lock; what is handed out does not depend on their
    number. At most ``workers * LOOK_AHEAD`` results wait, and as many pictures as workers are decoded at once.
    """

    def one(path: str) -> np.ndarray | BadImage:
        try:
            return pixels_of(read(path, max_pixels), processor, max_pixels)
        except BadImage as fault:
            return fault.at(path)

    return in_order(one, paths, workers)


def pixels_of(data: bytes, processor: ImageProcessor, max_pixels: int) -> np.ndarray:
    """The bytes of a file, processed. uint8 [height, width, 3]. Raises BadImage."""
    image = load(data, max_pixels)
    height, width = resized(image.height, image.width, processor)
    if height * width > max(max_pixels, processor.height * processor.width):
        detail = f"{image.width} × {image.height} pixels become {width} × {height} when resized"
        raise BadImage("too_many_pixels", "", f"{detail}, more than {max_pixels:,}")
    return process(image, processor)


def read(path: str, max_pixels: int) -> bytes:
    """The content of a picture's file. BadImage when there is none that can be read."""
    most = _BYTES_BESIDE + _BYTES_PER_PIXEL * max_pixels
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise BadImage("unreadable_image", path, "it is no regular file")
            if info.st_size > most:
                detail = f"{info.st_size:,} bytes are more than {max_pixels:,} pixels take"
                raise BadImage("too_many_pixels", path, detail)
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadImage("missing_image", path, _said(error)) from error
    except (OSError, ValueError) as error:
        raise BadImage("unreadable_image", path, _said(error)) from error


def _open_at_once(path: str, flags: int) -> int:
    """A pipe would otherwise be waited for without end."""
    return os.open(path, flags | os.O_NONBLOCK)


def load(data: bytes, max_pixels: int) -> Image.Image:
    """The picture in the bytes of a file, decoded, in its own mode. Raises BadImage."""
    header = read_header(data)
    _limit(header.width, header.height, max_pixels)
    require_whole(data, header.format)
    try:
        image = _READERS[header.format](io.BytesIO(data))
        _limit(image.width, image.height, max_pixels)
        image.load()
        return image
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # of a WebP Pillow asks its own limit too
        raise BadImage("too_many_pixels", "", _said(error)) from error
    except Exception as error:  # Pillow's readers raise whatever their parsing runs into
        reason = "truncated_image" if "truncated" in str(error).lower() else "broken_image"
        raise BadImage(reason, "", f"Pillow cannot decode it: {_said(error)}") from error


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """``map`` by threads, with bounded look-ahead. Leaving the iteration drops what has not begun."""
    if workers < 1:
        raise ValueError(f"at least one worker is needed, found {workers}")
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= workers * LOOK_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _limit(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        detail = f"{width:,} × {height:,} pixels are more than {max_pixels:,}"
        raise BadImage("too_many_pixels", "", detail)


def _said(error: Exception) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error) or type(error).__name__
