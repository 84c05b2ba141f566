"""Everything that a run's folder records, read and checked, finished or not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.runtime.loop.events import read_events
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.report.shape import Json, numbers, part
from specrun.runtime.report.worst import checked
from specrun.spec.diagnostics import Diagnostic, InputError, SpecrunError
from specrun.spec.plan.file import read_plan
from specrun.spec.plan.plan import Plan

_MEND = "put the file back, or run the plan again in a new folder"


@dataclass(frozen=True, kw_only=True)
class Record:
    """``metrics`` and ``times`` are rows in the order of the files; ``result`` is None for a run that has not finished.

    ``saved`` is the step of the newest checkpoint. ``worst`` is best/worst.json, and ``best`` best/manifest.json without its leaves; None without
    an evaluation.
    """

    folder: Path
    plan: Plan
    metrics: tuple[Json, ...]
    times: tuple[Json, ...]
    events: tuple[Mapping[str, Any], ...]
    result: Json | None
    best: Json | None
    worst: Json | None
    saved: int

    @property
    def steps(self) -> int:
        """Finished steps as far as the files know."""
        if self.result is not None:
            return int(self.result["steps"])
        return max([self.saved, *(int(row["step"]) for row in self.metrics)])


def read_record(folder: Path) -> Record:
    """Read a run's folder. InputError names every file that is missing or damaged.

    A last line without its end, which a killed process leaves, is passed over.
    """
    files = RunFolder(folder)
    if not files.plan.is_file():
        raise InputError(
            f"{folder} is not the folder of a run: it holds no plan.json",
            code="no-run",
            hint="give the output_dir of a run",
        )
    problems: list[Diagnostic] = []

    def attempt(path: Path, read: Callable[[Path], Any], otherwise: Any) -> Any:
        if not path.exists():
            return otherwise
        try:
            return read(path)
        except InputError as error:
            problems.extend(error.diagnostics)
        except (SpecrunError, OSError, ValueError, RecursionError) as error:
            message = str(error) if str(path) in str(error) else f"{path} is damaged: {error}"
            problems.append(Diagnostic(code="damaged-record", message=message, hint=_MEND))
        return otherwise

    plan = attempt(files.plan, read_plan, None)
    found = Record(
        folder=folder,
        plan=plan,
        metrics=attempt(files.metrics, _metrics, ()),
        times=attempt(files.times, _times, ()),
        events=attempt(files.events, read_events, ()),
        result=attempt(files.result, _result, None),
        best=attempt(files.best / "manifest.json", _best, None),
        worst=attempt(files.best / "worst.json", _worst, None),
        saved=attempt(files.checkpoints, _saved, 0),
    )
    if problems:
        raise InputError(problems)
    return found


def _saved(checkpoints: Path) -> int:
    """The step of the newest checkpoint; 0 without one."""
    return max((int(p.name) for p in checkpoints.iterdir() if p.name.isdecimal()), default=0)


def _lines(path: Path) -> list[tuple[int, Json]]:
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    rows = [(n, _json(line, n)) for n, line in enumerate(whole.splitlines(), start=1)]
    return rows


def _json(line: bytes, number: int) -> Json:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not JSON ({error})") from None
    step = row.get("step") if isinstance(row, dict) else None
    if type(step) is not int or step < 0:
        raise ValueError(f"line {number} names no step")
    return row


def _metrics(path: Path) -> tuple[Json, ...]:
    for number, row in (rows := _lines(path)):
        if row.get("kind") not in ("training", "evaluation"):
            raise ValueError(f"line {number} is neither of training nor of evaluation")
        numbers({k: v for k, v in row.items() if k != "kind"}, f"line {number}")
    return tuple(row for _, row in rows)


def _times(path: Path) -> tuple[Json, ...]:
    for number, row in (rows := _lines(path)):
        numbers({k: v for k, v in row.items() if k != "memory"}, f"line {number}")
    return tuple(row for _, row in rows)


def _result(path: Path) -> Json:
    result = _object(path)
    for name in ("metrics", "times"):
        numbers(part(result, name, dict), name)
    part(result, "steps", int)
    part(result, "device", dict)
    part(result, "traces", dict)
    part(result, "stopped_early", bool)
    if result.get("best") is not None:
        _check_best(part(result, "best", dict))
    return result


def _best(path: Path) -> Json:
    manifest = _object(path)
    _check_best(manifest)
    return {k: v for k, v in manifest.items() if k != "leaves"}


def _check_best(best: Json) -> None:
    part(best, "step", int)
    part(best, "metric", str)
    numbers({"value": best.get("value")}, "best")
    numbers(part(best, "metrics", dict), "metrics")


def _worst(path: Path) -> Json:
    return checked(_object(path))


def _object(path: Path) -> Json:
    value = json.loads(path.read_bytes().decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value
