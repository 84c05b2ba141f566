"""The public functions: check, compile and run, from Python or from the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specrun.compiler.front import load
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.wiring import RuntimeFacts

if TYPE_CHECKING:
    from specrun.compiler.compile import Compiled
    from specrun.runtime.loop.result import RunResult
    from specrun.spec.plan.plan import Plan

Spec = str | os.PathLike[str]


def check(
    spec: Spec, *, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> tuple[Diagnostic, ...]:
    """Every mistake of a spec, without reading all of its data.

    ``spec`` is a path, or the text itself when it holds a newline. ``overrides`` are ``path=value`` as for
    ``--set``; ``environ`` replaces ``os.environ`` as the source of ``SPECRUN__...`` variables.
    """
    from specrun.compiler.look import check_loaded

    facts = RuntimeFacts()
    loaded = load(spec, overrides=overrides, environ=environ, family_of=facts.model_type)
    return check_loaded(loaded, facts)


def compile(
    spec: Spec, *, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Plan:
    """The plan of a spec. Raises InputError that carries every mistake. Arguments as for ``check``."""
    compiled = compile_spec(spec, overrides=overrides, environ=environ)
    if compiled.plan is None:
        raise InputError(compiled.diagnostics)
    return compiled.plan


def compile_spec(
    spec: Spec,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    print_after: Callable[[str, Any], None] = lambda name, draft: None,
    tell: Callable[[str, int, int], None] = lambda job, done, total: None,
) -> Compiled:
    """As ``compile``, but errors and warnings come back beside the plan; ``tell(job, done, total)`` hears of long jobs."""
    from specrun.compiler.compile import compile_loaded

    facts = RuntimeFacts(tell)
    loaded = load(spec, overrides=overrides, environ=environ, family_of=facts.model_type)
    return compile_loaded(loaded, facts, print_after=print_after)


def run(plan: Plan | Spec, *, extend: bool = False, quiet: bool = True) -> RunResult:
    """Carry out a plan (or continue it), given as a Plan, a path of plan.json, or its text.

    ``extend`` allows a folder's run to go on under a plan with a longer horizon. Raises InputError when the plan,
    its inputs or the output folder do not fit, RunError when the run itself fails.
    """
    from specrun.runtime.loop.run import run as carry_out

    return carry_out(as_plan(plan), extend=extend, quiet=quiet, plan_file=_file_of(plan))


def _file_of(plan: Plan | Spec) -> Path | None:
    """The file that a plan was given as, if it was."""
    text = isinstance(plan, str) and "\n" in plan
    return Path(plan) if isinstance(plan, (str, os.PathLike)) and not text else None


def as_plan(plan: Plan | Spec) -> Plan:
    """A plan from itself, from its text, or from a file."""
    from specrun.spec.plan.file import parse_plan, read_plan
    from specrun.spec.plan.plan import Plan

    if isinstance(plan, Plan):
        return plan
    if isinstance(plan, str) and "\n" in plan:
        return parse_plan(plan)
    return read_plan(plan)
