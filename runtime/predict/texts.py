"""Texts as a caller hands them over. Imports no jax."""

from __future__ import annotations

from collections.abc import Sequence

from specrun.runtime.data.raw import is_unicode
from specrun.spec.diagnostics import InputError


def check_texts(texts: Sequence[str], called: str = "text") -> None:
    """InputError unless they are a list of texts of valid Unicode; ``called`` is what the caller calls one of them."""
    code = f"bad-{called}"
    if not isinstance(texts, list | tuple):
        raise InputError(
            f"{called}s must be a list of str, found {type(texts).__name__}",
            code=code,
            hint=f"put a single {called} into a list",
        )
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"{called}s must be a list of str, but {called}s[{i}] is {type(text).__name__}",
                code=code,
            )
        if not is_unicode(text):
            raise InputError(
                f"{called}s[{i}] is not valid Unicode: it holds half of a surrogate pair",
                code=code,
                hint="decode it with errors='replace'",
            )
