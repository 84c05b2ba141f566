"""Late interaction: cross-entropy of MaxSim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from specrun.runtime.losses.algebra import (
    Outputs,
    Rows,
    Term,
    given,
    weight_of_all,
    weights_with_own,
)
from specrun.runtime.losses.candidates import masks_of, token_candidates
from specrun.runtime.losses.contrast import own_score_entropy, score_entropy
from specrun.runtime.losses.maxsim import maxsim, maxsim_of_pairs
from specrun.runtime.losses.tiles import fold
from specrun.spec.plan.losses import ColBERT


def colbert(plan: ColBERT, tile_rows: int) -> Term:
    """``Σ_i w_i · (logsumexp_j S_ij − S_ii)`` with ``S`` MaxSim of queries and candidates over τ.

    Candidates and what is left out are InfoNCE's. ``symmetric`` is the mean of that and of the same
    over the columns of the positives. Cosines of tokens exist for ``tile_rows`` documents at a time;
    ``S`` itself, a number for each two texts, is whole.

    Khattab & Zaharia 2020, section 3.3; equal to sentence-transformers'
    MultiVectorMultipleNegativesRankingLoss with scale 1/τ.
    """
    return _own(plan, tile_rows) if plan.negatives == "own" else _in_batch(plan, tile_rows)


def _in_batch(plan: ColBERT, tile_rows: int) -> Term:
    negatives = "all" if plan.negatives == "all" else "in_batch"

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        del parameters
        documents = token_candidates(negatives, outputs)
        scores = maxsim(given(outputs.query_tokens), documents, plan.reduce, tile_rows)
        masks = masks_of(negatives, batch)
        return score_entropy(scores / plan.temperature, masks, plan.symmetric)

    return Term(plan.name, "in_batch", weight_of_all, sum_)


def _own(plan: ColBERT, tile_rows: int) -> Term:
    def weight(batch: Rows) -> jax.Array:
        return weights_with_own(batch).sum()

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        del parameters
        parts = (
            given(outputs.query_tokens),
            given(outputs.positive_tokens),
            given(outputs.negative_tokens),
            given(batch.negative_weight) > 0,
            weights_with_own(batch),
        )

        def one(value: jax.Array, part: tuple[Any, ...]) -> jax.Array:
            query, positive, negatives, valid, weight = part
            alone = jax.tree.map(lambda x: x[:, None], positive)
            right = maxsim_of_pairs(query, alone, plan.reduce)[:, 0] / plan.temperature
            wrong = maxsim_of_pairs(query, negatives, plan.reduce) / plan.temperature
            return value + own_score_entropy(right, wrong, valid, weight)

        return fold(one, jnp.zeros((), jnp.float32), parts, tile_rows)

    return Term(plan.name, "separable", weight, sum_)
