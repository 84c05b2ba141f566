"""Where metrics go besides metrics.jsonl."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class TensorBoardTracking:
    """Event files for TensorBoard. Needs the extra `tensorboard` where the run happens."""

    kind: Annotated[Literal["tensorboard"], Fact(doc="Event files for TensorBoard.")] = (
        "tensorboard"
    )
    log_dir: Annotated[
        str | None,
        Fact(
            doc="Folder of the event files, relative to the working directory; null is `tensorboard` in the run's folder.",
            examples=("logs/first",),
        ),
    ] = None


@record
class WandbTracking:
    """A run of Weights & Biases. Needs the extra `wandb` where the run happens."""

    kind: Annotated[Literal["wandb"], Fact(doc="A run of Weights & Biases.")] = "wandb"
    project: Annotated[
        str,
        Fact(
            doc="Project that the run belongs to.",
            pattern=r"^[^/\\#?%:]{1,128}$",
            examples=("search",),
        ),
    ]
    entity: Annotated[
        str | None, Fact(doc="User or team that owns the project; null is the account's default.")
    ] = None
    mode: Annotated[
        Literal["offline", "online"],
        Fact(doc="`offline` writes to the run's folder, for `wandb sync`; `online` sends."),
    ] = "offline"
    tags: Annotated[tuple[str, ...], Fact(doc="Tags of the run.", unique=True)] = ()


Tracking = TensorBoardTracking | WandbTracking
