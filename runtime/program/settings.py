"""How functions are compiled for this plan on this machine, and on which devices they run."""

from __future__ import annotations

from typing import Any

import jax

from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.training import HardwarePlan

_DETERMINISTIC = {"xla_gpu_deterministic_ops": True}
"""Excludes kernels whose result varies, and the autotuning that may choose others another time."""


def executable_settings(plan: Plan) -> dict[str, Any]:
    """What is set when this plan's functions are compiled here.

    ``platform`` (cpu or gpu), ``devices`` (their number), ``matmul_precision`` (jax's word), and
    ``compiler_options`` (XLA's, by name). InputError when the machine lacks the devices.
    """
    platform = choose_platform(plan.hardware)
    return {
        "platform": platform,
        "devices": len(choose_devices(plan.hardware)),
        "matmul_precision": plan.precision.matmul,
        "compiler_options": compiler_options(plan.hardware, platform),
    }


def compiler_options(hardware: HardwarePlan, platform: str) -> dict[str, bool]:
    """XLA options by name. A CPU needs none: its kernels do not vary from run to run."""
    return dict(_DETERMINISTIC) if platform == "gpu" and hardware.deterministic else {}


def choose_platform(hardware: HardwarePlan) -> str:
    """``cpu`` or ``gpu``; ``auto`` is a GPU where jax sees one. InputError when it is not there."""
    if hardware.platform == "auto":
        return "gpu" if _devices("gpu") else "cpu"
    if not _devices(hardware.platform):
        raise _missing(
            f"the plan asks for a {hardware.platform.upper()}, and jax sees none",
            "install the extra cuda12 or cuda13 and check the driver, or set hardware.platform "
            "to auto or cpu",
        )
    return hardware.platform


def choose_devices(hardware: HardwarePlan) -> list[jax.Device]:
    """The first ``hardware.devices`` devices of the platform. InputError when there are fewer."""
    platform = choose_platform(hardware)
    found = _devices(platform)
    if len(found) < hardware.devices:
        raise _missing(
            f"the plan asks for {hardware.devices} devices, and jax sees {len(found)} "
            f"of the kind {platform}",
            "set hardware.devices to what there is: batches do not depend on it"
            + (
                "; XLA_FLAGS=--xla_force_host_platform_device_count=N splits a CPU"
                if platform == "cpu"
                else ""
            ),
        )
    return found[: hardware.devices]


def _devices(platform: str) -> list[jax.Device]:
    try:
        return jax.devices(platform)
    except RuntimeError:  # jax's answer for a platform that is not there
        return []


def _missing(message: str, hint: str) -> InputError:
    return InputError([Diagnostic(code="hardware", message=message, path="hardware", hint=hint)])
