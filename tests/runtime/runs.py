"""Runs in this process: compiled functions kept between them, and one that is stopped on its way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import pytest

from specrun.runtime.loop.loop import Loop


@contextmanager
def keeping_compiled(folder: Path) -> Iterator[None]:
    """Every compiled function is kept in ``folder``, however quickly it was compiled."""
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def stop_after(step: int, patch: pytest.MonkeyPatch) -> None:
    """A SIGTERM after a step, while ``patch`` holds: the run saves and ends."""
    original = Loop._step

    def stepped(loop: Loop, batch: object) -> None:
        original(loop, batch)
        if loop.standing.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    patch.setattr(Loop, "_step", stepped)
