"""The encoder of a trained run or of a directory as one compiled function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from specrun.runtime.embedded import Embedded
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.predict.trained import Trained
from specrun.spec.plan.sides import Side


def compiled(trained: Trained, parameters: Any) -> Callable[[Any, np.ndarray, Side], Embedded]:
    """(content, mask, side) to embeddings on the host, not normalised. ``parameters`` are ``trained``'s, wherever they lie.

    They are an argument of what is compiled, never a constant.
    """
    compute = trained.plan.precision.compute if trained.plan else "float32"
    encoder = build_encoder(trained.model, compute=compute)
    shared = trained.model.towers != "separate"

    def trace(parameters: Any, ids: Any, mask: jax.Array, side: Side | None) -> Embedded:
        with jax.default_matmul_precision(trained.matmul):
            return encoder.embed(parameters, ids, mask, side=side)

    compiled = jax.jit(trace, static_argnums=3)

    def encode(ids: Any, mask: np.ndarray, side: Side) -> Embedded:
        return compiled(parameters, ids, mask, None if shared else side)

    return encode
