"""The training loop: steps in the plan's order, and between them what must be written, measured and saved.

After each step, in this order: the evaluation that is due, then the checkpoint that is due. A
checkpoint holds the state *before* the next segment is entered, and says which was entered last.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from specrun.runtime.data.batches import Batches
from specrun.runtime.data.prefetch import prefetch
from specrun.runtime.data.rows import Split
from specrun.runtime.loop.best import BestFolder
from specrun.runtime.loop.checkpoint import Checkpoints
from specrun.runtime.loop.evaluators import Evaluating, Found, candidates_in, worst_json
from specrun.runtime.loop.events import ADVANCE, EARLY_STOP, EventLog
from specrun.runtime.loop.folder import writing
from specrun.runtime.loop.interrupt import Interrupted, Interrupts
from specrun.runtime.loop.lines import Lines
from specrun.runtime.loop.position import Best, Patience, Standing
from specrun.runtime.loop.progress import Reporter
from specrun.runtime.loop.pseudo import Writer
from specrun.runtime.loop.speed import Memory, Pace, Speed, memory_of
from specrun.runtime.loop.watch import NotFinite, Watch
from specrun.runtime.mining.miner import Miner
from specrun.runtime.program.control import control_at, segment_at
from specrun.runtime.program.program import Program
from specrun.runtime.program.state import parameters_of
from specrun.runtime.report.card import model_card
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.evaluation import improves
from specrun.spec.plan.plan import Plan


@dataclass
class Loop:
    """Everything a run holds while it runs. ``state`` and ``standing`` always belong together."""

    plan: Plan
    program: Program
    batches: Batches
    evaluator: Evaluating | None
    checkpoints: Checkpoints
    best: BestFolder
    metrics: Lines
    events: EventLog
    times: Lines
    reporter: Reporter
    interrupts: Interrupts
    state: Any
    standing: Standing
    held_out: Split
    miner: Miner | None = None
    writer: Writer | None = None
    _pace: Pace = field(init=False)
    _watch: Watch = field(init=False)
    _begun: float = field(default_factory=time.monotonic)
    _clock: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        train = self.plan.train
        self._pace = Pace(self.standing.step, train.total_steps)
        self._watch = Watch(
            train.log_every_steps, train.total_steps, self._log_training, self._pace.ready
        )
        self._evaluations = frozenset(self.plan.evaluation.after if self.plan.evaluation else ())
        self._saves = frozenset(self.plan.checkpoint.after)

    def train(self) -> None:
        """Run to the end of the plan, or to an early stop, and save.

        Interrupted once everything is saved. RunError for NaN and infinity, for failed writes, and
        when the device's memory does not suffice.
        """
        try:
            step = self.standing.step
            self._evaluate_if_due()
            if self.standing.step > step:
                self._save()
            self._steps()
            self._save()
            self.checkpoints.wait()
        except Interrupted as stop:
            raise self._saved(stop) from None
        except NotFinite as fault:
            raise self._not_finite(fault) from None
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise self._out_of_memory(error) from error

    @property
    def stopped_early(self) -> bool:
        """Whether an early stop was recorded."""
        return self.events.find(EARLY_STOP) is not None

    def _steps(self) -> None:
        while not self.stopped_early and self.standing.step < self.plan.train.total_steps:
            self.interrupts.check()
            self._stretch(*self._prepared())

    def _prepared(self) -> tuple[Batches, int]:
        """The batches as they hold now, with what depends on the weights, and the step where they end."""
        batches, stop = self._mined()
        writer, step = self.writer, self.standing.step
        if writer is None:
            return batches, stop
        segment = segment_at(self.plan, step)
        stop = min(stop, writer.stop(segment))
        if self.plan.segments[segment].pseudo is None:
            return batches, stop
        known = writer.known(segment, step, batches, self.events)
        return known or self._written(writer, segment, batches), stop

    def _written(self, writer: Writer, segment: int, batches: Batches) -> Batches:
        """The batches with the texts that the model makes now for a segment."""
        self._watch.drain()
        self._count_seconds("training")
        step, check, work = self.standing.step, self.interrupts.check, self.reporter.work
        with self._writing("the texts that the model makes"):
            found, made = writer.make(segment, step, self.state, batches, self.events, check, work)
        left = ", ".join(f"{n:,} left out for {why}" for why, n in sorted(made.left_out.items()))
        lacking = f"; {left}" if left else ""
        stage = self.plan.segments[segment].stage
        self.reporter.note(f"{len(made.texts):,} texts made for stage {stage!r}{lacking}")
        self._count_seconds("writing texts")
        return found

    def _mined(self) -> tuple[Batches, int]:
        """The batches with the negatives that hold now, mined if they are due, and the step where they end."""
        miner, step = self.miner, self.standing.step
        if miner is None:
            return self.batches, self.plan.train.total_steps
        segment = segment_at(self.plan, step)
        if not self.plan.mines_in(segment):
            return self.batches, self.plan.segments[segment].stop_step
        snapshot = miner.known(step, self.events)
        if snapshot is None:
            self._watch.drain()
            self._count_seconds("training")
            with self._writing("the mined negatives"):
                snapshot, mean, none = miner.mine(
                    step, self.state, self.events, self.interrupts.check, self.reporter.work
                )
            lacking = f", {none:,} rows have none" if none else ""
            self.reporter.note(f"mined after step {step}: {mean:.2f} negatives a row{lacking}")
            self._count_seconds("mining")
        return self.batches.under(snapshot), miner.stop(step)

    def _stretch(self, batches: Batches, stop: int) -> None:
        """Steps up to ``stop``, to an early stop, or to where a stage ended early."""
        with closing(prefetch(batches, self.standing.step, stop)) as stream:
            for _, _, batch in stream:
                self._step(batch)
                before = self.standing.step
                self._evaluate_if_due()
                if self.stopped_early:
                    return
                skipped = self.standing.step > before
                if not self._saves.isdisjoint(range(before, self.standing.step + 1)):
                    self._save()
                self.interrupts.check()
                if skipped:
                    return

    def _step(self, batch: Any) -> None:
        step = self.standing.step
        self._enter(segment_at(self.plan, step))
        control = control_at(self.plan, step)
        self.state, metrics = self.program.step(self.state, batch, control)
        self._pace.begin()
        self.standing = replace(self.standing, step=step + 1)
        self._watch.add(step + 1, metrics, {"learning_rate": float(control["learning_rate"])})

    def _enter(self, segment: int) -> None:
        while self.standing.segment < segment:
            index = self.standing.segment + 1
            self.state = self.program.enter(index, self.state)
            self.standing = replace(self.standing, segment=index, waiting=Patience())

    @property
    def memory(self) -> Memory:
        """What the run takes now, on its first device or in this process."""
        return memory_of(min(self.state["step"].devices(), key=lambda device: device.id))

    def speed(self) -> dict[str, Any]:
        """The mean rate of this process's steps and the peak of its memory, for result.json."""
        mean, memory = self._pace.mean(self.standing.step), self.memory
        segment = max(self.standing.segment, 0)
        rates = (
            {}
            if mean is None
            else {
                "steps_per_second": round(mean, 4),
                "rows_per_second": round(mean * rows_per_step(self.plan, segment), 2),
            }
        )
        if self.miner is not None:
            spent = self.standing.seconds.get("mining", 0.0)
            both = spent + self.standing.seconds.get("training", 0.0)
            rates["mining_share"] = round(spent / both, 4) if both else 0.0
        return {**rates, "memory": memory.kind, "peak_bytes": memory.peak_bytes}

    def _log_training(self, step: int, values: dict[str, float]) -> None:
        rows = rows_per_step(self.plan, segment_at(self.plan, step - 1))
        speed = self._pace.at(rows, self.memory)
        with self._writing(str(self.metrics.path)):
            self.metrics.append({"kind": "training", "step": step, **values})
            self.times.append(self._timed(step, speed))
        self.standing = replace(self.standing, training=values)
        self.reporter.training(step, values, speed)

    def _timed(self, step: int, speed: Speed) -> dict[str, Any]:
        return {
            "step": step,
            "seconds": round(time.monotonic() - self._begun, 3),
            "steps_per_second": round(speed.steps_per_second, 4),
            "rows_per_second": round(speed.rows_per_second, 2),
            "memory": speed.memory.kind,
            "bytes": speed.memory.bytes,
        }

    def _evaluate_if_due(self) -> None:
        step = self.standing.step
        if step not in self._evaluations or self.standing.evaluated >= step:
            return
        assert self.evaluator is not None
        self._watch.drain()
        self._count_seconds("training")
        measured = self.evaluator.measure(self.state, self.interrupts.check, self.reporter.work)
        values = measured.values
        with self._writing(str(self.metrics.path)):
            self.metrics.append({"kind": "evaluation", "step": step, **values})
        self.standing = replace(self.standing, evaluated=step, evaluation=values)
        self._judge(step, values, measured)
        if not self.stopped_early:
            self._advance_if_due(step, values)
        self._count_seconds("evaluation")

    def _judge(self, step: int, values: dict[str, float], measured: Found) -> None:
        """Keep the best, and stop early when the plan's patience has run out."""
        policy = self.plan.evaluation
        assert policy is not None
        metric, value = policy.select_best, values[policy.select_best]
        best = self.standing.best
        better = best is None or improves(metric, value, best.value)
        self.reporter.evaluation(step, values, better)
        if better:
            best = Best(step=step, metric=metric, value=value, metrics=values)
            with self._writing("best/"):
                self.best.publish(best, parameters_of(self.state), self._texts(best, measured))
            self.standing = replace(self.standing, best=best)
        if (rule := policy.early_stopping) is None:
            return
        patience = self.standing.patience.after(metric, value, rule)
        self.standing = replace(self.standing, patience=patience)
        if patience.without_improvement >= rule.patience and step < self.plan.train.total_steps:
            with self._writing(str(self.metrics.path)):
                self.events.record(EARLY_STOP, step, metric=metric, value=value)
            self.reporter.note(f"stopped early after step {step}: {metric} no longer improves")

    def _advance_if_due(self, step: int, values: dict[str, float]) -> None:
        """End the segment when its own patience has run out: what is left of it is skipped.

        The steps skipped count as if they had been made, so that learning rates, batches and dropout
        keys of later segments are those of the plan. An evaluation is made once, before them.
        """
        index = self.standing.segment
        rule = self.plan.segments[index].advance if index >= 0 else None
        if rule is None:
            return
        waiting = self.standing.waiting.after(rule.metric, values[rule.metric], rule)
        self.standing = replace(self.standing, waiting=waiting)
        stop = self.plan.segments[index].stop_step
        if waiting.without_improvement < rule.patience or step == stop:
            return
        facts = {"stage": self.plan.segments[index].stage, "to": stop, "skipped": stop - step}
        with self._writing(str(self.metrics.path)):
            self.events.record(
                ADVANCE, step, metric=rule.metric, value=values[rule.metric], **facts
            )
        self.standing = replace(
            self.standing,
            step=stop,
            evaluated=stop,
            ended=index,
            skipped=self.standing.skipped + stop - step,
            patience=Patience(),
        )
        self._pace.skip(stop - step)
        self.reporter.note(
            f"stage {facts['stage']!r} ended after step {step}: {rule.metric} no longer improves; "
            f"{stop - step:,} steps skipped, going on with step {stop + 1}"
        )

    def _texts(self, best: Best, measured: Found) -> dict[str, str]:
        """What lies beside the best parameters: the model card, and the queries that fared worst."""
        facts = {"step": best.step, "metrics": best.metrics, "parameters": "best"}
        return {
            "README.md": model_card(
                self.plan,
                {
                    **facts,
                    "device": device_facts(self.state),
                    "candidates": candidates_in(measured),
                },
            ),
            "worst.json": worst_json(measured, self.held_out, best.step),
        }

    def _save(self) -> None:
        """Start a checkpoint of the state as it stands. NotFinite when a step before it went wrong."""
        self._watch.drain()
        self._count_seconds("training")
        counted = self.program.traces()
        names = counted.keys() | self.standing.traces.keys()
        traces = {n: max(counted.get(n, 0), self.standing.traces.get(n, 0)) for n in sorted(names)}
        with self._writing("metrics.jsonl and events.jsonl"):
            self.standing = replace(
                self.standing,
                traces=traces,
                metrics_log=self.metrics.settle(),
                event_log=self.events.settle(),
            )
        self.checkpoints.save(self.state, self.standing)
        self._prune_best()
        self._count_seconds("saving")

    def _prune_best(self) -> None:
        if self.best.count() > 1:
            known = [self.standing, *self.checkpoints.standings().values()]
            self.best.prune({s.best.step for s in known if s.best is not None})

    def _saved(self, stop: Interrupted) -> Interrupted:
        """Save what is done, and say so."""
        step = self.standing.step
        if step:
            self.reporter.note(f"{stop.signal.name}: saving after step {step}")
            self._save()
            self.checkpoints.wait()
        done = f"everything is saved after step {step}" if step else "no step was made yet"
        return Interrupted(
            stop.signal, f"stopped by {stop.signal.name}; {done}; run again to go on"
        )

    def _not_finite(self, fault: NotFinite) -> RunError:
        with suppress(RunError):  # a checkpoint that cannot be written is not the last good one
            self.checkpoints.wait()
        return RunError(
            f"{fault.metric} became {fault.value} at step {fault.step}; {self.checkpoints.last_good()}. "
            "Lower optimizer.learning_rate, lengthen the warm-up or set optimizer.max_grad_norm, "
            "and run in another output_dir"
        )

    def _out_of_memory(self, error: Exception) -> RunError:
        first = str(error).splitlines()[0][:200]
        return RunError(
            f"the device's memory does not suffice for step {self.standing.step + 1}: {first}. "
            f"Lower train.micro_batch_size or set train.gradient_checkpointing, which change no "
            f"result, compile and run again; {self.checkpoints.last_good()}"
        )

    def _writing(self, what: str) -> AbstractContextManager[None]:
        return writing(what, self.checkpoints.last_good)

    def _count_seconds(self, kind: str) -> None:
        now, began = time.monotonic(), self._clock
        seconds: Mapping[str, float] = self.standing.seconds
        spent = seconds.get(kind, 0.0) + now - self._clock
        self._clock = now
        if kind != "training":
            self._pace.spent(now - began)
        self.standing = replace(self.standing, seconds={**seconds, kind: round(spent, 3)})


def rows_per_step(plan: Plan, index: int) -> float:
    """Rows of a step of a segment on average: the last batch of an epoch may be short."""
    segment, train = plan.segments[index], plan.train
    whole = train.batch_size * train.accumulation_steps
    return min(float(whole), segment.rows / segment.steps_per_epoch)


def device_facts(state: Any) -> dict[str, Any]:
    """Platform, kind and number of the devices that a state lies on."""
    devices = sorted(state["step"].devices(), key=lambda device: device.id)
    return {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)}
