"""What the plan costs, by arithmetic."""

from __future__ import annotations

from typing import Annotated

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class TraceCost:
    """The cost of one training trace by arithmetic."""

    name: Annotated[str, Fact(doc="Name of the trace.")]
    peak_bytes: Annotated[int, Fact(doc="On each device.", unit="bytes")]
    flops: Annotated[int, Fact(doc="Floating-point operations of a step, over all devices.")]


@record
class CostPlan:
    """Arithmetic, not measurement. Bytes are those on each device, of the trace that needs the most."""

    weight_bytes: Annotated[int, Fact(doc="All parameters.", unit="bytes")]
    gradient_bytes: Annotated[
        int, Fact(doc="Gradients of the trained ones, and their sums.", unit="bytes")
    ]
    optimizer_bytes: Annotated[int, Fact(doc="Two moments of the trained ones.", unit="bytes")]
    activation_bytes: Annotated[
        int, Fact(doc="The batch, what the backward pass needs, and work space.", unit="bytes")
    ]
    loss_bytes: Annotated[int, Fact(doc="Scores of all rows with all rows.", unit="bytes")]
    peak_bytes: Annotated[int, Fact(doc="Sum of these.", unit="bytes")]
    evaluation_bytes: Annotated[
        int, Fact(doc="The peak while held-out rows are encoded; 0 is none.", unit="bytes")
    ]
    mining_bytes: Annotated[
        int, Fact(doc="The peak while negatives are mined; 0 is none.", unit="bytes")
    ] = 0
    teacher_bytes: Annotated[
        int, Fact(doc="The peak while a teacher embeds the texts; 0 is none.", unit="bytes")
    ] = 0
    rule_bytes: Annotated[
        int | None,
        Fact(
            doc="By the micro-diffusion guide's rule of thumb, which decides nothing: parameters × hardware.bytes_per_parameter × hardware.memory_multiplier + the batch's ids; null where it is not asked for.",
            unit="bytes",
        ),
    ] = None
    flops_per_step: Annotated[int, Fact(doc="Floating-point operations of a step, largest trace.")]
    total_flops: Annotated[int, Fact(doc="Over all steps.")]
    traces: Annotated[tuple[TraceCost, ...], Fact(doc="The cost of each trace.")]

    @property
    def most_bytes(self) -> int:
        """The worst of training, evaluation, mining and a teacher's embedding: what a limit is held against."""
        return max(self.peak_bytes, self.evaluation_bytes, self.mining_bytes, self.teacher_bytes)
