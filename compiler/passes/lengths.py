"""What the rows are held to: how long their two sides may be, and what a bad one does."""

from __future__ import annotations

from typing import Literal

from specrun.compiler.draft import Draft
from specrun.spec.plan.data import modality
from specrun.spec.plan.networks import EncoderConfig
from specrun.spec.plan.towers import TextTower
from specrun.spec.words.data import Data, EmojiData

Network = EncoderConfig | TextTower


QUERY, POSITIVE, TEXT = 64, 128, 512
"""Tokens kept where the spec says nothing; of a row that is one text where the model's positions have no end."""


def most_tokens(draft: Draft, config: Network | None = None) -> tuple[int, int]:
    """Tokens kept of a query and of a positive; an image counts as one, and a row that is one text has no positive.

    ``config`` is the draft's unless given.
    """
    source, limits = draft.need("source"), draft.spec.data.max_length
    config = config or draft.config
    longest = None if config is None else config.longest
    if limits is None or isinstance(limits, int):
        return limits or longest or TEXT, 0
    query = limits.query or min(QUERY, longest or QUERY)
    positive = limits.positive or min(POSITIVE, longest or POSITIVE)
    return (
        1 if modality(source, "query") == "image" else query,
        1 if modality(source, "positive") == "image" else positive,
    )


def bad_rows(data: Data) -> Literal["skip", "error"]:
    """A font is read whole or not at all, so its rows have no policy of their own."""
    return "error" if isinstance(data, EmojiData) else data.bad_rows
