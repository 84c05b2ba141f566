"""A run of Weights & Biases: offline in the run's folder, for ``wandb sync``, or sent as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import wandb

from specrun.runtime.track.tracker import Tracker
from specrun.spec.codec import to_plain
from specrun.spec.plan.file import identity
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.tracking import WandbPlan

WAIT_SECONDS = 60
"""How long a login or a connection may take before the tracker has failed."""


def make(settings: WandbPlan) -> Tracker:
    """The tracker of a plan's entry."""
    return WeightsAndBiases(settings)


class WeightsAndBiases:
    """Values named ``training/loss`` and ``evaluation/mrr@10``, over the number of finished steps."""

    def __init__(self, settings: WandbPlan):
        self._settings = settings
        self._run: Any = None

    def start(self, plan: Plan, step: int) -> None:
        """Open the run whose id is the plan's identity, so that a resumed run goes on in it."""
        own = self._settings
        self._run = wandb.init(
            project=own.project,
            entity=own.entity,
            mode=own.mode,
            tags=list(own.tags),
            name=plan.name,
            id=run_id(plan),
            resume="allow" if own.mode == "online" else None,
            dir=plan.output_dir,
            config={v.path: to_plain(v.value) for v in plan.values},
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=WAIT_SECONDS,
                login_timeout=WAIT_SECONDS,
                x_disable_stats=True,
            ),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **{f"{kind}/{name}": v for name, v in values.items()}})

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Close the run; one that did not finish is marked as failed, and goes on when resumed."""
        if result is not None:
            self._run.summary.update({"steps": result["steps"], **result["metrics"]})
        self._run.finish(exit_code=0 if result is not None else 1)


def run_id(plan: Plan) -> str:
    """The same for every process of a run, and for a longer horizon of it."""
    return identity(plan).removeprefix("sha256:")[:16]
