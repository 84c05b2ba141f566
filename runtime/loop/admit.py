"""Whether a plan may run in a folder: what is refused, and what may differ from the plan before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from specrun.runtime.adapters.start import verify_adapter
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.position import Standing
from specrun.runtime.loop.result import RunResult
from specrun.runtime.models.start import changed
from specrun.runtime.weights.files import digest
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.file import Difference, differences, read_plan
from specrun.spec.plan.plan import Plan

SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Admission:
    """``before`` is the folder's plan, None for a new folder; ``result`` what is finished already."""

    before: Plan | None
    result: RunResult | None
    extended: bool = False


def admit(plan: Plan, folder: RunFolder, *, extend: bool) -> Admission:
    """Compare ``plan`` with the folder's. InputError when it is another run's, or needs ``extend``."""
    if not folder.plan.exists():
        if folder.holds_a_run():
            raise InputError(
                f"{folder.root} holds files of a run, but no plan.json",
                code="foreign-folder",
                hint="give another output_dir, or remove the folder",
            )
        return Admission(before=None, result=None)
    before = read_plan(folder.plan)
    found = differences(before, plan)
    _refuse([d for d in found if d.klass == "semantic"], folder.root)
    result = RunResult.read(folder)
    if not any(d.klass == "horizon" for d in found):
        return Admission(before=before, result=result)
    _check_horizon(before, plan, found, folder.root, extend)
    if result is not None and result.stopped_early:
        raise InputError(
            f"the run in {folder.root} stopped early after step "
            f"{result.steps + result.skipped_steps}; "
            "a longer horizon cannot change that",
            code="stopped-early",
            hint="give another output_dir, with another evaluation.early_stopping",
        )
    return Admission(before=before, result=None, extended=True)


def check_done(before: Plan, after: Plan, standing: Standing) -> None:
    """InputError when the steps already done would have been others under the longer plan."""
    for i in range(standing.segment + 1):
        old, new = before.segments[i], after.segments[i]
        done = i < standing.segment or i == standing.ended
        same = old.first_step == new.first_step and (old.stop_step == new.stop_step or not done)
        if not same or (not done and new.stop_step < standing.step):
            raise InputError(
                f"stage {old.stage!r} already ran from step {old.first_step} to "
                f"{min(old.stop_step, standing.step)}, but the longer plan has it from "
                f"{new.first_step} to {new.stop_step}",
                code="other-past",
                hint="extend the last stage only, or give another output_dir",
            )


def verify_weights(plan: Plan) -> None:
    """InputError naming every weights file that is gone or differs from what the plan was made from.

    So too for the parameters of the run that ``init_from`` names, and for the adapter of ``lora.init_from``.
    """
    if plan.model.lora is not None and plan.model.lora.init_from is not None:
        verify_adapter(plan.model.lora.init_from)
    start = plan.model.init_from
    if start is not None and _now(Path(start.file.path)) != start.file.digest:
        raise changed(start)
    files = plan.model.weights.files if plan.model.weights else ()
    faults = [f for f in files if _now(Path(f.path)) != f.digest]
    if faults:
        raise InputError(
            Diagnostic(
                code="input-changed",
                message=f"the weights file {f.path} changed after the plan was compiled",
                path="model",
                hint="compile the spec again, or restore the file",
            )
            for f in faults
        )


def _now(path: Path) -> str | None:
    try:
        return digest(path, "weights").digest
    except OSError:
        return None


def _refuse(found: Iterable[Difference], root: Path) -> None:
    found = list(found)
    if not found:
        return
    raise InputError(
        f"{root} holds another plan's run, which differs in {_listed(found)}",
        code="other-run",
        hint="give this plan another output_dir, or remove the folder",
    )


def _check_horizon(
    before: Plan, after: Plan, found: Iterable[Difference], root: Path, extend: bool
) -> None:
    changed = [d for d in found if d.klass == "horizon"]
    if after.train.total_steps <= before.train.total_steps:
        raise InputError(
            f"{root} holds a run of {before.train.total_steps} steps; this plan has "
            f"{after.train.total_steps} and differs in {_listed(changed)}",
            code="other-horizon",
            hint="only a longer horizon can go on with a run; give another output_dir",
        )
    if not extend:
        raise InputError(
            f"{root} holds a run of {before.train.total_steps} steps, this plan has "
            f"{after.train.total_steps}; it differs in {_listed(changed)}",
            code="longer-horizon",
            hint="--extend (extend=True) goes on with the longer horizon",
        )


def _listed(found: Iterable[Difference]) -> str:
    named = [f"{d.path} ({_short(d.left)} → {_short(d.right)})" for d in found]
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return ", ".join(named[:SHOWN]) + more


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
