"""Carrying out a plan: from nothing, from where an earlier process ended, or not at all when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from specrun.runtime.data.batches import Batches
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.scan import verify_inputs
from specrun.runtime.data.tokenizer import load, verify_tokenizer
from specrun.runtime.data.tokens import Tokens, ensure_tokens
from specrun.runtime.difficulty.scores import ensure_scored
from specrun.runtime.loop import admit as admission
from specrun.runtime.loop import foretold
from specrun.runtime.loop.admit import Admission, admit
from specrun.runtime.loop.best import BestFolder
from specrun.runtime.loop.checkpoint import Checkpoints, Restored
from specrun.runtime.loop.evaluators import evaluator_of
from specrun.runtime.loop.events import EventLog
from specrun.runtime.loop.folder import RunFolder, locked, write_atomic, writing
from specrun.runtime.loop.interrupt import Interrupts
from specrun.runtime.loop.lines import Lines
from specrun.runtime.loop.loop import Loop, device_facts
from specrun.runtime.loop.parameters import write_parameters
from specrun.runtime.loop.position import Standing
from specrun.runtime.loop.progress import OnProgress, Reporter, make_reporter
from specrun.runtime.loop.pseudo import make_writer
from specrun.runtime.loop.quiet import quiet_writers
from specrun.runtime.loop.result import RunResult
from specrun.runtime.mining.miner import make_miner, verify_backend
from specrun.runtime.program import state as states
from specrun.runtime.program.mesh import data_mesh
from specrun.runtime.program.program import Program, build_program
from specrun.runtime.report.card import model_card
from specrun.runtime.report.write import write_report
from specrun.runtime.teacher.embeddings import Teaching, agree, make_teaching
from specrun.runtime.teacher.inspect import verify_teacher
from specrun.runtime.telling import Tell, duration
from specrun.runtime.track.tracker import Tracked, verify_packages
from specrun.spec.diagnostics import SpecrunError
from specrun.spec.plan.file import plan_digest, read_plan, write_plan
from specrun.spec.plan.plan import Plan


def run(
    plan: Plan,
    *,
    extend: bool = False,
    quiet: bool = False,
    on_progress: OnProgress | None = None,
    plan_file: Path | None = None,
) -> RunResult:
    """Carry out ``plan`` in its output_dir, or go on with what is there; the result of a finished run at once.

    ``extend`` allows a longer horizon than the folder's run had. ``on_progress(kind, step, values)``
    hears of every logged step and evaluation. ``plan_file`` is where the plan came from: measurements
    that lie beside it are told in the result. InputError when the plan, its inputs or the folder do
    not fit; RunError when the run fails; Interrupted, a SpecrunError, when it was asked to stop.
    """
    folder = RunFolder(Path(plan.output_dir))
    with locked(folder), closing(_reporter(plan, quiet, on_progress)) as reporter:
        admitted = admit(plan, folder, extend=extend)
        if admitted.result is not None:
            reporter.note(f"the run in {folder.root} is finished")
            _take_over(plan, admitted, folder, reporter)
            if not folder.report.exists():
                _report(folder, reporter)
            return admitted.result
        verify_packages(plan)
        verify_backend(plan)
        verify_inputs(plan.data)
        verify_tokenizer(plan.tokenizer)
        admission.verify_weights(plan)
        verify_teacher(plan)
        try:
            with Interrupts() as interrupts:
                return _carry_out(plan, folder, admitted, reporter, interrupts, plan_file)
        finally:
            if folder.metrics.exists():
                _report(folder, reporter)


def _take_over(plan: Plan, admitted: Admission, folder: RunFolder, reporter: Reporter) -> None:
    """Let a finished run write texts by the new settings: they are used when all else is done."""
    before = admitted.before
    if before is None or before.generation == plan.generation:
        return
    with writing(str(folder.root)):
        write_plan(replace(before, generation=plan.generation), folder.plan)
    reporter.note(f"{folder.plan} has the new settings of generation")


def _reporter(plan: Plan, quiet: bool, on_progress: OnProgress | None) -> Tracked:
    return Tracked(make_reporter(quiet, on_progress), plan.tracking)


def _report(folder: RunFolder, reporter: Reporter) -> None:
    """Write report.html, of a run that ended early too. A run is not lost by a report that cannot be."""
    try:
        write_report(folder.root)
    except (SpecrunError, OSError) as error:
        reporter.note(f"report.html could not be written: {error}")


def main(path: str, *, extend: bool, quiet: bool) -> int:
    """The command ``specrun run``: carry out a plan file and print its result."""
    result = run(read_plan(path), extend=extend, quiet=quiet, plan_file=Path(path))
    if not quiet:
        print(summary(result))
    return 0


def summary(result: RunResult) -> str:
    """A finished run in a few lines."""
    traces = result.traces
    skipped = f", {result.skipped_steps} skipped by stages that ended early"
    ends = f"{skipped if result.skipped_steps else ''}{', stopped early' if result.stopped_early else ''}"
    lines = [f"steps      {result.steps}{ends}"]
    lines += [f"{name:<18} {value:.4f}" for name, value in sorted(result.metrics.items())]
    if best := result.best:
        lines.append(f"best       {best['metric']} {best['value']:.4f} after step {best['step']}")
    lines.append(f"traces     {traces['counted']} counted, {traces['promised']} promised")
    lines += foretold.lines(result.speed, result.foretold)
    if "mining_share" in result.speed:
        seconds, share = result.times.get("mining", 0.0), result.speed["mining_share"]
        lines.append(f"mining     {duration(seconds)}, {share:.1%} of training and mining")
    lines.append(f"time       {duration(result.times['total'])}")
    lines.append(f"folder     {result.folder}")
    lines.append(f"report     {RunFolder(result.folder).report}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Parts:
    """What a plan becomes on this machine, before anything is written to its folder."""

    rows: Rows
    tokens: Tokens
    program: Program
    tokenizer_text: str
    teaching: Teaching | None


def _carry_out(
    plan: Plan,
    folder: RunFolder,
    admitted: Admission,
    reporter: Tracked,
    interrupts: Interrupts,
    plan_file: Path | None,
) -> RunResult:
    begun = time.monotonic()
    parts = _prepare(plan, interrupts, reporter.work)
    interrupts.check()
    keep = plan.checkpoint.keep
    with quiet_writers(), closing(Checkpoints(folder.checkpoints, keep)) as checkpoints:
        restored = _restore(plan, checkpoints)
        standing = restored.standing if restored else Standing()
        if admitted.extended and admitted.before is not None:
            admission.check_done(admitted.before, plan, standing)
        _settle_in(plan, folder, parts)
        for text in restored.damaged if restored else ():
            reporter.note(f"{text}; going on from step {standing.step}")
        state = restored.state if restored else parts.program.init(plan.seed)
        reporter.start(plan, standing.step)
        spent = time.monotonic() - begun
        standing = replace(standing, seconds=_added(standing.seconds, "preparing", spent))
        with _loop(plan, folder, parts, checkpoints, reporter, interrupts, state, standing) as loop:
            loop.train()
            result = _finish(plan, folder, loop, plan_file)
            reporter.finish({"steps": result.steps, "metrics": result.metrics})
            return result


def _prepare(plan: Plan, interrupts: Interrupts, tell: Tell) -> _Parts:
    rows = ensure_scored(plan, tell, interrupts.check)
    tokenizer = load(plan.tokenizer, rows_digest=rows.digest, tell=tell)
    tokens = ensure_tokens(plan.data, plan.tokenizer, tell, plan.model.image_processor)
    teaching = make_teaching(plan, rows, tokens, interrupts.check, tell)
    return _Parts(rows, tokens, build_program(plan), tokenizer.json_text, teaching)


def _restore(plan: Plan, checkpoints: Checkpoints) -> Restored | None:
    mesh = data_mesh(plan)
    return checkpoints.restore(lambda segment: states.abstract_state(plan, mesh, segment))


def _settle_in(plan: Plan, folder: RunFolder, parts: _Parts) -> None:
    """Write what describes the run. An earlier result goes first: it belongs to a shorter plan."""
    with writing(str(folder.root)):
        folder.result.unlink(missing_ok=True)
        write_atomic(folder.tokenizer, parts.tokenizer_text.encode())
        write_plan(plan, folder.plan)


@contextmanager
def _loop(
    plan: Plan,
    folder: RunFolder,
    parts: _Parts,
    checkpoints: Checkpoints,
    reporter: Reporter,
    interrupts: Interrupts,
    state: Any,
    standing: Standing,
) -> Iterator[Loop]:
    """The loop with its files open at where the state knew them, everything later cut off."""
    best = BestFolder(folder)
    with ExitStack() as stack:
        with writing(str(folder.root)):
            best.align(standing.best)
            metrics = stack.enter_context(closing(Lines(folder.metrics, standing.metrics_log)))
            events = stack.enter_context(closing(EventLog(folder.events, standing.event_log)))
            times = stack.enter_context(closing(Lines.at_end(folder.times)))
            if parts.teaching is not None:
                agree(parts.teaching.told, events, standing.step)
        yield Loop(
            plan=plan,
            program=parts.program,
            batches=Batches(plan, parts.tokens, parts.rows, parts.teaching),
            evaluator=evaluator_of(plan, parts.program, parts.rows, parts.tokens),
            checkpoints=checkpoints,
            best=best,
            metrics=metrics,
            events=events,
            times=times,
            reporter=reporter,
            interrupts=interrupts,
            state=state,
            standing=standing,
            held_out=parts.rows.validation,
            miner=make_miner(plan, parts.program, parts.rows, parts.tokens, folder, events),
            writer=make_writer(
                plan, parts.rows, parts.tokens, parts.tokenizer_text, folder, events
            ),
        )


def _finish(plan: Plan, folder: RunFolder, loop: Loop, plan_file: Path | None) -> RunResult:
    """Write final/ and, last, the result."""
    standing = loop.standing
    with writing("final/"):
        parameters = states.parameters_of(loop.state)
        metrics = {**standing.training, **standing.evaluation}
        device = device_facts(loop.state)
        facts = {"step": standing.step, "metrics": metrics, "parameters": "final"}
        card = model_card(plan, {**facts, "device": device})
        facts_of_manifest = {"step": standing.step}
        digest = write_parameters(folder.final, parameters, facts_of_manifest, {"README.md": card})
    counted = standing.traces
    result = RunResult(
        metrics=metrics,
        steps=standing.step - standing.skipped,
        skipped_steps=standing.skipped,
        plan_digest=plan_digest(plan),
        parameters_sha256=digest,
        traces={
            "promised": len(plan.traces),
            "counted": sum(counted.values()),
            "by_name": counted,
        },
        times={**standing.seconds, "total": round(sum(standing.seconds.values()), 3)},
        best=None if standing.best is None else standing.plain()["best"],
        stopped_early=loop.stopped_early,
        device=device,
        speed=loop.speed(),
        foretold=foretold.foretold(plan, plan_file),
        folder=folder.root,
    )
    with writing("result.json"):
        result.write()
    return result


def _added(seconds: dict[str, float], kind: str, more: float) -> dict[str, float]:
    return {**seconds, kind: round(seconds.get(kind, 0.0) + more, 3)}
