"""Checkpoints: Orbax writes the arrays in the background, a manifest in the same commit vouches for them.

*Complete* is a step that Orbax lists: it appears by one rename. *Good* is a step whose restored
arrays have the digests that were taken before saving. Orbax alone restores flipped bits silently.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from specrun.runtime.loop import digests
from specrun.runtime.loop.folder import write_failed
from specrun.runtime.loop.position import Standing
from specrun.runtime.trees import flatten
from specrun.spec.diagnostics import RunError

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A good checkpoint, and sentences about newer ones that were damaged and are now removed."""

    state: State
    standing: Standing
    damaged: tuple[str, ...]


class Checkpoints:
    """The checkpoints in ``root``, the newest ``keep`` of them. Holds a background writer until closed.

    What killed saves left is removed at once.
    """

    def __init__(self, root: Path, keep: int):
        self.root = root.absolute()
        remove_temporaries(self.root)
        self._manager = ocp.CheckpointManager(
            self.root,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, save_root_metadata=False, lightweight_initialize=True
            ),
        )
        self._started: int | None = None
        self._told: dict[int, Standing] = {}

    def steps(self) -> list[int]:
        """Complete steps on the disk, oldest first."""
        return sorted(int(p.name) for p in self.root.iterdir() if p.name.isdecimal())

    def save(self, state: State, standing: Standing) -> None:
        """Start writing the state after ``standing.step`` steps; nothing when that step is there.

        Returns when the arrays may be changed. RunError when this or the save before cannot be
        written, or when a leaf is not finite: a bad state is never saved.
        """
        if standing.step in (self._started, *self.steps()):
            return
        if path := digests.first_non_finite(state):
            raise RunError(
                f"NaN or infinity in {path} after step {standing.step}; {self.last_good()}"
            )
        body = {"standing": standing.plain(), "leaves": digests.leaf_digests(state)}
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state), manifest=ocp.args.JsonSave(_sealed(body))
        )
        self._started = standing.step
        self._told[standing.step] = standing
        self._guard(lambda: self._manager.save(standing.step, args=arguments, force=True))

    def wait(self) -> None:
        """Until what was started is on the disk. RunError when it cannot be written."""
        self._guard(self._manager.wait_until_finished)

    def last_good(self) -> str:
        """A clause that names the newest complete checkpoint, for messages."""
        steps = self.steps()
        return f"the last good checkpoint is that of step {steps[-1]}" if steps else _NONE

    def standings(self) -> dict[int, Standing]:
        """What the readable manifests say, by step; each is read once, and none that was written here."""
        steps = self.steps()
        for step in steps:
            if step not in self._told:
                with suppress(_Damaged):
                    self._told[step] = self._manifest(step)[0]
        older = [step for step in self._told if steps and step < steps[0]]
        for step in older:
            del self._told[step]
        return {step: self._told[step] for step in steps if step in self._told}

    def restore(self, abstract: Callable[[int], State]) -> Restored | None:
        """The newest good checkpoint; None when there is none at all.

        ``abstract(segment)`` gives the shapes, dtypes and placement of the state in a segment.
        Damaged steps newer than the good one are removed, since the run writes them again.
        RunError when all are damaged.
        """
        damaged: dict[int, str] = {}
        for step in reversed(self.steps()):
            try:
                state, standing = self._restore(step, abstract)
            except _Damaged as fault:
                damaged[step] = f"the checkpoint of step {step} is damaged: {fault}"
                continue
            for bad in damaged:
                shutil.rmtree(self.root / str(bad))
            self._manager.reload()
            return Restored(state=state, standing=standing, damaged=tuple(damaged.values()))
        if damaged:
            raise RunError(
                "; ".join(damaged.values())
                + f". No good checkpoint is left; remove {self.root} to start from the beginning"
            )
        return None

    def close(self) -> None:
        """Wait for the writer and end it. Never raises: what matters was waited for before."""
        try:
            self._manager.close()
        except Exception:  # a save that failed was reported by ``wait`` or is what ended the run
            return

    def _restore(self, step: int, abstract: Callable[[int], State]) -> tuple[State, Standing]:
        standing, leaves = self._manifest(step)
        target = abstract(standing.segment)
        if faults := _misfits(leaves, target):
            raise _Damaged("; ".join(faults[:5]))
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        state = _attempt(lambda: self._manager.restore(step, args=arguments).state)
        if faults := digests.compare(leaves, digests.leaf_digests(state)):
            raise _Damaged("; ".join(faults[:5]))
        return _owned(state), standing

    def _manifest(self, step: int) -> tuple[Standing, dict[str, digests.LeafDigest]]:
        arguments = ocp.args.Composite(manifest=ocp.args.JsonRestore())
        sealed = _attempt(lambda: self._manager.restore(step, args=arguments).manifest)
        body = _opened(sealed)
        standing = Standing.from_plain(body["standing"])
        if standing.step != step:
            raise _Damaged(f"its manifest is that of step {standing.step}")
        return standing, body["leaves"]

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # Orbax and TensorStore raise many kinds for a failed write
            what = f"the checkpoint of step {self._started}"
            raise write_failed(what, error, self.last_good()) from error


def remove_temporaries(root: Path) -> None:
    """Remove what saves that were killed left in ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for path in root.iterdir():
        if _TEMPORARY.search(path.name):
            shutil.rmtree(path)


_TEMPORARY = re.compile(r"\.orbax-checkpoint-tmp")
_NONE = "there is no checkpoint yet"


class _Damaged(Exception):
    """Why a checkpoint is not good."""


def _sealed(body: Mapping[str, Any]) -> dict[str, str]:
    """The manifest with its own digest, since a flipped bit may hit it as well."""
    text = json.dumps(body, sort_keys=True)
    return {"body": text, "sha256": digests.text_digest(text)}


def _opened(sealed: Any) -> dict[str, Any]:
    if not isinstance(sealed, dict) or not isinstance(sealed.get("body"), str):
        raise _Damaged("its manifest is not readable")
    if digests.text_digest(sealed["body"]) != sealed.get("sha256"):
        raise _Damaged("its manifest does not match its digest")
    return json.loads(sealed["body"])


def _attempt(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # damaged files make Orbax and TensorStore raise many kinds
        lines = str(error).splitlines() or [type(error).__name__]
        raise _Damaged(f"it cannot be read: {lines[0][:200]}") from error


def _misfits(leaves: Mapping[str, digests.LeafDigest], target: State) -> list[str]:
    """How the leaves saved differ from those the plan expects."""
    wanted = {p: (str(x.dtype), list(x.shape)) for p, x in flatten(target).items()}
    saved = {p: (x["dtype"], x["shape"]) for p, x in leaves.items()}
    return [
        f"{path} was saved as {saved.get(path)}, the plan has {wanted.get(path)}"
        for path in sorted(wanted.keys() | saved.keys())
        if wanted.get(path) != saved.get(path)
    ]


def _owned(state: State) -> State:
    """Arrays of jax's own making, which a step may take over; digests have looked at the others."""
    return jax.tree.map(lambda x: jax.device_put(x, x.sharding, may_alias=False), state)
