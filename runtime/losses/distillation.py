"""Similarities of a query and its candidates, told by a frozen teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from specrun.runtime.losses.algebra import Outputs, Rows, Term, given, weighted
from specrun.runtime.losses.candidates import candidates_of
from specrun.runtime.losses.contrast import normalise
from specrun.runtime.losses.tiles import fold
from specrun.spec.plan.losses import Distillation

Measure = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
"""(model's similarities [B, C], teacher's [B, C], which are positives, which count) to losses [B]."""


def distillation(plan: Distillation, tile_rows: int) -> Term:
    """``Σ_i w_i D(S_i, T_i)``, ``S`` the cosines of queries and candidates over τ, ``T`` the teacher's.

    ``kl`` is ``T² · KL(softmax(T_i / T) ‖ softmax(S_i / T))`` over the candidates that count, ``mse``
    the mean of ``(S_ij − T_ij)²``, ``margin_mse`` that mean of ``(S_ii − S_ij) − (T_ii − T_ij)`` over
    the others. The candidates are the positives of the pass (``in_batch``), these and every row's
    explicit negatives (``all``), or a row's positive and its own negatives (``own``). Rows of weight 0
    have no loss and are nobody's candidates; labels hide nothing. A row that has only its positive
    counts for ``mse`` alone. The teacher's embeddings are constants of the batch, of length 1;
    without a teacher its scores are the batch's, as they are, and NaN counts as absent. At most
    ``tile_rows`` rows of either matrix exist at a time.

    Hinton et al. 2015, section 2; Hofstätter et al. 2020, equation 3. With scores in the rows equal
    to sentence-transformers' DistillKLDivLoss and MarginMSELoss over cosines.
    """
    measure = _measure(plan)
    return _own(plan, measure) if plan.negatives == "own" else _in_batch(plan, measure, tile_rows)


def _in_batch(plan: Distillation, measure: Measure, tile_rows: int) -> Term:
    def weight(batch: Rows) -> jax.Array:
        if plan.objective == "mse":
            return batch.weight.sum()
        others = jnp.sum(batch.weight > 0) - 1
        if plan.negatives == "all":
            there = (given(batch.negative_weight) > 0) & (batch.weight > 0)[:, None]
            others = others + jnp.sum(there)
        return jnp.where(others > 0, batch.weight.sum(), 0.0)

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        del parameters
        negatives = "all" if plan.negatives == "all" else "in_batch"
        found, masks = candidates_of(negatives, outputs, batch)
        candidates, told = normalise(found), _told(plan, batch)
        columns = jnp.arange(len(candidates))
        rows = {
            "query": normalise(outputs.query),
            "teacher": given(batch.teacher_query),
            "row": jnp.arange(len(batch.weight)),
            "weight": batch.weight,
        }

        def one(value: jax.Array, part: dict[str, jax.Array]) -> jax.Array:
            own = part["row"][:, None] == columns
            scores = part["query"] @ candidates.T / plan.temperature  # [T, C]
            right = part["teacher"] @ told.T / plan.temperature
            # The positive always counts, so that the unused loss of a row of weight 0 is finite.
            losses = measure(scores, right, own, own | masks.valid)
            return value + weighted(part["weight"], losses)

        return fold(one, jnp.zeros((), jnp.float32), rows, tile_rows)

    return Term(plan.name, "in_batch", weight, sum_)


def _told(plan: Distillation, batch: Rows) -> jax.Array:
    """The teacher's embeddings of the candidates, [C, its width]."""
    positives = given(batch.teacher_positive)
    if plan.negatives == "in_batch":
        return positives
    negatives = given(batch.teacher_negatives)
    return jnp.concatenate([positives, negatives.reshape(-1, negatives.shape[-1])])


def _own(plan: Distillation, measure: Measure) -> Term:
    def rows(batch: Rows) -> jax.Array:
        counts = _counted(plan, batch)
        enough = jnp.sum(counts, axis=1) > (0 if plan.objective == "mse" else 1)
        return jnp.where(counts[:, 0] & enough, batch.weight, 0.0)

    def weight(batch: Rows) -> jax.Array:
        return rows(batch).sum()

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        del parameters
        query = normalise(outputs.query)
        counts = _counted(plan, batch)
        own = jnp.broadcast_to(jnp.arange(counts.shape[1]) == 0, counts.shape)
        scores = _own_cosines(query, outputs.positive, outputs.negatives) / plan.temperature
        right = jnp.where(counts, _own_scores(plan, batch), 0.0)
        return weighted(rows(batch), measure(scores, right, own, own | counts))

    return Term(plan.name, "separable", weight, sum_)


def _counted(plan: Distillation, batch: Rows) -> jax.Array:
    """Which of a row's positive and negatives there are and the teacher tells of. bool [B, 1 + N]"""
    there = jnp.ones((len(batch.weight), 1), bool)
    if batch.negative_weight is not None:
        there = jnp.concatenate([there, batch.negative_weight > 0], axis=1)
    return there & ~jnp.isnan(_own_scores(plan, batch))


def _own_scores(plan: Distillation, batch: Rows) -> jax.Array:
    """What the teacher says of each row's positive and negatives. [B, 1 + N]"""
    if plan.teacher is not None:
        query = given(batch.teacher_query)
        told = _own_products(query, given(batch.teacher_positive), batch.teacher_negatives)
        return told / plan.temperature
    scores = given(batch.score)[:, None]
    if batch.negative_weight is None:
        return scores
    return jnp.concatenate([scores, given(batch.negative_score)], axis=1)


def _own_cosines(query: jax.Array, positive: jax.Array, negatives: jax.Array | None) -> jax.Array:
    others = None if negatives is None else normalise(negatives)
    return _own_products(query, normalise(positive), others)


def _own_products(query: jax.Array, positive: jax.Array, negatives: jax.Array | None) -> jax.Array:
    """Products of each row's query with its positive and its negatives. [B, 1 + N]"""
    right = jnp.sum(query * positive, axis=-1, keepdims=True)
    if negatives is None:
        return right
    return jnp.concatenate([right, jnp.einsum("BD,BND->BN", query, negatives)], axis=1)


# --- what is measured ------------------------------------------------------------------------------------------------


def _measure(plan: Distillation) -> Measure:
    soft = plan.distillation_temperature

    def kl(scores: jax.Array, right: jax.Array, own: jax.Array, counts: jax.Array) -> jax.Array:
        del own
        log_right = jax.nn.log_softmax(jnp.where(counts, right / soft, -jnp.inf), axis=1)
        log_scores = jax.nn.log_softmax(jnp.where(counts, scores / soft, -jnp.inf), axis=1)
        apart = jnp.where(counts, log_right, 0.0) - jnp.where(counts, log_scores, 0.0)
        return soft * soft * jnp.sum(jnp.exp(log_right) * apart, axis=1)

    return {"kl": kl, "mse": _mse, "margin_mse": _margin_mse}[plan.objective]


def _mse(scores: jax.Array, right: jax.Array, own: jax.Array, counts: jax.Array) -> jax.Array:
    del own
    return _mean_square(scores - right, counts)


def _margin_mse(
    scores: jax.Array, right: jax.Array, own: jax.Array, counts: jax.Array
) -> jax.Array:
    apart = scores - right
    of_positive = jnp.sum(jnp.where(own, apart, 0.0), axis=1, keepdims=True)
    return _mean_square(of_positive - apart, counts & ~own)


def _mean_square(x: jax.Array, counts: jax.Array) -> jax.Array:
    """The mean over those that count, 0 where none does. [B]"""
    number = jnp.maximum(jnp.sum(counts, axis=1), 1)
    return jnp.sum(jnp.where(counts, x * x, 0.0), axis=1) / number
