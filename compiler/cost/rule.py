"""The rule of thumb of the micro-diffusion guide, which stands beside the arithmetic and decides nothing.

``parameters × bytes × multiplier + batch ≤ memory × (1 − margin)``. It knows of no activations and no frozen
parameters, which is why the compiler counts both itself.
"""

from __future__ import annotations

from specrun.compiler.cost.work import Batching, Work
from specrun.compiler.objective import hides_tokens
from specrun.spec.experiment import Experiment

BYTES_PER_PARAMETER = 4
MULTIPLIER = 3.0
"""Of the guide: the weights, the optimizer's and the gradients."""
ID_BYTES = 4


def rule_of(spec: Experiment) -> tuple[int, float] | None:
    """(bytes of a number, copies): as written, or where the loss hides tokens the guide's; None is no rule."""
    hardware = spec.hardware
    multiplier = hardware.memory_multiplier or (MULTIPLIER if hides_tokens(spec) else None)
    if multiplier is None:
        return None
    return hardware.bytes_per_parameter or BYTES_PER_PARAMETER, multiplier


def rule_of_thumb(work: Work, batching: Batching, each: int, multiplier: float) -> int:
    """Bytes by the rule: ``each`` a number, ``multiplier`` copies, and the ids and pixels of one forward pass."""
    parameters = sum(p.size for p in work.parameters)
    rows = (
        sum(t.count * (t.pixels or ID_BYTES * t.length) for t in step.texts) for step in work.steps
    )
    return round(parameters * each * multiplier) + batching.rows * max(rows)
