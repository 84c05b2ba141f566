"""The pixels of a plan's images: made once from their files, and read through a memory map."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specrun.runtime import cache
from specrun.runtime.data.pictures import place_of, workers
from specrun.runtime.data.raw import Unusable
from specrun.runtime.data.rows import Rows
from specrun.runtime.telling import Tell, silent
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import ImageSource
from specrun.spec.plan.images import ImageProcessor

FORMAT = 1
TOLD_EVERY = 100
_KIND = "pixels"
_FILE = "pixels.u1"


@dataclass(frozen=True)
class Pixels:
    """All different images: the one with a digest is ``array[index[digest]]``."""

    array: np.ndarray  # uint8 [images, H, W, 3]
    index: Mapping[str, int]


def pixels_of(
    rows: Rows, source: ImageSource, processor: ImageProcessor, tell: Tell = silent
) -> Pixels:
    """Every image that the rows name, processed.

    InputError when a file changed or is gone since the scan, and the cache has lost its pixels too; RunError when the
    cache cannot be written.
    """
    import PIL

    digests = list(rows.images)
    parts = [FORMAT, digests, to_plain(processor), PIL.__version__]

    def write(folder: Path) -> None:
        with (folder / _FILE).open("wb") as file:
            for image in _processed(rows.images, source, processor, tell):
                file.write(image.tobytes())

    folder = cache.make(_KIND, cache.digest_of(parts), write)
    shape = (len(digests), processor.height, processor.width, 3)
    array = (
        np.memmap(folder / _FILE, np.uint8, "r", shape=shape)
        if digests
        else np.empty(shape, np.uint8)
    )
    return Pixels(array, {digest: i for i, digest in enumerate(digests)})


def _processed(
    images: Mapping[str, str], source: ImageSource, processor: ImageProcessor, tell: Tell
) -> Iterator[np.ndarray]:
    """The pixels of every image, uint8 [H, W, 3], in their order; decoded by several threads."""
    from specrun.runtime.images.decode import in_order

    def one(item: tuple[str, str]) -> np.ndarray:
        return _pixels(*item, source, processor)

    for count, found in enumerate(in_order(one, images.items(), workers()), start=1):
        yield found
        if count % TOLD_EVERY == 0 or count == len(images):
            tell("decoding, images", count, len(images))


def _pixels(digest: str, name: str, source: ImageSource, processor: ImageProcessor) -> np.ndarray:
    from specrun.runtime.images.decode import BadImage, pixels_of, read

    try:
        path = place_of(source.root, name)
        data = read(str(path), source.max_pixels)
        if hashlib.sha256(data).hexdigest() != digest:
            raise _changed(name, "its content is another")
        return pixels_of(data, processor, source.max_pixels)
    except BadImage as bad:
        raise _changed(name, bad.reason.replace("_", " ")) from bad
    except Unusable as bad:
        raise _changed(name, bad.reason) from bad


def _changed(name: str, why: str) -> InputError:
    return InputError(
        f"the image {name!r} changed since the plan was compiled: {why}",
        code="changed-input",
        hint="restore it, or compile the spec again",
    )
