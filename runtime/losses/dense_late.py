"""The divergence of what the token vectors rank from what the pooled vectors rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from specrun.runtime.losses.algebra import Outputs, Rows, Term, given, weight_of_all, weighted
from specrun.runtime.losses.candidates import candidates_of, token_candidates
from specrun.runtime.losses.contrast import kept_pairs, normalise
from specrun.runtime.losses.maxsim import maxsim
from specrun.spec.plan.losses import DenseLateKL


def dense_late_kl(plan: DenseLateKL, tile_rows: int) -> Term:
    """``Σ_i w_i Σ_j p_ij (log p_ij − log r_ij)``, p the softmax of cosines over τ, r that of MaxSim over τ.

    Candidates and what is left out are InfoNCE's, the same for both. ``detach`` holds one of them
    still; else the gradient flows into both. Cosines of tokens exist for ``tile_rows`` documents at a
    time; both matrices of scores, a number for each two texts, are whole.

    The divergence between the two kinds of similarity in Günther et al. 2025 (jina-embeddings-v4).
    """

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        del parameters
        candidates, masks = candidates_of(plan.negatives, outputs, batch)
        documents = token_candidates(plan.negatives, outputs)
        dense = normalise(outputs.query) @ normalise(candidates).T  # [B, C]
        late = maxsim(given(outputs.query_tokens), documents, plan.reduce, tile_rows)
        dense, late = _detached(plan, dense, late)
        kept = kept_pairs(masks)
        p, r = (_log_softmax(x / plan.temperature, kept) for x in (dense, late))
        losses = jnp.sum(jnp.where(kept, jnp.exp(p) * (p - r), 0.0), axis=1)
        return weighted(masks.weight, losses)

    return Term(plan.name, "in_batch", weight_of_all, sum_)


def _detached(plan: DenseLateKL, dense: jax.Array, late: jax.Array) -> tuple[jax.Array, jax.Array]:
    if plan.detach == "dense":
        return jax.lax.stop_gradient(dense), late
    return dense, jax.lax.stop_gradient(late) if plan.detach == "late" else late


def _log_softmax(scores: jax.Array, kept: jax.Array) -> jax.Array:
    """Over the kept candidates of each row; 0 elsewhere, where it is not used."""
    total = jax.nn.logsumexp(jnp.where(kept, scores, -jnp.inf), axis=1, keepdims=True)
    return jnp.where(kept, scores - total, 0.0)
