"""All pictures of a plan as one array of bytes, made once and read through a memory map.

The array is found by the pictures' digests, the processor, the limit and the versions that decide its bytes.
Pictures of equal content are stored once. Those that cannot be used are kept by name and reason, so that they
are told again without being decoded again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from specrun.runtime import cache
from specrun.runtime.data.rows import map_array
from specrun.runtime.images.decode import in_order, pixels_of, read
from specrun.runtime.images.faults import BadImage
from specrun.runtime.telling import Tell, silent, size
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.images import ImageProcessor

FORMAT = 1
TOLD_EVERY = 100
_KIND = "images"
_PIXELS = "pixels.u1"
_BAD = "bad.json"


@dataclass(frozen=True)
class Images:
    """Picture i of those asked for is ``pixels[index[i]]``; where ``index[i]`` is -1, ``bad[i]`` says why."""

    pixels: np.ndarray  # uint8 [different good pictures, height, width, 3], a memory map
    index: np.ndarray  # int32 [pictures asked for]
    bad: dict[int, BadImage]

    def __len__(self) -> int:
        return len(self.index)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Pictures, none of them bad. uint8 [*rows.shape, height, width, 3]"""
        places = self.index[rows]
        if places.size and places.min() < 0:
            raise ValueError("a bad picture has no pixels")
        return self.pixels[places]


def image_digests(
    paths: Sequence[str], max_pixels: int, workers: int, tell: Tell = silent
) -> list[str | BadImage]:
    """SHA-256 of each file in hexadecimal, or why it cannot be read, in the order of ``paths``."""

    def one(path: str) -> str | BadImage:
        try:
            return hashlib.sha256(read(path, max_pixels)).hexdigest()
        except BadImage as fault:
            return fault.bare()

    found: list[str | BadImage] = []
    for digest in in_order(one, paths, workers):
        found.append(digest)
        _say(tell, "reading pictures", len(found), len(paths))
    return found


def image_cache(
    paths: Sequence[str],
    digests: Sequence[str],
    processor: ImageProcessor,
    max_pixels: int,
    workers: int,
    tell: Tell = silent,
) -> Images:
    """The pictures processed, from the cache or made.

    ``digests[i]`` is the SHA-256 of file ``paths[i]`` in hexadecimal, as ``image_digests`` gives it; files are
    read only when the array has to be made. InputError when a file is gone or has changed since. RunError when
    the cache cannot be written.
    """
    owners = dict(sorted(zip(digests, paths, strict=True)))
    key = [FORMAT, list(owners), to_plain(processor), max_pixels, _versions()]

    def write(folder: Path) -> None:
        _write(folder, owners, processor, max_pixels, workers, tell)

    folder = cache.make(_KIND, cache.digest_of(key), write)
    return _load(folder, paths, digests, processor)


def _versions() -> list[str | None]:
    """What decides the bytes: Pillow and the decoders it was built with."""
    decoders = ("jpg", "libjpeg_turbo", "webp", "zlib")
    return [PIL.__version__, *(features.version(name) for name in decoders)]


def _write(
    folder: Path,
    owners: dict[str, str],
    processor: ImageProcessor,
    max_pixels: int,
    workers: int,
    tell: Tell,
) -> None:
    _require_space(folder, len(owners), processor)
    bad: dict[str, list[str]] = {}
    pictures = _processed(owners, processor, max_pixels, workers)
    with closing(pictures), (folder / _PIXELS).open("wb") as file:
        for done, (digest, found) in enumerate(pictures, 1):
            if isinstance(found, BadImage):
                bad[digest] = [found.reason, found.detail]
            else:
                file.write(found.data)
            _say(tell, "decoding pictures", done, len(owners))
    (folder / _BAD).write_text(json.dumps(bad), encoding="utf-8")


def _processed(
    owners: dict[str, str], processor: ImageProcessor, max_pixels: int, workers: int
) -> Generator[tuple[str, np.ndarray | BadImage], None, None]:
    """Each digest with the pixels of its file. InputError when the content is another by now."""

    def one(owner: tuple[str, str]) -> tuple[str, np.ndarray | BadImage]:
        digest, path = owner
        data = _unchanged(path, digest, max_pixels)
        try:
            return digest, pixels_of(data, processor, max_pixels)
        except BadImage as fault:
            return digest, fault.bare()

    return in_order(one, owners.items(), workers)


def _unchanged(path: str, digest: str, max_pixels: int) -> bytes:
    hint = "put the file back, or compile again"
    try:
        data = read(path, max_pixels)
    except BadImage as fault:
        message = f"a picture that was there can no longer be read: {fault}"
        raise InputError(message, code="image-changed", hint=hint) from fault
    if hashlib.sha256(data).hexdigest() != digest:
        message = f"the picture {path} has changed since it was first read"
        raise InputError(message, code="image-changed", hint=hint)
    return data


def _require_space(folder: Path, count: int, processor: ImageProcessor) -> None:
    """RunError before hours of decoding rather than after."""
    needed = count * processor.height * processor.width * 3
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"{count:,} pictures of {processor.height} × {processor.width} pixels take {size(needed)}, "
            f"and {size(free)} are free below {cache.cache_root()}; "
            "free some space, or name another folder by the variable SPECRUN_CACHE"
        )


def _load(
    folder: Path, paths: Sequence[str], digests: Sequence[str], processor: ImageProcessor
) -> Images:
    faults = json.loads((folder / _BAD).read_text(encoding="utf-8"))
    good = sorted(set(digests) - faults.keys())
    places = {digest: place for place, digest in enumerate(good)}
    index = np.array([places.get(digest, -1) for digest in digests], np.int32)
    bad = {
        i: BadImage(faults[digest][0], paths[i], faults[digest][1])
        for i, digest in enumerate(digests)
        if digest in faults
    }
    pixels = map_array(folder / _PIXELS, "u1")
    return Images(pixels.reshape(len(good), processor.height, processor.width, 3), index, bad)


def _say(tell: Tell, job: str, done: int, total: int) -> None:
    if done % TOLD_EVERY == 0 or done == total:
        tell(job, done, total)
