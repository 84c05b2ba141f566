"""``logit_scale`` and ``logit_bias`` of a CLIP or SigLIP that is written: what the run trained, else the source's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.parameters import read_parameters
from specrun.runtime.losses.infonce import MAX_LOG_SCALE
from specrun.runtime.models.tables import logit_rows
from specrun.runtime.predict.order import Order
from specrun.runtime.predict.trained import parameters_folder
from specrun.runtime.trees import flatten
from specrun.runtime.weights.load import load_beside
from specrun.spec.plan.losses import InfoNCE, SigLIP
from specrun.spec.plan.model import WeightsPlan
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.towers import ClipTextConfig, SiglipTextConfig, TextTower


@dataclass(frozen=True)
class Logits:
    """``leaves`` by the names in ``tables.logit_rows``; ``trained`` names the loss that each trained one is of."""

    leaves: Mapping[str, np.ndarray]
    trained: Mapping[str, str]


def read_logits(order: Order, plan: Plan | None, config: TextTower, weights: WeightsPlan) -> Logits:
    """The numbers for ``config``'s model. One is absent where the run trained none and the source holds none.

    CLIP's scale is 1/τ of a softmax, so an InfoNCE's; SigLIP's two belong to a sigmoid, so to a SigLIP loss. A run of
    several such losses has no one number, and the source's stays.
    """
    kept = load_beside(weights, config, logit_rows(config))
    names = {} if plan is None else trained_logits(plan, config)
    if not names:
        return Logits(kept, {})
    found = flatten(read_parameters(parameters_folder(RunFolder(order.folder), order.which)))
    own = {row: _bounded(found[f"losses.{path}"], config) for row, path in names.items()}
    return Logits({**kept, **own}, {row: path.partition(".")[0] for row, path in names.items()})


def trained_logits(plan: Plan, config: TextTower) -> dict[str, str]:
    """Our row → ``NAME.log_scale`` or ``NAME.bias`` of the one loss that means the same."""
    match config:
        case ClipTextConfig():
            softmax = [loss for loss in plan.losses if isinstance(loss, InfoNCE)]
            if len(softmax) != 1 or not softmax[0].train_temperature:
                return {}
            return {"logit_scale": f"{softmax[0].name}.log_scale"}
        case SiglipTextConfig():
            sigmoid = [loss for loss in plan.losses if isinstance(loss, SigLIP)]
            if len(sigmoid) != 1:
                return {}
            scale = {"logit_scale": f"{sigmoid[0].name}.log_scale"}
            bias = {"logit_bias": f"{sigmoid[0].name}.bias"}
            return {
                **(scale if sigmoid[0].train_temperature else {}),
                **(bias if sigmoid[0].train_bias else {}),
            }


def _bounded(value: np.ndarray, config: TextTower) -> np.ndarray:
    """The number as the loss uses it: InfoNCE's scale is held at 100."""
    return np.minimum(value, MAX_LOG_SCALE) if isinstance(config, ClipTextConfig) else value
