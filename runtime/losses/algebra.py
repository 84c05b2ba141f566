"""What a loss is, and the one place that divides.

A term has two functions: ``weight(batch)``, free of parameters, and ``sum(parameters, outputs,
batch)``. The loss of an optimizer batch is ``Σ_k w_k · S_k / W_k`` where ``S_k`` and ``W_k`` are
sums over the whole global batch, whatever the number of forward passes, chunks or devices; so a
mean of means cannot arise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from specrun.runtime.embedded import Tokens

Scope = Literal["separable", "in_batch"]
Given = TypeVar("Given")


class Rows(Protocol):
    """The rows of one forward pass as a loss sees them: a batch without its accumulation axis."""

    @property
    def weight(self) -> jax.Array: ...  # [B], 0 is a padding row
    @property
    def negative_weight(self) -> jax.Array | None: ...  # [B, N], 0 is no negative
    @property
    def label(self) -> jax.Array | None: ...  # int32 [B], -1 is none
    @property
    def score(self) -> jax.Array | None: ...  # [B], NaN is none
    @property
    def query_text(self) -> jax.Array | None: ...  # int32 [B], equal for equal texts
    @property
    def positive_text(self) -> jax.Array | None: ...  # int32 [B]
    @property
    def negative_text(self) -> jax.Array | None: ...  # int32 [B, N], numbered as positives are
    @property
    def negative_score(self) -> jax.Array | None: ...  # [B, N], NaN is none
    @property
    def teacher_query(self) -> jax.Array | None: ...  # [B, W], of length 1
    @property
    def teacher_positive(self) -> jax.Array | None: ...  # [B, W]
    @property
    def teacher_negatives(self) -> jax.Array | None: ...  # [B, N, W]


class Outputs(NamedTuple):
    """Embeddings of one forward pass, not normalised.

    ``negatives`` are those of the rows' explicit negatives, None where the data has none. An absent
    one has an embedding too, finite and without meaning: the batch's ``negative_weight`` is 0 there.
    The vectors of tokens are there where the model gives such.
    """

    query: jax.Array  # [B, D]
    positive: jax.Array  # [B, D]
    negatives: jax.Array | None = None  # [B, N, D]
    query_tokens: Tokens | None = None  # [B, Tq, D]
    positive_tokens: Tokens | None = None  # [B, Td, D]
    negative_tokens: Tokens | None = None  # [B, N, Td, D]

    def prefix(self, dim: int) -> Outputs:
        """The first ``dim`` numbers of every vector."""
        return Outputs(*(_prefix(x, dim) for x in self))


class TextOutputs(NamedTuple):
    """The states of a text's tokens, where rows are texts and not pairs."""

    states: jax.Array  # [B, S, D]


def _prefix(x: jax.Array | Tokens | None, dim: int) -> Any:
    if isinstance(x, Tokens):
        return x._replace(vectors=x.vectors[..., :dim])
    return None if x is None else x[..., :dim]


class Term(NamedTuple):
    """One loss.

    ``scope``: ``separable`` losses are sums over rows, so any part of the rows may be summed
    alone; ``in_batch`` losses compare the rows of a forward pass and must see all of them.
    The ``parameters`` that ``sum`` gets are all of the run's (a loss may own some, at
    ``losses.NAME``).
    """

    name: str
    scope: Scope
    weight: Callable[[Any], jax.Array]  # Rows -> []
    sum: Callable[[Mapping[str, Any], Any, Any], jax.Array]  # of Outputs or TextOutputs -> []


def given(x: Given | None) -> Given:
    """What the plan promised. ValueError, an internal error, when it is not there."""
    if x is None:
        raise ValueError("internal error: a loss takes what the batch has not")
    return x


def weight_of_all(batch: Rows) -> jax.Array:
    """The weight of a loss in which every row counts. []"""
    return batch.weight.sum()


def weights_with_own(batch: Rows) -> jax.Array:
    """The rows' weights, 0 for a row without explicit negatives. [B]"""
    there = given(batch.negative_weight) > 0  # [B, N]
    return jnp.where(jnp.any(there, axis=-1), batch.weight, 0.0)


def weighted(weight: jax.Array, losses: jax.Array) -> jax.Array:
    """``Σ_i w_i · l_i`` over rows of a weight above 0: what others have may be infinite. []"""
    return jnp.sum(jnp.where(weight > 0, weight * losses, 0.0))


def divisor(weight: jax.Array) -> jax.Array:
    """``weight``, and 1 where it is 0: a loss without any weight is 0, never NaN."""
    return jnp.where(weight > 0, weight, jnp.ones_like(weight))


def divisors(terms: Mapping[str, Term], batch: Any) -> dict[str, jax.Array]:
    """By name, the divisor over an optimizer batch, whose arrays are [A, B, ...]."""
    return {name: divisor(jax.vmap(term.weight)(batch).sum()) for name, term in terms.items()}


def combine(weights: Mapping[str, jax.Array], parts: Mapping[str, jax.Array]) -> jax.Array:
    """``Σ_k w_k · parts_k`` over the parts, which are divided already. []"""
    value = jnp.zeros((), jnp.float32)
    for name, part in parts.items():
        value = value + weights[name] * part
    return value
