"""What a plan costs by arithmetic: bytes on each device, and floating-point operations.

The bytes follow what jax keeps for the backward pass, layer by layer: inputs of trained linear layers, both halves
of a LayerNorm, queries, keys, values and attention twice, the feed-forward's products. XLA adds a working set, which
is fitted: ``tests/runtime/test_aot.py`` and ``tests/slow/test_cost.py`` compare with XLA's own figures.
"""

from __future__ import annotations

from specrun.compiler.cost.flops import flops
from specrun.compiler.cost.memory import evaluation_bytes, mining_bytes, peak_parts, teacher_bytes
from specrun.compiler.cost.work import Batching, Work
from specrun.spec.plan.cost import CostPlan, TraceCost

NO_COST = CostPlan(
    weight_bytes=0,
    gradient_bytes=0,
    optimizer_bytes=0,
    activation_bytes=0,
    loss_bytes=0,
    peak_bytes=0,
    evaluation_bytes=0,
    flops_per_step=0,
    total_flops=0,
    traces=(),
)
"""Stands in a plan whose cost is not counted yet."""


def cost_of(work: Work, batching: Batching) -> CostPlan:
    """The cost of the trace that needs the most memory, and that of each."""
    found = [
        (step, peak_parts(work, step, batching), flops(work, step, batching)) for step in work.steps
    ]
    _, parts, _ = max(found, key=lambda item: sum(item[1].values()))
    return CostPlan(
        **parts,
        evaluation_bytes=evaluation_bytes(work, batching),
        mining_bytes=mining_bytes(work, batching),
        teacher_bytes=teacher_bytes(work),
        peak_bytes=sum(parts.values()),
        flops_per_step=max(count for _, _, count in found),
        total_flops=sum(count * step.steps for step, _, count in found),
        traces=tuple(
            TraceCost(name=step.name, peak_bytes=sum(p.values()), flops=count)
            for step, p, count in found
        ),
    )
