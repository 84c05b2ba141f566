"""Which parameters each stage trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from specrun.compiler.draft import Context, Draft, StageDraft
from specrun.compiler.passes.losses import loss_rows
from specrun.spec.plan.data import modality
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.sides import SIDES


def choose_trained(draft: Draft, context: Context) -> Draft:
    """The parameters that each stage trains."""
    if draft.config is None:
        return draft
    rows = (*draft.rows, *loss_rows(draft.spec.losses, draft.spec.data))
    names = [r.path for r in rows]
    stages = tuple(
        replace(s, trained=frozenset(_trained(s, draft, rows, context))) for s in draft.stages
    )
    for stage in stages:
        if not stage.trained:
            context.report.error(
                stage.trainable_path or stage.path,
                "nothing-trains",
                f"stage {stage.name!r} trains no parameter",
                hint="widen `trainable`",
            )
    _unmatched(draft.spec.optimizer.no_decay, "optimizer.no_decay", names, context)
    return replace(draft, rows=rows, stages=stages)


def _trained(
    stage: StageDraft, draft: Draft, rows: tuple[TableRow, ...], context: Context
) -> list[str]:
    model_rows = [r for r in rows if not r.path.startswith("losses.")]
    active = {f"losses.{name}" for name, weight in stage.loss_weights.items() if weight > 0}
    temperatures = [r.path for r in rows if r.path.rpartition(".")[0] in active]
    if stage.trainable is None:
        return [r.path for r in model_rows if _trains_by_default(r, draft)] + temperatures
    _unmatched(stage.trainable, stage.trainable_path, [r.path for r in model_rows], context)
    return [
        r.path for r in model_rows if any(fnmatchcase(r.path, p) for p in stage.trainable)
    ] + temperatures


def _trains_by_default(row: TableRow, draft: Draft) -> bool:
    if row.tower in ("text", "image") and not _is_used(row.tower, draft):
        return False
    if draft.spec.lora is None:
        return True
    read = draft.pretrained is not None or draft.pretrained_image is not None
    head = row.new and row.layer is None and read
    return head or row.role in ("lora_a", "lora_b")


def _is_used(tower: str, draft: Draft) -> bool:
    """Whether the rows have anything that the network of texts, or of images, reads."""
    return any(modality(draft.need("source"), side) in (tower, "both") for side in SIDES)


def _unmatched(patterns: Iterable[str], path: str, names: list[str], context: Context) -> None:
    for i, pattern in enumerate(patterns):
        if not any(fnmatchcase(n, pattern) for n in names):
            near = get_close_matches(pattern, names, n=1, cutoff=0.4)
            tops = sorted({n.split(".")[0] + ".*" for n in names})
            context.report.error(
                f"{path}[{i}]",
                "no-match",
                f"{pattern!r} matches no parameter",
                hint=(f"did you mean {near[0]!r}? " if near else "")
                + f"top modules: {', '.join(tops)}",
            )
