"""What the rows are held to: how long their two sides may be, and what a bad one does."""

from __future__ import annotations

from typing import Literal

from specrun.compiler.draft import Draft
from specrun.spec.plan.data import modality
from specrun.spec.words.data import Data, EmojiData


def most_tokens(draft: Draft) -> tuple[int, int]:
    """Tokens kept of a query and of a positive; an image counts as one."""
    source, limits = draft.need("source"), draft.spec.data.max_length
    query = 1 if modality(source, "query") == "image" else limits.query
    return query, 1 if modality(source, "positive") == "image" else limits.positive


def bad_rows(data: Data) -> Literal["skip", "error"]:
    """A font is read whole or not at all, so its rows have no policy of their own."""
    return "error" if isinstance(data, EmojiData) else data.bad_rows
