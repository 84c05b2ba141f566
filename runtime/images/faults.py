"""Pictures that cannot be used."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "missing_image",
    "unreadable_image",
    "unsupported_image",
    "broken_image",
    "truncated_image",
    "too_many_pixels",
]
"""Classes of faults: no such file; a file that may not or cannot be read; a format or variant that is not read;
content that is no picture; a picture that ends too early; more pixels than allowed."""


class BadImage(Exception):
    """A picture that gives no pixels. ``path`` is empty where bytes were given; ``detail`` is a sentence's part."""

    def __init__(self, reason: Reason, path: str, detail: str):
        super().__init__(reason, path, detail)
        self.reason: Reason = reason
        self.path, self.detail = path, detail

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.reason.replace('_', ' ')}: {self.detail}"

    def at(self, path: str) -> BadImage:
        """The same fault of the file ``path``."""
        return BadImage(self.reason, path, self.detail)

    def bare(self) -> BadImage:
        """The same without the frames and buffers that a raised exception holds on to."""
        return self.at(self.path)
