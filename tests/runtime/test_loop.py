"""The loop's small parts: late metrics, patience, signals."""

from __future__ import annotations

import os
import signal
import threading

import jax.numpy as jnp
import pytest

from specrun.runtime.loop.interrupt import Interrupted, Interrupts
from specrun.runtime.loop.position import Best, Patience, Standing
from specrun.runtime.loop.watch import LAG, NotFinite, Watch
from specrun.spec.plan.evaluation import EarlyStoppingPlan


def metrics(loss: float = 1.0, norm: float = 2.0) -> dict[str, object]:
    return {"loss": jnp.float32(loss), "grad_norm": jnp.float32(norm)}


def watched(every: int, last: int) -> tuple[Watch, list[tuple[int, dict[str, float]]]]:
    rows: list[tuple[int, dict[str, float]]] = []
    write = lambda step, values: rows.append((step, values))  # noqa: E731
    return Watch(every, last, write, lambda step: None), rows


class Late:
    """A metric that is there once ``done`` says so."""

    def __init__(self, step: int, done: list[int]):
        self.step, self.done = step, done

    def is_ready(self) -> bool:
        return self.step <= self.done[0]

    def block_until_ready(self) -> Late:
        self.done[0] = max(self.done[0], self.step)
        return self

    def __float__(self) -> float:
        assert self.is_ready()
        return float(self.step)


@pytest.mark.parametrize("ahead", [0, 3])
def test_steps_are_told_to_be_ready_once_they_are_and_before_they_are_written(ahead: int):
    """No step is waited for that is not due, and those that are done by then count too."""
    done, told = [LAG + ahead if ahead else 0], []
    watch = Watch(
        1, 1000, lambda step, _: told.append(("wrote", step)), lambda s: told.append(("ready", s))
    )
    for step in range(1, 2 * LAG + 1):
        watch.add(step, {"loss": Late(step, done)}, {})
    assert told[0] == ("ready", LAG + ahead)
    assert told[1:] == [("wrote", step) for step in range(1, LAG + 1)]
    assert done == [LAG + ahead]
    watch.drain()
    assert told[LAG + 1] == ("ready", 2 * LAG)
    assert len(told) == 2 * LAG + 2
    watch.drain()
    assert len(told) == 2 * LAG + 2


def test_every_nth_step_and_the_last_are_written_in_order():
    watch, rows = watched(every=4, last=10)
    for step in range(1, 11):
        watch.add(step, metrics(loss=step), {"learning_rate": 0.5})
    watch.drain()
    assert [step for step, _ in rows] == [4, 8, 10]
    assert rows[0][1] == {"loss": 4.0, "grad_norm": 2.0, "learning_rate": 0.5}


def test_metrics_of_the_newest_steps_are_not_fetched():
    watch, rows = watched(every=1, last=1000)
    for step in range(1, 2 * LAG):
        watch.add(step, metrics(), {})
    assert rows == []
    watch.add(2 * LAG, metrics(), {})
    assert [step for step, _ in rows] == list(range(1, LAG + 1))


def test_slow_steps_leave_one_outstanding(monkeypatch: pytest.MonkeyPatch):
    """So that a signal waits for one step, not for sixteen."""
    monkeypatch.setattr("specrun.runtime.loop.watch.SLOW_SECONDS", 0.0)
    watch, rows = watched(every=1, last=1000)
    for step in range(1, 2 * LAG + 1):
        watch.add(step, metrics(), {})
    assert [step for step, _ in rows] == list(range(1, LAG + 1))
    watch.add(2 * LAG + 1, metrics(), {})
    assert [step for step, _ in rows] == list(range(1, 2 * LAG + 1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("metric", ["loss", "grad_norm"])
def test_the_first_step_that_is_not_finite_is_named_though_it_is_not_logged(
    metric: str, value: float
):
    watch, rows = watched(every=5, last=100)
    for step in range(1, 9):
        bad = step >= 7
        watch.add(step, metrics() | ({metric: jnp.float32(value)} if bad else {}), {})
    with pytest.raises(NotFinite) as error:
        watch.drain()
    assert (error.value.step, error.value.metric) == (7, metric)
    assert [step for step, _ in rows] == [5]


@pytest.mark.parametrize(("metric", "sign"), [("mrr@10", 1), ("loss", -1)])
def test_patience_counts_evaluations_that_do_not_beat_the_reference_by_min_delta(metric, sign):
    """A loss is better when it falls."""
    rule = EarlyStoppingPlan(patience=2, min_delta=0.1)
    patience = Patience()
    counts = []
    for value in (0.5, 0.55, 0.6, 0.61, 0.62, 0.75):
        patience = patience.after(metric, sign * value, rule)
        counts.append(patience.without_improvement)
    assert counts == [0, 1, 2, 0, 1, 0]
    assert patience.reference == sign * 0.75


def test_a_standing_comes_back_from_json():
    best = Best(step=3, metric="mrr@10", value=0.1 + 0.2, metrics={"mrr@10": 0.1 + 0.2})
    standing = Standing(step=4, segment=1, best=best, patience=Patience(reference=1 / 3))
    assert Standing.from_plain(standing.plain()) == standing
    assert Standing.from_plain(Standing().plain()) == Standing()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_raised_when_asked(number: signal.Signals, code: int):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        interrupts.check()
        os.kill(os.getpid(), number)
        assert interrupts.received == number
        with pytest.raises(Interrupted) as error:
            interrupts.check()
    assert error.value.exit_code == code
    assert signal.getsignal(number) is before


def test_a_second_interrupt_is_not_held_back():
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # in the background it is ignored
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert interrupts.received == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter() -> None:
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
