"""What this machine is, as far as the system's files say. Imports no jax."""

from __future__ import annotations

from pathlib import Path

_CPU = Path("/proc/cpuinfo")
_GPU = Path("/dev/nvidia0")
_NATIVE = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of processors that multiply bfloat16 themselves: Intel's and AMD's, and Arm's."""


def slow_bfloat16(platform: str) -> str:
    """Why bfloat16 would be slower than float32 where ``platform`` (auto, cpu, gpu) runs; empty if not.

    ``auto`` is a GPU where the driver has made its device. A machine that does not tell is not blamed.
    """
    if platform == "gpu" or (platform == "auto" and _GPU.exists()):
        return ""
    try:
        lines = _CPU.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    flags = next((x.split() for x in lines if x.lower().startswith(("flags", "features"))), None)
    if flags is None or _NATIVE & set(flags):
        return ""
    return "this machine's CPU has no bfloat16 arithmetic (avx512_bf16, amx_bf16), and widens every number"
