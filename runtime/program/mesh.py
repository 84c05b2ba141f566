"""Data parallelism: one axis of devices, the rows of a batch split over it, the rest replicated.

Losses and gradients are those of the global batch, because sums of sharded arrays under ``jit``
are global: no collective is written by hand.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from specrun.runtime.program.settings import choose_devices
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.plan import Plan

AXIS = "data"


def data_mesh(plan: Plan) -> Mesh:
    """The plan's devices in one axis. InputError when they are missing or do not divide the rows.

    ``Auto`` is said because ``make_mesh`` otherwise makes explicit axes, under which a plain
    embedding lookup fails.
    """
    _check_division(plan)
    devices = choose_devices(plan.hardware)
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def over_rows(mesh: Mesh) -> NamedSharding:
    """Arrays [A, B, ...] of a batch with B split over the devices."""
    return NamedSharding(mesh, PartitionSpec(None, AXIS))


def first_axis(mesh: Mesh, rows: int) -> NamedSharding:
    """Arrays [rows, ...] split over the devices where they divide the rows, else replicated."""
    divides = rows % mesh.size == 0
    return NamedSharding(mesh, PartitionSpec(AXIS)) if divides else replicated(mesh)


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """The batch on the devices, its rows split over them. Does not wait for the transfer."""
    return jax.device_put(batch, over_rows(mesh))


def place_state(state: Any, mesh: Mesh) -> Any:
    """Own copies on every device, so that a step may take them over."""
    return jax.device_put(state, replicated(mesh), may_alias=False)


def _check_division(plan: Plan) -> None:
    train, devices = plan.train, plan.hardware.devices
    found = []
    if train.batch_size % train.micro_batch_size:
        found.append(
            f"train.micro_batch_size {train.micro_batch_size} does not divide "
            f"train.batch_size {train.batch_size}"
        )
    for name in ("batch_size", "micro_batch_size"):
        if getattr(train, name) % devices:
            found.append(
                f"hardware.devices {devices} does not divide train.{name} {getattr(train, name)}"
            )
    if found:
        raise InputError([Diagnostic(code="batch-shape", message=message) for message in found])
