"""Event files for TensorBoard, written by tensorboardX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tensorboardX import SummaryWriter

from specrun.runtime.track.tracker import Tracker
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.tracking import TensorBoardPlan

FLUSH_SECONDS = 10


def make(settings: TensorBoardPlan) -> Tracker:
    """The tracker of a plan's entry."""
    return TensorBoard(settings)


class TensorBoard:
    """Scalars named ``training/loss`` and ``evaluation/mrr_10``."""

    def __init__(self, settings: TensorBoardPlan):
        self._folder = settings.log_dir
        self._writer: Any = None

    def start(self, plan: Plan, step: int) -> None:
        """A file of its own for each process; what an earlier one wrote after ``step`` is purged."""
        purge = {"purge_step": step + 1} if step else {}
        self._writer = SummaryWriter(logdir=self._folder, flush_secs=FLUSH_SECONDS, **purge)

    def log(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(tag(kind, name), value, step)

    def finish(self, result: Mapping[str, Any] | None) -> None:
        self._writer.close()


def tag(kind: str, name: str) -> str:
    """A name as TensorBoard takes it: ``mrr@10 at 64`` is ``evaluation/mrr_10_at_64``."""
    return f"{kind}/{re.sub('[^-./A-Za-z0-9_]', '_', name)}"
