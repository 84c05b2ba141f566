"""Where a run is killed: functions that are patched in the forked child alone, before it runs.

The product has no hooks. Each saboteur makes the process kill itself, by SIGKILL unless it says otherwise, at one
deterministic point.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

SAVE = 20
"""The checkpoint during whose writing the process dies."""


def kill(number: int = signal.SIGKILL) -> None:
    """End this process as the system would, or send it a signal that is handled before this returns.

    A signal to the process may reach any of its threads, late, and two of them may become one.
    """
    if number == signal.SIGKILL:
        os.kill(os.getpid(), number)
    else:
        signal.raise_signal(number)


def before(
    owner: Any, name: str, when: Callable[..., bool], act: Callable[[], None] = kill
) -> None:
    """Make ``owner.name`` act before it does its work, when its arguments say so."""
    original = getattr(owner, name)

    def patched(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            act()
        return original(*args, **kwargs)

    setattr(owner, name, patched)


def after(owner: Any, name: str, when: Callable[..., bool], act: Callable[[], None] = kill) -> None:
    """Make ``owner.name`` act after its work, when its arguments say so."""
    original = getattr(owner, name)

    def patched(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        if when(*args, **kwargs):
            act()
        return found

    setattr(owner, name, patched)


def nth(count: int) -> Callable[..., bool]:
    """True at the ``count``-th call alone."""
    calls = iter(range(1, 1_000_000))
    return lambda *args, **kwargs: next(calls) == count


def _at_save(checkpoints: Any, state: Any, standing: Any) -> bool:
    return standing.step == SAVE


def _in_tokenising() -> None:
    from specrun.runtime.data import tokens

    before(tokens, "_write_ragged", nth(2))


def _in_compiling() -> None:
    """While XLA compiles the training step: it was traced, and no step was made."""
    from specrun.runtime.program import traces

    def soon() -> None:
        threading.Thread(target=lambda: (time.sleep(0.05), kill()), daemon=True).start()

    after(traces.TraceCounter, "train", nth(1), soon)


def _in_evaluation() -> None:
    from specrun.runtime.loop import embed

    before(embed, "padded_length", nth(7))


def _before_entering() -> None:
    from specrun.runtime.program import state

    before(state, "enter", lambda plan, mesh, index, old: index == 1)


def _after_entering() -> None:
    from specrun.runtime.program import state

    after(state, "enter", lambda plan, mesh, index, old: index == 1)


def _at_save_start() -> None:
    from specrun.runtime.loop.checkpoint import Checkpoints

    before(Checkpoints, "save", _at_save)


def _when_save_returns() -> None:
    from specrun.runtime.loop.checkpoint import Checkpoints

    after(Checkpoints, "save", _at_save)


def _soon_after_save() -> None:
    from specrun.runtime.loop.checkpoint import Checkpoints

    after(Checkpoints, "save", _at_save, lambda: (time.sleep(0.01), kill())[0])


def _temporary_path(name: str, *, done: bool) -> None:
    """Around a step of Orbax's commit: making the temporary folder, or renaming it."""
    from orbax.checkpoint._src.path.atomicity import AtomicRenameTemporaryPath as Temporary

    original = getattr(Temporary, name)

    async def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        mine = self.get_final().name == str(SAVE)
        if mine and not done:
            kill()
        found = await original(self, *args, **kwargs)
        if mine and done:
            kill()
        return found

    setattr(Temporary, name, patched)


def _best_written() -> None:
    from specrun.runtime.loop import parameters

    before(parameters, "replace_folder", lambda *args, **kwargs: True)


def _best_not_linked() -> None:
    from specrun.runtime.loop import best

    before(best, "copy_parameters", lambda *args, **kwargs: True)


def _before_result() -> None:
    from specrun.runtime.loop.result import RunResult

    before(RunResult, "write", lambda result: True)


def _after_event() -> None:
    from specrun.runtime.loop.events import EventLog

    after(EventLog, "record", lambda *args, **facts: True)


def _in_mining() -> None:
    """The second time: texts are encoded, the nearest are sought."""
    from specrun.runtime.mining import miner

    before(miner, "nearest", nth(2))


def _after_snapshot() -> None:
    from specrun.runtime.mining import miner

    after(miner, "write_snapshot", nth(2))


def _enter(index: int, *, done: bool) -> None:
    """Around the start of a segment."""
    from specrun.runtime.program import state

    around = after if done else before
    around(state, "enter", lambda plan, mesh, entered, old: entered == index)


def _in_writing() -> None:
    """Texts are made, some of their tokens are filled in."""
    from specrun.runtime.generate import filler

    before(filler, "canvas_of", nth(2))


def _texts_written() -> None:
    from specrun.runtime.loop import pseudo

    after(pseudo, "write", lambda *args: True)


def _after_second_event() -> None:
    from specrun.runtime.loop.events import EventLog

    after(EventLog, "record", nth(2))


def _signal(number: int, step: int) -> None:
    from specrun.runtime.loop.loop import Loop

    after(Loop, "_step", lambda loop, batch: loop.standing.step == step, lambda: kill(number))


def _signal_in_evaluation() -> None:
    from specrun.runtime.loop import embed

    before(embed, "padded_length", nth(7), lambda: kill(signal.SIGTERM))


def _two_signals() -> None:
    _signal(signal.SIGINT, 12)
    _signal(signal.SIGINT, 12)


def _full_disk() -> None:
    """From the checkpoint of ``SAVE`` on no file may grow beyond 1 kB: writes fail as on a full disk."""
    from specrun.runtime.loop.checkpoint import Checkpoints

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    before(Checkpoints, "save", _at_save, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))


SABOTAGE: dict[str, Callable[[], None]] = {
    "tokenising": _in_tokenising,
    "compiling": _in_compiling,
    "evaluating": _in_evaluation,
    "before entering a stage": _before_entering,
    "after entering a stage": _after_entering,
    "save: before it starts": _at_save_start,
    "save: when it returns": _when_save_returns,
    "save: soon after it returned": _soon_after_save,
    "save: temporary folder made": lambda: _temporary_path("create", done=True),
    "save: all written, not renamed": lambda: _temporary_path("finalize", done=False),
    "save: renamed": lambda: _temporary_path("finalize", done=True),
    "best: written, not in its place": _best_written,
    "best: links not made": _best_not_linked,
    "before the result": _before_result,
    "after the early stop's event": _after_event,
    "before the third stage": lambda: _enter(2, done=False),
    "in the third stage": lambda: _enter(2, done=True),
    "writing texts": _in_writing,
    "texts: written, no event": _texts_written,
    "mining": _in_mining,
    "mined: written, no event": _after_snapshot,
    "mined: event written": _after_second_event,
    "SIGINT after step 12": lambda: _signal(signal.SIGINT, 12),
    "SIGTERM after step 15": lambda: _signal(signal.SIGTERM, 15),
    "SIGTERM after step 8": lambda: _signal(signal.SIGTERM, 8),
    "SIGTERM in the evaluation": _signal_in_evaluation,
    "SIGINT twice": _two_signals,
    "full disk": _full_disk,
}
