"""The rule of thumb of the micro-diffusion guide, which stands beside the arithmetic and decides nothing.

``parameters × bytes × multiplier + batch ≤ memory × (1 − margin)``. It knows of no activations and no frozen
parameters, which is why the compiler counts both itself.
"""

from __future__ import annotations

from specrun.compiler.cost.work import Batching, Work

BYTES_PER_PARAMETER = 4
ID_BYTES = 4


def rule_of_thumb(work: Work, batching: Batching, each: int, multiplier: float) -> int:
    """Bytes by the rule: ``each`` a number, ``multiplier`` copies, and the ids and pixels of one forward pass."""
    parameters = sum(p.size for p in work.parameters)
    rows = (
        sum(t.count * (t.pixels or ID_BYTES * t.length) for t in step.texts) for step in work.steps
    )
    return round(parameters * each * multiplier) + batching.rows * max(rows)
