"""`specrun show --steps`: the timeline of a plan, segment by segment."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from specrun.compiler.summary import counted
from specrun.spec.plan.evaluation import lower_is_better
from specrun.spec.plan.losses import hiding
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.schedule import learning_rate
from specrun.spec.plan.segments import Segment, masking_rate

POINTS = 48
BARS = " ▁▂▃▄▅▆▇█"
BUCKETS = 6
"""Lines at most that the steps of a segment are drawn in, its transition's epochs apart."""


def rate_at(plan: Plan, segment: Segment, step: int) -> float:
    """The learning rate of a global 0-based step."""
    rate = learning_rate(
        segment.schedule, plan.optimizer.learning_rate, step - segment.schedule_start
    )
    return rate * segment.learning_rate_scale


def timeline(plan: Plan) -> str:
    """Steps, rows, losses, what trains and the learning rate of every segment, then evaluations and checkpoints."""
    peak = _peak(plan)
    lines = [line for index in range(len(plan.segments)) for line in _segment(plan, index, peak)]
    if plan.evaluation is not None:
        lines.append(f"evaluation  after {_moments(plan.evaluation.after)} steps")
    if plan.data.mining is not None:
        lines.append(f"mining      after {_moments(plan.data.mining.after)} steps")
    lines.append(f"checkpoints after {_moments(plan.checkpoint.after)} steps")
    return "\n".join(lines)


def stage(plan: Plan, index: int) -> str:
    """One segment as the timeline shows it."""
    return "\n".join(_segment(plan, index, _peak(plan)))


def epoch(plan: Plan, number: int) -> str:
    """The segment that an epoch of the run, counted from 0, is in, and that epoch's own line. InputError where there is none."""
    index, own = plan.stage_of_epoch(number)
    s = plan.segments[index]
    first = s.first_step + own * s.steps_per_epoch
    steps = range(first, min(first + s.steps_per_epoch, s.stop_step))
    head = f"    epoch {number} of the run, {own} of the stage, both from 0:"
    return "\n".join([stage(plan, index), head, _stretch(plan, index, steps)])


def _peak(plan: Plan) -> float:
    """The greatest learning rate of the run."""
    return max(_rates(plan, s, range(s.first_step, s.stop_step))[1] for s in plan.segments)


def _segment(plan: Plan, index: int, peak: float) -> list[str]:
    s = plan.segments[index]
    trained = sum(p.size for p in plan.model.parameters if p.path in set(s.trained))
    low, high = _rates(plan, s, range(s.first_step, s.stop_step))
    weights = ", ".join(f"{name} × {weight:g}" for name, weight in s.loss_weights.items())
    reset = ", optimizer reset" if s.reset_optimizer else ""
    return [
        f"{index} {s.stage}: steps {s.first_step}-{s.stop_step - 1}, {s.epochs} epochs of {s.steps_per_epoch} steps{reset}",
        f"    rows     {s.rows:,} ({_selected(s)}){_added(s)}",
        f"    losses   {weights}{_mined(plan, s)}",
        *_hidden(plan, s),
        f"    trains   {trained:,} parameters",
        f"    rate     {_curve(plan, s, peak)}  {low:.3g} to {high:.3g} ({s.schedule.kind})",
        f"    traces   {', '.join(s.traces)}",
        *_ending(s),
        *(_stretch(plan, index, steps) for steps in _stretches(s)),
    ]


def _added(s: Segment) -> str:
    return "" if s.pseudo is None else f", and {s.pseudo.count:,} that the model makes of them"


def _selected(s: Segment) -> str:
    if s.selection is None:
        return "all rows"
    return s.selection.words


def _mined(plan: Plan, s: Segment) -> str:
    if plan.data.mining is None:
        return ""
    return ", with mined negatives" if s.mined else ", without mined negatives"


def _hidden(plan: Plan, s: Segment) -> list[str]:
    """How many tokens of a text are hidden, where a loss hides any."""
    loss, span = hiding(plan.losses), s.masking
    if loss is None or span is None:
        return []
    how = (
        "each text draws its share"
        if loss.sampling == "bernoulli"
        else f"falling from {_hidden_at(s, 0)} to {_hidden_at(s, s.epochs - 1)} in the last epoch"
    )
    return [f"    masking  {span.minimum:.0%} to {span.maximum:.0%} of a text's tokens, {how}"]


def _hidden_at(s: Segment, epoch: int) -> str:
    assert s.masking is not None
    return f"{masking_rate(s.masking, epoch, s.epochs):.3g}"


def _hides(plan: Plan, s: Segment, steps: range) -> str:
    """The shares at both ends of some steps."""
    loss = hiding(plan.losses)
    if loss is None or s.masking is None or loss.sampling == "bernoulli":
        return ""
    first, last = (
        _hidden_at(s, (step - s.first_step) // s.steps_per_epoch) for step in (steps[0], steps[-1])
    )
    return f", masking {first}" + (f" to {last}" if last != first else "")


def _ending(s: Segment) -> list[str]:
    """What may end a segment before its last step."""
    rule = s.advance
    if rule is None:
        return []
    moved = "fall" if lower_is_better(rule.metric) else "rise"
    better = f"by more than {rule.min_delta:g} " if rule.min_delta else ""
    return [
        f"    ends     by step {s.stop_step} at the latest, or after {counted(rule.patience, 'evaluation')} "
        f"in which {rule.metric} did not {moved} {better}(the steps left are skipped)"
    ]


def _stretches(s: Segment) -> list[range]:
    """The steps of a segment in a few ranges: each epoch of a transition, and the others in equal numbers."""
    mixed = min(s.transition_epochs, s.epochs)
    ends = [min(s.stop_step, s.first_step + s.steps_per_epoch * e) for e in range(mixed + 1)]
    left = s.epochs - mixed
    parts = min(BUCKETS, left)
    ends += [
        min(s.stop_step, ends[0] + s.steps_per_epoch * (mixed + left * (p + 1) // parts))
        for p in range(parts)
    ]
    return [range(a, b) for a, b in pairwise(ends) if a < b]


def _stretch(plan: Plan, index: int, steps: range) -> str:
    """One line of steps: the data they see, the rates they have, and what happens after them."""
    s = plan.segments[index]
    first, last = rate_at(plan, s, steps[0]), rate_at(plan, s, steps[-1])
    span = f"{steps[0]}-{steps[-1]}"
    happens = [
        *_happens("evaluated", plan.evaluation.after if plan.evaluation else (), steps, 1),
        *_happens("mined", plan.data.mining.after if plan.data.mining else (), steps, 0),
        *_happens("saved", plan.checkpoint.after, steps, 1),
    ]
    told = f"; {', '.join(happens)}" if happens else ""
    return f"      {span:<13} {_mix(plan, index, steps)}{_hides(plan, s, steps)}, rate {first:.3g} to {last:.3g}{told}"


def _mix(plan: Plan, index: int, steps: range) -> str:
    s = plan.segments[index]
    epoch = (steps[0] - s.first_step) // s.steps_per_epoch
    if epoch >= s.transition_epochs:
        return s.stage
    share = (epoch + 1) / (s.transition_epochs + 1)
    return f"{share:.0%} {s.stage} and {1 - share:.0%} {plan.segments[index - 1].stage}"


def _happens(what: str, after: Iterable[int], steps: range, late: int) -> list[str]:
    """How often something falls into a range of steps: after each of them (``late`` 1), or before (0)."""
    count = sum(a - late in steps for a in after)
    return [f"{what} {count}×"] if count else []


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
