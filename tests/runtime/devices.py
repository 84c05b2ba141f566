"""A CPU as several devices, for processes of their own: jax looks at the number once."""

from __future__ import annotations

import os

from tests.runtime.quick import QUICK


def split_into(devices: int) -> dict[str, str]:
    """The environment of a process whose CPU is ``devices`` devices, and which compiles quickly.

    Other flags of XLA stay as they are.
    """
    own = {"xla_force_host_platform_device_count": devices, **QUICK}
    flags = " ".join(f"--{name}={str(value).lower()}" for name, value in own.items())
    both = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    return os.environ | {"XLA_FLAGS": both, "JAX_PLATFORMS": "cpu"}
