"""`specrun show --steps`: the timeline of a plan, segment by segment."""

from __future__ import annotations

from specrun.spec.plan.plan import Plan
from specrun.spec.plan.schedule import learning_rate
from specrun.spec.plan.training import Segment

POINTS = 48
BARS = " ▁▂▃▄▅▆▇█"


def rate_at(plan: Plan, segment: Segment, step: int) -> float:
    """The learning rate of a global 0-based step."""
    rate = learning_rate(
        segment.schedule, plan.optimizer.learning_rate, step - segment.schedule_start
    )
    return rate * segment.learning_rate_scale


def timeline(plan: Plan) -> str:
    """Steps, rows, losses, what trains and the learning rate of every segment, then evaluations and checkpoints."""
    lines: list[str] = []
    peak = max(_rates(plan, s, range(s.first_step, s.stop_step))[1] for s in plan.segments)
    for index, s in enumerate(plan.segments):
        lines += _segment(plan, index, s, peak)
    if plan.evaluation is not None:
        lines.append(f"evaluation  after {_moments(plan.evaluation.after)} steps")
    lines.append(f"checkpoints after {_moments(plan.checkpoint.after)} steps")
    return "\n".join(lines)


def _segment(plan: Plan, index: int, s: Segment, peak: float) -> list[str]:
    trained = sum(p.size for p in plan.model.parameters if p.path in set(s.trained))
    low, high = _rates(plan, s, range(s.first_step, s.stop_step))
    select = "all rows" if s.selection is None else s.selection.words
    weights = ", ".join(f"{name} × {weight:g}" for name, weight in s.loss_weights.items())
    reset = ", optimizer reset" if s.reset_optimizer else ""
    return [
        f"{index} {s.stage}: steps {s.first_step}-{s.stop_step - 1}, {s.epochs} epochs of {s.steps_per_epoch} steps{reset}",
        f"    rows     {s.rows:,} ({select})",
        f"    losses   {weights}",
        f"    trains   {trained:,} parameters",
        f"    rate     {_curve(plan, s, peak)}  {low:.3g} to {high:.3g}",
        f"    traces   {', '.join(s.traces)}",
    ]


def _rates(plan: Plan, s: Segment, steps: range) -> tuple[float, float]:
    every = max(1, len(steps) // 1000)
    rates = [rate_at(plan, s, t) for t in (*steps[::every], steps[-1])]
    return min(rates), max(rates)


def _curve(plan: Plan, s: Segment, peak: float) -> str:
    steps = range(s.first_step, s.stop_step)
    points = min(POINTS, len(steps))
    rates = [rate_at(plan, s, steps[i * len(steps) // points]) for i in range(points)]
    return "".join(BARS[round(r / peak * (len(BARS) - 1))] if peak else BARS[0] for r in rates)


def _moments(after: tuple[int, ...]) -> str:
    shown = [str(a) for a in after]
    return (
        ", ".join(shown)
        if len(shown) <= 8
        else f"{', '.join(shown[:3])}, ... {shown[-1]} ({len(shown)} times)"
    )
