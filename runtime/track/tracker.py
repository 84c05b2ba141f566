"""What a tracker is, which there are, and how a run tells them: one that fails is dropped and the run goes on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from specrun.runtime.loop.progress import Reporter
from specrun.runtime.loop.speed import Speed
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.tracking import TrackerPlan


class Tracker(Protocol):
    """Where metrics go. Any method may raise: the run drops the tracker then.

    ``start``: before the first step of this process, ``step`` being the steps finished earlier.
    ``log``: values after ``step`` finished steps; ``kind`` is ``training`` or ``evaluation``.
    ``finish``: the end, with what result.json holds, or None when the run did not finish.
    """

    def start(self, plan: Plan, step: int) -> None: ...
    def log(self, step: int, kind: str, values: Mapping[str, float]) -> None: ...
    def finish(self, result: Mapping[str, Any] | None) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``package`` is imported only where a plan names the kind; ``extra`` is what installs it."""

    package: str
    extra: str
    home: str


KINDS: Mapping[str, Kind] = {
    "tensorboard": Kind(
        package="tensorboardX", extra="tensorboard", home="specrun.runtime.track.tensorboard"
    ),
    "wandb": Kind(package="wandb", extra="wandb", home="specrun.runtime.track.weights_and_biases"),
}


def verify_packages(plan: Plan) -> None:
    """InputError that names every tracker of the plan whose package is not installed here."""
    missing = [
        Diagnostic(
            code="missing-package",
            path=f"tracking[{index}]",
            message=f"the plan tracks with {tracker.kind}, and {kind.package} is not installed here",
            hint=f"pip install 'specrun[{kind.extra}]', or remove the tracker and compile again",
        )
        for index, tracker in enumerate(plan.tracking)
        if find_spec((kind := KINDS[tracker.kind]).package) is None
    ]
    if missing:
        raise InputError(missing)


def make_tracker(settings: TrackerPlan) -> Tracker:
    """The tracker of a plan's entry. Raises whatever its package raises when it is imported."""
    return importlib.import_module(KINDS[settings.kind].home).make(settings)


class Tracked:
    """A reporter that tells the trackers too. A tracker that raises is named once in a note, then dropped."""

    def __init__(
        self,
        inner: Reporter,
        settings: Sequence[TrackerPlan],
        make: Callable[[TrackerPlan], Tracker] = make_tracker,
    ):
        self._inner, self._settings, self._make = inner, settings, make
        self._living: dict[str, Tracker] = {}

    def start(self, plan: Plan, step: int) -> None:
        self._inner.start(plan, step)
        for settings in self._settings:
            self._guard(settings.kind, lambda s=settings: self._begin(s, plan, step))

    def training(self, step: int, values: Mapping[str, float], speed: Speed) -> None:
        self._inner.training(step, values, speed)
        self._log(step, "training", values)

    def evaluation(self, step: int, values: Mapping[str, float], best: bool) -> None:
        self._inner.evaluation(step, values, best)
        self._log(step, "evaluation", values)

    def work(self, job: str, done: int, total: int) -> None:
        self._inner.work(job, done, total)

    def note(self, text: str) -> None:
        self._inner.note(text)

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Tell every tracker that the run is over; a second call tells nothing."""
        living, self._living = self._living, {}
        for name, tracker in living.items():
            self._guard(name, lambda t=tracker: t.finish(result))

    def close(self) -> None:
        self.finish(None)
        self._inner.close()

    def _begin(self, settings: TrackerPlan, plan: Plan, step: int) -> None:
        tracker = self._make(settings)
        tracker.start(plan, step)
        self._living[settings.kind] = tracker

    def _log(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        for name, tracker in list(self._living.items()):
            self._guard(name, lambda t=tracker: t.log(step, kind, values))

    def _guard(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except (Exception, SystemExit) as error:
            self._living.pop(name, None)
            said = str(error).strip().splitlines()
            why = f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__
            self.note(f"the tracker {name} failed and is dropped; the run goes on ({why})")
