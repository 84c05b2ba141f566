"""Spec to plan: the list of passes, and the function that runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from specrun.compiler.draft import Draft
from specrun.compiler.facts import Facts
from specrun.compiler.front import Loaded
from specrun.compiler.look import LOOK, NETWORK, Pass, check_loaded, context_of
from specrun.compiler.passes.difficulty import score_rows
from specrun.compiler.passes.groups import stack_layers
from specrun.compiler.passes.lower import lower
from specrun.compiler.passes.mining import plan_mining
from specrun.compiler.passes.rows import scan_data
from specrun.compiler.passes.stages import check_fields
from specrun.compiler.passes.steps import (
    build_segments,
    choose_buckets,
    lay_out_steps,
    resolve_schedules,
)
from specrun.compiler.passes.tokenizers import make_tokenizer
from specrun.compiler.passes.watch import estimate_cost, plan_checkpoints, plan_evaluation
from specrun.compiler.values import values
from specrun.spec.codec import canonical, to_plain
from specrun.spec.diagnostics import Diagnostic
from specrun.spec.plan.plan import Plan, Warning
from specrun.spec.record import record

COMPILE: tuple[tuple[Pass, ...], ...] = (
    LOOK,
    (scan_data,),
    (score_rows,),
    (make_tokenizer,),
    (*NETWORK, check_fields),
    (stack_layers, lay_out_steps),
    (resolve_schedules,),
    (choose_buckets, build_segments, plan_mining, plan_evaluation, plan_checkpoints, estimate_cost),
)
"""The passes of ``compile``, in batches: a batch runs to its end, so that its mistakes are told together."""


@record
class Compiled:
    """A plan, or None where there were errors; and everything found on the way."""

    plan: Plan | None
    diagnostics: tuple[Diagnostic, ...]


def pass_names() -> tuple[str, ...]:
    """The names that ``--print-after`` takes."""
    return tuple(p.__name__ for batch in COMPILE for p in batch)


def compile_loaded(
    loaded: Loaded,
    facts: Facts,
    *,
    print_after: Callable[[str, Draft], None] = lambda name, draft: None,
) -> Compiled:
    """Run every pass. ``print_after`` is told each pass's name and the draft it made."""
    draft = _run(loaded, facts, print_after)
    if draft is None:
        return Compiled(plan=None, diagnostics=loaded.diagnostics)
    found = tuple(
        Warning(code=d.code, path=d.path, message=d.message + (f" ({d.hint})" if d.hint else ""))
        for d in loaded.diagnostics
    )
    assert loaded.experiment is not None
    plan = lower(draft, values(loaded.experiment, loaded.history), found)
    return Compiled(plan=plan, diagnostics=loaded.diagnostics)


def draft_text(draft: Draft) -> str:
    """A draft as canonical JSON, without the spec and without what is still missing."""
    tree: dict[str, Any] = {
        k: v for k, v in to_plain_draft(draft).items() if k != "spec" and v not in (None, [], {})
    }
    return canonical(tree)


def to_plain_draft(draft: Draft) -> dict[str, Any]:
    """The draft's parts as plain values; sets sorted, paths as text."""
    return {name: _plain(getattr(draft, name)) for name in Draft.__dataclass_fields__}


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    plain = to_plain(value)
    return {k: _plain(v) for k, v in plain.items()} if isinstance(plain, dict) else plain  # pyright: ignore[reportUnknownVariableType]


def _run(loaded: Loaded, facts: Facts, print_after: Callable[[str, Draft], None]) -> Draft | None:
    if loaded.experiment is None:
        check_loaded(loaded, facts)  # whatever else is wrong is told now, not on the next try
        return None
    draft, context = Draft(spec=loaded.experiment), context_of(loaded, facts)
    for batch in COMPILE:
        for step in batch:
            draft = step(draft, context)
            print_after(step.__name__, draft)
        if loaded.reporter.has_errors:
            return None
    return draft
