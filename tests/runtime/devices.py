"""A CPU as several devices, for processes of their own: jax looks at the number once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.runtime.quick import QUICK


def split_into(devices: int) -> dict[str, str]:
    """The environment of a process whose CPU is ``devices`` devices, and which compiles quickly.

    Other flags of XLA stay as they are.
    """
    own = {"xla_force_host_platform_device_count": devices, **QUICK}
    flags = " ".join(f"--{name}={str(value).lower()}" for name, value in own.items())
    both = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    return os.environ | {"XLA_FLAGS": both, "JAX_PLATFORMS": "cpu"}


def run_split(script: str, devices: int, *arguments: str) -> str:
    """What a script prints in a process whose CPU is ``devices`` devices, and which must end well."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[2],
        env=split_into(devices),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
