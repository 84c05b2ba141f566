"""Parameters: those of an architecture, those of the plan with layers stacked, and the stacks."""

from __future__ import annotations

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.plan.sides import Tower, tower_of
from specrun.spec.record import record

Role = Literal["kernel", "bias", "scale", "embedding", "lora_a", "lora_b", "temperature", "offset"]


VOCABULARY = "vocabulary"
"""What the paths of the parameters begin with that belong to the head of a language model alone."""


@record
class Group:
    """A run of consecutive layers equal in structure, adapters and freezing; stacked and scanned."""

    first: Annotated[int, Fact(doc="Index of the first layer.")]
    count: Annotated[int, Fact(doc="Number of layers.")]
    adapted: Annotated[
        tuple[str, ...], Fact(doc="Linear modules of a layer that carry an adapter.")
    ] = ()
    tower: Annotated[Tower | None, Fact(doc="Whose layers; null where there is one network.")] = (
        None
    )


@record
class Parameter:
    """One leaf of the parameter tree. ``path`` is dotted; ``groups.0.…`` leaves have the layers as axis 0.

    With separate towers a path begins with the side: ``query.groups.0.…``, groups being counted in each tower.
    """

    path: Annotated[str, Fact(doc="Dotted path in the tree.")]
    shape: Annotated[tuple[int, ...], Fact(doc="Shape, the stack axis first where there is one.")]
    role: Annotated[Role, Fact(doc="What it is.")]
    stacked: Annotated[
        int | None, Fact(doc="First layer of its stack; null outside the layers.")
    ] = None
    new: Annotated[
        bool, Fact(doc="Initialised by the seed rather than read from weights or another run.")
    ] = True
    decay: Annotated[bool, Fact(doc="Weight decay applies.")] = False
    trained: Annotated[bool, Fact(doc="Trained in at least one segment.")] = True

    @property
    def size(self) -> int:
        total = 1
        for n in self.shape:
            total *= n
        return total


@record
class TableRow:
    """One parameter of an architecture before layers are stacked: ``layers.3.attention.self.query.kernel``.

    ``held`` is the shape in torch's files where it is not the one of the role: a convolution's (out, in, height,
    width), or a table with axes of one.
    """

    path: str
    shape: tuple[int, ...]
    role: Role
    new: bool = True
    held: tuple[int, ...] | None = None

    @property
    def layer(self) -> int | None:
        """Index of the layer it belongs to; None outside the layers."""
        head, _, rest = tower_of(self.path)[1].partition(".")
        return int(rest.partition(".")[0]) if head == "layers" else None

    @property
    def tower(self) -> Tower | None:
        """The tower it belongs to; None where one network is shared."""
        return tower_of(self.path)[0]
