"""How long the two sides of a row may be."""

from __future__ import annotations

from specrun.compiler.draft import Draft
from specrun.spec.plan.data import modality


def most_tokens(draft: Draft) -> tuple[int, int]:
    """Tokens kept of a query and of a positive; an image counts as one."""
    source, limits = draft.need("source"), draft.spec.data.max_length
    query = 1 if modality(source, "query") == "image" else limits.query
    return query, 1 if modality(source, "positive") == "image" else limits.positive
