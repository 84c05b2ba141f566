"""What a finished run leaves in result.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from specrun.runtime.loop.folder import RunFolder, write_json
from specrun.spec.diagnostics import RunError


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The outcome of a run.

    ``metrics``: values at the end, of the last logged step and the last evaluation. ``steps``: steps
    finished; ``skipped_steps``: those of the plan that stages left out which ended early. ``parameters_sha256``: one digest of the final parameters, also in final/manifest.json.
    ``traces``: ``promised`` and ``counted`` training traces, and the most that any process made
    ``by_name``. ``times``: seconds spent, over all processes of the run. ``best``: step, metric,
    value and all metrics of the best evaluation, or None. ``speed``: steps and rows per second on
    average, ``mining_share`` of the time of training and mining where negatives are mined, and ``peak_bytes`` of the ``device``'s or the ``process``'s ``memory``, all of the process that
    finished the run; without rates when that made no step. ``foretold``: what the plan, and XLA where it
    was asked, said of memory and work (``runtime/loop/foretold.py``). ``folder`` and ``was_finished``
    (whether it was finished before) are not written.
    """

    metrics: dict[str, float]
    steps: int
    plan_digest: str
    parameters_sha256: str
    traces: dict[str, Any]
    times: dict[str, float]
    best: dict[str, Any] | None
    stopped_early: bool
    device: dict[str, Any]
    speed: dict[str, Any] = field(default_factory=dict[str, Any], compare=False)
    foretold: dict[str, Any] = field(default_factory=dict[str, Any], compare=False)
    skipped_steps: int = 0
    folder: Path = field(compare=False)
    was_finished: bool = field(default=False, compare=False)

    def write(self) -> None:
        """Write result.json in one move."""
        plain = asdict(self)
        written = {k: v for k, v in plain.items() if k not in _NOT_WRITTEN}
        write_json(RunFolder(self.folder).result, written)

    @classmethod
    def read(cls, folder: RunFolder) -> Self | None:
        """The result of a folder; None when its run is not finished. RunError when it is damaged."""
        if not folder.result.exists():
            return None
        try:
            plain = json.loads(folder.result.read_text("utf-8"))
            return cls(**plain, folder=folder.root, was_finished=True)
        except (OSError, ValueError, TypeError) as error:
            raise RunError(
                f"{folder.result} is damaged: {error}. Remove it and run again: "
                "it is made from the last checkpoint"
            ) from error


_NOT_WRITTEN = ("folder", "was_finished")
