"""XLA's own figures for a plan on this machine: every function compiled ahead of time, nothing allocated or run.

They stand beside the plan in ``NAME.measured.json``, next to the plan's arithmetic. On a CPU XLA's own
``peak_memory_in_bytes`` leaves temporaries out, so the peak here is arguments + outputs − aliases + temporaries + code,
which is what the executable asks for at once. Its count of operations takes the body of a loop once; ``flops`` adds
the other turns (see ``runtime/flops.py``), and ``bytes_accessed`` keeps XLA's count.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp

from specrun.runtime.data.batches import Batch
from specrun.runtime.data.content import Both
from specrun.runtime.flops import missed
from specrun.runtime.loop.embed import padded_length
from specrun.runtime.loop.folder import write_json
from specrun.runtime.program import mesh as meshes
from specrun.runtime.program import state as states
from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import Program, build_program
from specrun.runtime.program.settings import executable_settings
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import modality, texts_only
from specrun.spec.plan.file import plan_digest
from specrun.spec.plan.losses import by_text, teacher_of
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.segments import Trace
from specrun.spec.plan.sides import SIDES, Side

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One function as XLA compiled it; bytes are those on each device.

    ``role`` is ``train`` or ``encode``. ``waiting_bytes`` is state that is no argument and stays on the device: the
    optimizer's, while held-out rows are encoded. ``estimate`` holds the plan's arithmetic, ``ratio`` that over XLA's.
    """

    name: str
    role: str
    shape: dict[str, int]
    waiting_bytes: int
    argument_bytes: int
    output_bytes: int
    temporary_bytes: int
    alias_bytes: int
    code_bytes: int
    peak_bytes: int
    xla_peak_bytes: int
    flops: int
    flops_loops_once: int
    bytes_accessed: int
    compile_seconds: float
    estimate: dict[str, int] = field(default_factory=dict[str, int])
    ratio: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What ``--measure`` found: for which plan, on which machine, for every function."""

    format: int
    plan_digest: str
    machine: dict[str, Any]
    peak_bytes: int
    functions: tuple[Figures, ...]

    @property
    def worst(self) -> Figures:
        """The function that needs the most memory."""
        return max(self.functions, key=lambda f: f.peak_bytes)

    def write(self, path: Path) -> None:
        """Write the file in one move. InputError when it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, asdict(self))
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}", code="unwritable") from error

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The measurements in a file; None when there is none. InputError when it is damaged."""
        try:
            plain = json.loads(path.read_text("utf-8"))
            functions = tuple(Figures(**figures) for figures in plain.pop("functions"))
            return cls(**plain, functions=functions)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path} is damaged: {type(error).__name__}: {error}",
                code="bad-measurements",
                hint="remove it, or compile with --measure again",
            ) from error


def measured_path(plan: str | os.PathLike[str]) -> Path:
    """Where the measurements of a plan's file lie: ``plan.json`` has ``plan.measured.json``."""
    path = Path(plan)
    return path.with_name(f"{path.name.removesuffix('.json')}.measured.json")


def measure(plan: Plan) -> Measured:
    """Compile every training trace, and the evaluation's longest encodings. Seconds to minutes.

    InputError when the machine lacks the devices that the plan names.
    """
    program = build_program(plan)
    functions = [_train(plan, program, trace) for trace in plan.traces]
    functions += _encodings(plan, program)
    return Measured(
        format=FORMAT,
        plan_digest=plan_digest(plan),
        machine=machine(plan),
        peak_bytes=max(f.peak_bytes for f in functions),
        functions=tuple(functions),
    )


def lines(measured: Measured) -> list[str]:
    """The figures in a few lines, next to the arithmetic."""
    found = measured.machine
    head = f"XLA        {found['platform']} ({found['kind']}), {found['count']} device"
    told = [head + ("" if found["count"] == 1 else "s") + f", jaxlib {found['jaxlib']}"]
    for f in measured.functions:
        more = ""
        if f.ratio:
            ratios = " and ".join(
                f"{ratio:.2f}" for _, ratio in sorted(f.ratio.items(), reverse=True)
            )
            more = f"; the arithmetic is {ratios} of that"
        peak = f"{f.peak_bytes / 2**20:.1f} MiB, {f.flops:.3g} FLOP"
        told.append(f"           {f.name}: {peak}{more}; compiled in {f.compile_seconds:.1f} s")
    return told


def machine(plan: Plan) -> dict[str, Any]:
    """What the figures hold for: the devices the plan runs on, the versions, the settings of the compiler."""
    device = meshes.data_mesh(plan).devices.flat[0]
    settings = executable_settings(plan)
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": plan.hardware.devices,
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "matmul_precision": settings["matmul_precision"],
        "compiler_options": settings["compiler_options"],
    }


def _train(plan: Plan, program: Program, trace: Trace) -> Figures:
    segment = trace.segments[0]
    state = states.abstract_state(plan, meshes.data_mesh(plan), segment)
    control = control_at(plan, plan.segments[segment].first_step)
    lengths = {"query": trace.query_length, "positive": trace.positive_length}
    traced = program.step.trace(state, abstract_batch(plan, trace), control)
    shape = {"rows": plan.train.batch_size, "passes": plan.train.accumulation_steps, **lengths}
    return _figures(trace.name, "train", shape, traced, 0, _estimate(plan, trace.name))


def _encodings(plan: Plan, program: Program) -> list[Figures]:
    """The evaluation's encoder at the padded lengths of the longest queries and positives."""
    if plan.evaluation is None:
        return []
    mesh = meshes.data_mesh(plan)
    state = states.abstract_state(plan, mesh, 0)
    rows = plan.evaluation.batch_size
    where = meshes.first_axis(mesh, rows)
    limits = (plan.data.max_query_length, plan.data.max_positive_length)
    sides: dict[int, Side] = {
        padded_length(limit, limit): side
        for limit, side in zip(limits, SIDES, strict=True)
        if limit  # rows that are texts have one side
    }
    waiting = _waiting(plan, mesh)
    found: list[Figures] = []
    for length, side in sorted(sides.items()):
        ids = _content(
            plan, side, length, lambda t, *n: jax.ShapeDtypeStruct((rows, *n), t, sharding=where)
        )
        mask = jax.ShapeDtypeStruct((rows, length), jnp.bool_, sharding=where)
        traced = program.encode.trace(state, ids, mask, side)
        shape = {"rows": rows, "length": length}
        longest = length == max(limits)
        estimate = {"peak_bytes": plan.cost.evaluation_bytes} if longest else {}
        found.append(_figures(f"encode-{length}", "encode", shape, traced, waiting, estimate))
    return found


def _waiting(plan: Plan, mesh: jax.sharding.Mesh) -> int:
    """Bytes of the optimizer's state in the segment that trains the most."""
    kept = [states.abstract_state(plan, mesh, i)["optimizer"] for i in range(len(plan.segments))]
    return max(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)) for tree in kept)


def abstract_batch(plan: Plan, trace: Trace) -> Batch:
    """The shapes of a trace's batch; see ``runtime.data.batches.Batch``."""
    outer = (plan.train.accumulation_steps, plan.train.batch_size)

    def leaf(dtype: Any, *inner: int) -> Any:
        return jax.ShapeDtypeStruct((*outer, *inner), dtype)

    paired = not texts_only(plan.data.source)
    return Batch(
        query_ids=_content(plan, "query", trace.query_length, leaf),
        query_mask=leaf(jnp.bool_, trace.query_length),
        positive_ids=_content(plan, "positive", trace.positive_length, leaf) if paired else None,
        positive_mask=leaf(jnp.bool_, trace.positive_length) if paired else None,
        weight=leaf(jnp.float32),
        row=leaf(jnp.uint32),
        **_negatives(plan, trace, leaf),
        label=leaf(jnp.int32) if plan.data.scan.labels else None,
        score=leaf(jnp.float32) if plan.data.scan.scores else None,
        **_taught(plan, trace, leaf),
        **_texts(plan, trace, leaf),
    )


def _texts(plan: Plan, trace: Trace, leaf: Any) -> dict[str, Any]:
    """Numbers of texts, where a loss asks which are identical."""
    if not by_text(plan.losses):
        return {}
    found = {"query_text": leaf(jnp.int32), "positive_text": leaf(jnp.int32)}
    if count := plan.negatives_in(trace.segments[0]):
        found["negative_text"] = leaf(jnp.int32, count)
    return found


def _taught(plan: Plan, trace: Trace, leaf: Any) -> dict[str, Any]:
    """What a teacher says: scores of explicit negatives, or its embeddings."""
    count, teacher = plan.negatives_in(trace.segments[0]), teacher_of(plan.losses)
    scored = plan.data.scan.negative_scores > 0
    found = {"negative_score": leaf(jnp.float32, count)} if scored else {}
    if teacher is None:
        return found
    found |= {f"teacher_{side}": leaf(jnp.float32, teacher.width) for side in SIDES}
    if count:
        found["teacher_negatives"] = leaf(jnp.float32, count, teacher.width)
    return found


def _content(plan: Plan, side: Side, length: int, leaf: Callable[..., Any], *outer: int) -> Any:
    """What the network is given of one side: ids, pixels, or both."""
    what, processor = modality(plan.data.source, side), plan.model.image_processor
    ids = leaf(jnp.int32, *outer, length)
    if what == "text":
        return ids
    assert processor is not None  # the compiler sees to it
    pixels = leaf(jnp.uint8, *outer, processor.height, processor.width, 3)
    return pixels if what == "image" else Both(ids, pixels)


def _negatives(plan: Plan, trace: Trace, leaf: Any) -> dict[str, Any]:
    count = plan.negatives_in(trace.segments[0])
    if not count:
        return {}
    return {
        "negative_ids": _content(plan, "positive", trace.positive_length, leaf, count),
        "negative_mask": leaf(jnp.bool_, count, trace.positive_length),
        "negative_weight": leaf(jnp.float32, count),
    }


def _figures(
    name: str,
    role: str,
    shape: dict[str, int],
    traced: Any,
    waiting: int,
    estimate: dict[str, int],
) -> Figures:
    lowered = traced.lower()
    begun = time.monotonic()
    compiled = lowered.compile()
    seconds = round(time.monotonic() - begun, 3)
    memory = compiled.memory_analysis()
    peak = (
        waiting
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    once = int(_analysis(lowered).get("flops", 0))
    measured = {"peak_bytes": peak, "flops": once + missed(traced.jaxpr)}
    return Figures(
        name=name,
        role=role,
        shape=shape,
        waiting_bytes=waiting,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        alias_bytes=memory.alias_size_in_bytes,
        code_bytes=memory.generated_code_size_in_bytes,
        xla_peak_bytes=memory.peak_memory_in_bytes,
        flops_loops_once=once,
        bytes_accessed=int(_analysis(compiled).get("bytes accessed", 0)),
        compile_seconds=seconds,
        estimate=estimate,
        ratio={k: round(estimate[k] / measured[k], 4) for k in estimate if measured[k]},
        **measured,
    )


def _analysis(stage: Any) -> dict[str, float]:
    """XLA's cost analysis of a lowered or compiled function; some versions give a list of one."""
    found = stage.cost_analysis()
    return (found[0] if isinstance(found, list) else found) or {}


def _estimate(plan: Plan, name: str) -> dict[str, int]:
    cost = next((c for c in plan.cost.traces if c.name == name), None)
    return {} if cost is None else {"peak_bytes": cost.peak_bytes, "flops": cost.flops}
