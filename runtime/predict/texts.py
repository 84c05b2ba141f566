"""Texts as a caller hands them over. Imports no jax."""

from __future__ import annotations

from collections.abc import Sequence

from specrun.runtime.data.raw import is_unicode
from specrun.spec.diagnostics import InputError


def check_texts(texts: Sequence[str]) -> None:
    """InputError unless they are a list of texts of valid Unicode."""
    if not isinstance(texts, list | tuple):
        raise InputError(
            f"texts must be a list of str, found {type(texts).__name__}",
            code="bad-text",
            hint="put a single text into a list",
        )
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"texts must be a list of str, but texts[{i}] is {type(text).__name__}",
                code="bad-text",
            )
        if not is_unicode(text):
            raise InputError(
                f"texts[{i}] is not valid Unicode: it holds half of a surrogate pair",
                code="bad-text",
                hint="decode it with errors='replace'",
            )
