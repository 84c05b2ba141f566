"""The pass for negatives that are mined while training."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.draft import Context, Draft
from specrun.compiler.negatives import mined_of
from specrun.spec.plan.data import MiningPlan

ENCODED = 256
"""Texts encoded at a time at most; a smaller batch has fewer."""


def plan_mining(draft: Draft, context: Context) -> Draft:
    """After which steps negatives are mined: before the first step that takes them, and then every so many."""
    spec = mined_of(draft.spec.data)
    if spec is None:
        return draft
    stretches = _stretches(draft)
    longest = max((stop - start for start, stop in stretches), default=0)
    rows: int = draft.need("scan").training_rows
    if spec.refresh_every_steps > longest:
        what = "the run has" if len(draft.stages) == 1 else "stages that take them have"
        context.report.error(
            "data.negatives.refresh_every_steps",
            "beyond-the-end",
            f"negatives are mined every {spec.refresh_every_steps} steps, and {what} {longest}",
            hint=f"write {longest} to mine once, before the first of them, or a smaller number",
        )
    if spec.top_k >= rows:
        context.report.error(
            "data.negatives.top_k",
            "too-few-rows",
            f"the {spec.top_k} nearest are looked at, and there are {rows} training rows",
            hint=f"at most {rows - 1}",
        )
    mining = MiningPlan(
        after=tuple(
            step
            for start, stop in stretches
            for step in range(start, stop, spec.refresh_every_steps)
        ),
        num_negatives=spec.num_negatives,
        top_k=spec.top_k,
        skip_top=spec.skip_top,
        relative_margin=spec.relative_margin,
        backend=spec.backend,
        batch_size=min(draft.spec.train.batch_size, ENCODED),
    )
    return replace(draft, mining=mining)


def _stretches(draft: Draft) -> list[tuple[int, int]]:
    """(first step, stop step) of the runs of stages in a row that take mined negatives."""
    found: list[tuple[int, int]] = []
    for segment in draft.segments:
        if not segment.mined:
            continue
        if found and found[-1][1] == segment.first_step:
            found[-1] = (found[-1][0], segment.stop_step)
        else:
            found.append((segment.first_step, segment.stop_step))
    return found
