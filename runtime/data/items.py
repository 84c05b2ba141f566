"""What stands for an image in a row: a text made of its content's digest. Imports neither numpy nor Pillow.

So rows of images are de-duplicated, divided, mined and judged as rows of texts are: two files with one content are
one image, wherever they lie.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ITEM = re.compile(r"image:([0-9a-f]{64})")
_LENGTH = len("image:") + 64
_SEPARATOR = "\x1f"


def image_item(digest: str) -> str:
    """The item of an image, from the SHA-256 of its file as 64 hexadecimal digits."""
    return f"image:{digest}"


def both(text: str, item: str) -> str:
    """The item of a text and an image together."""
    return f"{text}{_SEPARATOR}{item}"


def image_of(item: str) -> str:
    """The digest of the image of an item, which may have a text too. ValueError (an internal error) for a mere text."""
    found = _ITEM.fullmatch(item[-_LENGTH:])
    if found is None:
        raise ValueError("internal error: this side of the rows has images, and an item has none")
    return found[1]


def text_of(item: str) -> str:
    """The text of an item of both."""
    return item[: -_LENGTH - len(_SEPARATOR)]


def readable(item: str, images: Mapping[str, str]) -> tuple[str, str]:
    """(text, path of the image), either of which may be empty; ``images`` are the paths by digest."""
    found = _ITEM.fullmatch(item[-_LENGTH:])
    if found is None or found[1] not in images:
        return item, ""
    return text_of(item), images[found[1]]


def shortened(text: str, most: int) -> str:
    """At most ``most`` characters of a text, the last a sign that there are more."""
    return text if len(text) <= most else text[: most - 1] + "…"


def shown(item: str, images: Mapping[str, str]) -> str:
    """An item as people may read it: its text, and the path of its image in brackets."""
    text, path = readable(item, images)
    return f"{text} [{path}]".strip() if path else text
