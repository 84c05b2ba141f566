"""The images that rows name: found below one folder, told apart by content, and looked at before rows rely on them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from specrun.runtime.data.columns import image_names
from specrun.runtime.data.items import image_item
from specrun.runtime.data.raw import Record, Unusable, printable
from specrun.runtime.data.tables import open_table
from specrun.runtime.telling import Tell, silent
from specrun.spec.plan.data import ImageSource, Table

if TYPE_CHECKING:
    from specrun.runtime.data.sources import Listing, SourceFile

TOLD_EVERY = 100
_OUTSIDE = "image outside image_root"


def workers() -> int:
    """Threads that read and decode images."""
    return min(16, os.cpu_count() or 1)


def named_images(table: Table, files: Iterable[SourceFile]) -> Iterator[str]:
    """Every path that the rows of these files name, row by row. Raises OSError and FileError as readers do."""
    for file in files:
        for record in open_table(table, file.name, file.path):
            if isinstance(record, Record):
                yield from image_names(record, table)


def place_of(root: str, name: str) -> Path:
    """Where an image lies. Unusable for a path that leads out of the folder, which data may not do."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise Unusable(_OUTSIDE, f"`{printable(name)[:80]}`: paths are relative, without `..`")
    return Path(root, path)


class Existing:
    """Images for a first look: whether each is there, and nothing of what it holds."""

    def __init__(self, source: ImageSource):
        self._source = source

    def __call__(self, name: str) -> str:
        """As ``Pictures.item``, with the name in place of the content."""
        path = place_of(self._source.root, name)
        if not path.is_file():
            raise Unusable("missing image", f"`{printable(name)[:80]}` is no file in image_root")
        return name


class Pictures:
    """The images of a listing by the names that rows have for them."""

    def __init__(self, listing: Listing, source: ImageSource, tell: Tell = silent):
        self._files: dict[str, SourceFile] = {file.name: file for file in listing.files}
        self._faults = _faults(self._files.values(), source, tell)

    def item(self, name: str) -> str:
        """What stands for the image in a row. Raises Unusable with the class of what is wrong with it."""
        file = self._files[name]
        if file.error:
            reason, _, detail = file.error.partition(": ")
            raise Unusable(reason, f"`{printable(name)[:80]}` {detail}".strip())
        if file.digest in self._faults:
            reason, detail = self._faults[file.digest]
            raise Unusable(reason, f"`{printable(name)[:80]}` {detail}".strip())
        return image_item(file.digest.removeprefix("sha256:"))

    @property
    def names(self) -> Mapping[str, str]:
        """A name of each usable image, by the digest in its item."""
        found: dict[str, str] = {}
        for name, file in self._files.items():
            if not file.error and file.digest not in self._faults:
                found.setdefault(file.digest.removeprefix("sha256:"), name)
        return found


def look_all(source: ImageSource, names: Sequence[str]) -> Iterator[tuple[Path, str, int, str]]:
    """(path, digest, bytes, fault) of the files of images; of the digest and the fault one is empty."""
    from specrun.runtime.images.cache import image_digests  # Pillow, which `check` does not need

    paths = {name: _place(source.root, name) for name in names}
    inside = [str(path) for path in paths.values() if isinstance(path, Path)]
    digests = iter(image_digests(inside, source.max_pixels, workers()))
    for path in paths.values():
        if isinstance(path, Unusable):
            yield Path(source.root), "", 0, f"{path.reason}: {path.detail}"
            continue
        digest = next(digests)
        if isinstance(digest, str):
            yield path, f"sha256:{digest}", path.stat().st_size, ""
        else:
            yield path, "", 0, f"{digest.reason.replace('_', ' ')}: {digest.detail}"


def _place(root: str, name: str) -> Path | Unusable:
    try:
        return place_of(root, name)
    except Unusable as bad:
        return bad


def _faults(
    files: Iterable[SourceFile], source: ImageSource, tell: Tell
) -> dict[str, tuple[str, str]]:
    """(class, detail) of each unusable image by digest, from decoding all of them once."""
    from specrun.runtime.images.decode import in_order

    unique = {file.digest: file.path for file in files if not file.error}
    looked = in_order(lambda path: _fault(path, source.max_pixels), unique.values(), workers())
    found: dict[str, tuple[str, str]] = {}
    for count, (digest, bad) in enumerate(zip(unique, looked, strict=True), start=1):
        if bad is not None:
            found[digest] = bad
        if count % TOLD_EVERY == 0 or count == len(unique):
            tell("looking at images", count, len(unique))
    return found


def _fault(path: Path, max_pixels: int) -> tuple[str, str] | None:
    from specrun.runtime.images.decode import decode
    from specrun.runtime.images.faults import BadImage

    try:
        decode(path, max_pixels)
        return None
    except BadImage as bad:
        return bad.reason.replace("_", " "), bad.detail
