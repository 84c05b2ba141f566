"""The plan's trackers of metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class TensorBoardPlan:
    kind: Annotated[Literal["tensorboard"], Fact(doc="Event files.")] = "tensorboard"
    log_dir: Annotated[str, Fact(doc="Folder, relative to the working directory.")]


@record
class WandbPlan:
    kind: Annotated[Literal["wandb"], Fact(doc="A run of Weights & Biases.")] = "wandb"
    project: Annotated[str, Fact(doc="Project.")]
    entity: Annotated[str | None, Fact(doc="Owner; null is the account's default.")]
    mode: Annotated[Literal["offline", "online"], Fact(doc="Whether it sends.")]
    tags: Annotated[tuple[str, ...], Fact(doc="Tags.")]


TrackerPlan = TensorBoardPlan | WandbPlan
