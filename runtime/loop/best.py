"""The best parameters so far: published in best/, with the versions that living checkpoints refer to.

A checkpoint may be older than best/. Going back to it, the run needs the best of that time, so a
version is kept in .best/<step>/ for as long as a checkpoint names it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.parameters import (
    copy_parameters,
    is_good,
    read_manifest,
    write_parameters,
)
from specrun.runtime.loop.position import Best
from specrun.spec.diagnostics import RunError


class BestFolder:
    """best/ and its versions."""

    def __init__(self, folder: RunFolder):
        self._folder = folder

    def publish(self, best: Best, parameters: Mapping[str, Any], texts: Mapping[str, str]) -> None:
        """Write a new version, ``texts`` by file name beside it, and put it in the place of best/."""
        version = self._folder.best_versions / str(best.step)
        own = {"step": best.step, "metric": best.metric, "value": best.value}
        write_parameters(version, parameters, {**own, "metrics": best.metrics}, texts)
        copy_parameters(version, self._folder.best)

    def align(self, best: Best | None) -> None:
        """Make best/ what a checkpoint knew. RunError when those parameters are gone or damaged."""
        published = self._folder.best
        if best is None:
            shutil.rmtree(published, ignore_errors=True)
            return
        if (read_manifest(published) or {}).get("step") == best.step and is_good(published):
            return
        version = self._folder.best_versions / str(best.step)
        if not is_good(version):
            raise RunError(
                f"the best parameters, those of step {best.step}, are damaged in {published} and "
                f"in {version}; put them back, or remove the run's folder and start again"
            )
        copy_parameters(version, published)

    def count(self) -> int:
        """How many versions there are."""
        return sum(1 for _ in self._versions())

    def prune(self, needed: set[int]) -> None:
        """Remove the versions of all other steps."""
        for path in self._versions():
            if not path.name.isdecimal() or int(path.name) not in needed:
                shutil.rmtree(path)

    def _versions(self) -> Any:
        versions = self._folder.best_versions
        return list(versions.iterdir()) if versions.is_dir() else []
