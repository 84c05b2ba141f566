"""Low-rank adapters."""

from typing import Annotated

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class Lora:
    """Low-rank adapters on linear layers; the base model is frozen."""

    rank: Annotated[int, Fact(doc="Rank of the update.", ge=1, le=65536)] = 8
    alpha: Annotated[float, Fact(doc="Scale: the update is multiplied by alpha / rank.", gt=0)] = (
        16.0
    )
    dropout: Annotated[float, Fact(doc="Dropout on the adapter's input.", ge=0, lt=1)] = 0.05
    target_modules: Annotated[
        tuple[str, ...],
        Fact(
            doc="Linear layers by last name, dotted suffix or glob.",
            min_items=1,
            unique=True,
            examples=(("query", "value"),),
        ),
    ]
    rslora: Annotated[bool, Fact(doc="Rank-stabilised scale, alpha / √rank.")] = False
    init_from: Annotated[
        str | None,
        Fact(
            doc="Folder of a PEFT adapter that these start from, relative to the spec, or a name in specrun.local.yaml. Its rank, alpha, rslora and modules must be those given here. With separate towers it holds `query` and `positive`. Null starts as the model is.",
            examples=("adapters/first",),
        ),
    ] = None
