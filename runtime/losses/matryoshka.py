"""Any loss over prefixes of the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from specrun.runtime.losses.algebra import Outputs, Rows, Term
from specrun.spec.plan.losses import MatryoshkaPlan


def matryoshka(term: Term, plan: MatryoshkaPlan) -> Term:
    """``Σ_d m_d · S(x[:d])`` with the weight of the term; ``mean`` divides by the number of dims.

    A dim of weight 0 is not computed. Kusupati et al. 2022, equation 1; with ``sum`` equal to
    sentence-transformers' MatryoshkaLoss, whose inner loss normalises each prefix anew, as ours do.
    """
    count = len(plan.dims) if plan.reduce == "mean" else 1
    factors = {d: m / count for d, m in zip(plan.dims, plan.weights, strict=True) if m > 0}

    def sum_(parameters: Mapping[str, Any], outputs: Outputs, batch: Rows) -> jax.Array:
        value = jnp.zeros((), jnp.float32)
        for dim, factor in factors.items():
            value = value + factor * term.sum(parameters, outputs.prefix(dim), batch)
        return value

    return term._replace(sum=sum_)
