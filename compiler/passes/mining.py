"""The pass for negatives that are mined while training."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.draft import Context, Draft
from specrun.spec.plan.data import MiningPlan

ENCODED = 256
"""Texts encoded at a time at most; a smaller batch has fewer."""


def plan_mining(draft: Draft, context: Context) -> Draft:
    """After which steps negatives are mined: before the first step, and then every so many."""
    spec = draft.spec.data.negatives
    if spec is None:
        return draft
    total = draft.segments[-1].stop_step
    rows: int = draft.need("scan").training_rows
    if spec.refresh_every_steps > total:
        context.report.error(
            "data.negatives.refresh_every_steps",
            "beyond-the-end",
            f"negatives are mined every {spec.refresh_every_steps} steps, and the run has {total}",
            hint=f"write {total} to mine once, before the first step, or a smaller number",
        )
    if spec.top_k >= rows:
        context.report.error(
            "data.negatives.top_k",
            "too-few-rows",
            f"the {spec.top_k} nearest are looked at, and there are {rows} training rows",
            hint=f"at most {rows - 1}",
        )
    mining = MiningPlan(
        after=tuple(range(0, total, spec.refresh_every_steps)),
        num_negatives=spec.num_negatives,
        top_k=spec.top_k,
        skip_top=spec.skip_top,
        relative_margin=spec.relative_margin,
        backend=spec.backend,
        batch_size=min(draft.spec.train.batch_size, ENCODED),
    )
    return replace(draft, mining=mining)
