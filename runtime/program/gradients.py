"""Loss and gradient of one optimizer batch, for any number of forward passes and chunks.

Every combination gives the gradient of the same sum. Dropout keys belong to rows, so neither
accumulation nor chunking nor the number of devices changes what a row sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime import trees
from specrun.runtime.chunks import joined, strided
from specrun.runtime.embedded import Embedded, embedded
from specrun.runtime.losses.algebra import Outputs, Term, TextOutputs, combine, divisors, given
from specrun.runtime.models.randomness import scaled
from specrun.runtime.trees import Tree
from specrun.spec.plan.sides import Side

Encode = Callable[..., "jax.Array | Embedded"]
"""``encode(parameters, ids [B, S], mask [B, S], keys [B] or None, side)``: [B, D], or that and token vectors."""

_FOLD: dict[Side, int] = {"query": 0, "positive": 1}
"""What tells the dropout keys of the sides apart."""

_NEGATIVE = 2
"""The n-th negative of a row takes ``_NEGATIVE + n`` in their place."""


class Objective(NamedTuple):
    """What is minimised: the encoder, the losses that count, and how many chunks encode a pass.

    ``hide`` hides tokens of a whole batch [A, B, ...] of texts, where the losses ask for what is hidden.
    ``dropout_scale`` multiplies every rate of dropout; None leaves them.
    """

    encode: Encode
    terms: Mapping[str, Term]
    chunks: int
    hide: Callable[[Any], Any] | None = None
    dropout_scale: jax.Array | None = None


class Value(NamedTuple):
    """Loss of an optimizer batch, and its parts ``S_k / W_k`` without their weights."""

    loss: jax.Array  # []
    parts: dict[str, jax.Array]  # each []


def step_key(seed: int, segment: jax.Array, step: jax.Array) -> jax.Array:
    """The key of a step's dropout. Threefry by name, whatever jax's default may be."""
    key = jax.random.key(seed, impl="threefry2x32")
    return jax.random.fold_in(jax.random.fold_in(key, segment), step)


def evaluation_key(seed: int) -> jax.Array:
    """The key of what is hidden of held-out rows: always the same, so that evaluations can be compared."""
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), np.uint32(0xFFFFFFFF))


def loss_and_gradient(
    objective: Objective,
    params: Tree,
    frozen: Tree,
    batch: Any,
    weights: Mapping[str, jax.Array],
    key: jax.Array | None,
) -> tuple[Value, Tree]:
    """Value and its gradient for ``params``, over a batch of arrays [A, B, ...].

    The gradient of each pass is of ``Σ_k w_k · S_k / W_k`` with the sum of that pass and the
    divisor of all, so that passes add up. In-batch losses see their whole pass, whose rows are
    encoded in chunks; when every loss is separable, the chunks are passes of their own.
    """
    batch, over, chunks = _prepared(objective, batch)

    def one(params: Tree, rows: Any) -> tuple[jax.Array, Value]:
        value = _value(objective, chunks, trees.merge(params, frozen), rows, weights, over, key)
        return value.loss, value

    def gradient(rows: Any) -> tuple[Value, Tree]:
        (_, value), slopes = jax.value_and_grad(one, has_aux=True)(params, rows)
        return value, slopes

    zero = (_zero(objective), jax.tree.map(jnp.zeros_like, params))
    return _add_passes(gradient, zero, batch)


def loss_only(
    objective: Objective, parameters: Tree, batch: Any, weights: Mapping[str, jax.Array]
) -> Value:
    """The value without dropout and without a gradient."""
    batch, over, chunks = _prepared(objective, batch)
    return _add_passes(
        lambda rows: _value(objective, chunks, parameters, rows, weights, over, None),
        _zero(objective),
        batch,
    )


def _prepared(objective: Objective, batch: Any) -> tuple[Any, dict[str, jax.Array], int]:
    """The batch as it is encoded, by forward passes; what its sums are divided by; the chunks of a pass."""
    batch = batch if objective.hide is None else objective.hide(batch)
    over = divisors(objective.terms, batch)
    batch, chunks = _passes(objective, batch)
    return batch, over, chunks


def _value(
    objective: Objective,
    chunks: int,
    parameters: Tree,
    rows: Any,
    weights: Mapping[str, jax.Array],
    over: Mapping[str, jax.Array],
    key: jax.Array | None,
) -> Value:
    """The share of one pass, rows [B, ...], in the value of the optimizer batch."""

    def embed(ids: jax.Array, mask: jax.Array, side: Side) -> Embedded:
        keys = None if key is None else _row_keys(key, _FOLD[side], rows.row)
        keys = scaled(keys, objective.dropout_scale)
        encode = partial(objective.encode, side=side)
        return _encode_chunks(encode, chunks, parameters, (ids, mask, keys))

    query = embed(rows.query_ids, rows.query_mask, "query")
    if rows.positive_ids is None:
        outputs = TextOutputs(given(query.tokens).vectors)
    else:
        outputs = _outputs(
            query,
            embed(rows.positive_ids, rows.positive_mask, "positive"),
            _negatives(objective, chunks, parameters, rows, key),
        )
    parts = {
        name: term.sum(parameters, outputs, rows) / over[name]
        for name, term in objective.terms.items()
    }
    return Value(combine(weights, parts), parts)


def _outputs(query: Embedded, positive: Embedded, negatives: Embedded | None) -> Outputs:
    dense, tokens = (None, None) if negatives is None else negatives
    return Outputs(query.dense, positive.dense, dense, query.tokens, positive.tokens, tokens)


def _negatives(
    objective: Objective, chunks: int, parameters: Tree, rows: Any, key: jax.Array | None
) -> Embedded | None:
    """Embeddings of the rows' negatives, [B, N, ...], in chunks of as many rows as the other sides'."""
    if rows.negative_ids is None:
        return None
    size, count = rows.negative_mask.shape[:2]
    keys = None
    if key is not None:
        folds = _NEGATIVE + jnp.arange(count)
        keys = jax.vmap(lambda fold: _row_keys(key, fold, rows.row), out_axes=1)(folds)  # [B, N]
        keys = scaled(keys, objective.dropout_scale)
    flat = jax.tree.map(
        lambda x: x.reshape(size * count, *x.shape[2:]),
        (rows.negative_ids, rows.negative_mask, keys),
    )
    chunks = chunks * count if chunks > 1 else 1
    encode = partial(objective.encode, side="positive")
    found = _encode_chunks(encode, chunks, parameters, flat)
    return jax.tree.map(lambda x: x.reshape(size, count, *x.shape[1:]), found)


def _row_keys(key: jax.Array, fold: int | jax.Array, row: jax.Array) -> jax.Array:
    """One key for every row, from its global index. [B]"""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.fold_in(key, fold), row)


def _encode_chunks(encode: Encode, chunks: int, parameters: Tree, rows: Any) -> Embedded:
    """Embeddings of all rows, [B, ...], chunk after chunk; each is encoded again going backward."""
    if chunks == 1:
        return embedded(encode(parameters, *rows))
    one = jax.checkpoint(lambda chunk: embedded(encode(parameters, *chunk)), prevent_cse=False)
    found = jax.lax.map(one, jax.tree.map(lambda x: strided(x, chunks), rows))  # [n, B/n, ...]
    return jax.tree.map(joined, found)


def _passes(objective: Objective, batch: Any) -> tuple[Any, int]:
    """The batch by forward passes [A', B', ...], and the chunks that each is encoded in."""
    separable = all(term.scope == "separable" for term in objective.terms.values())
    if objective.chunks == 1 or not separable:
        return batch, objective.chunks

    def cut(x: jax.Array) -> jax.Array:
        parts = jax.vmap(lambda rows: strided(rows, objective.chunks))(x)
        return parts.reshape(-1, *parts.shape[2:])

    return jax.tree.map(cut, batch), 1


def _add_passes(function: Callable[[Any], Any], zero: Any, batch: Any) -> Any:
    """The sum of ``function`` over the first axis of the batch, one pass after the other."""
    if jax.tree.leaves(batch)[0].shape[0] == 1:
        return function(jax.tree.map(lambda x: x[0], batch))

    def body(carry: Any, rows: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, carry, function(rows)), None

    return jax.lax.scan(body, zero, batch)[0]


def _zero(objective: Objective) -> Value:
    nothing = jnp.zeros((), jnp.float32)
    return Value(nothing, dict.fromkeys(objective.terms, nothing))
