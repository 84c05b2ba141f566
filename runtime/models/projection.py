"""The head that a pooled vector may go through."""

from __future__ import annotations

from specrun.runtime.models.modules import Dense


def projection(width: int, dim: int | None) -> Dense | None:
    """A linear layer without bias from ``width`` to ``dim`` numbers; None where no width is asked for."""
    return None if dim is None else Dense(width, dim, bias=False)
