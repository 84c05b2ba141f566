"""What chunked encoding saves and costs, and what a step costs the host.

Run with ``python -m tests.benchmarks.bench_step``; prints one line of JSON per figure. No test: times
depend on the machine. Compiled memory does not.
"""

from __future__ import annotations

import json
import time
from typing import Any

import jax

from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import Program, build_program
from specrun.spec.plan.plan import Plan
from tests.runtime.plans import make_batch, make_config, make_model, make_plan

WIDE = make_config(
    vocab_size=8192,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=512,
    max_position_embeddings=128,
)


def main() -> None:
    plain = measure(256)
    print(json.dumps(plain))
    for micro, remat in ((32, False), (256, True), (32, True)):
        found = measure(micro, remat=remat)
        found["memory_ratio"] = round(found["temporary_mb"] / plain["temporary_mb"], 3)
        found["time_ratio"] = round(found["seconds"] / plain["seconds"], 3)
        print(json.dumps(found))
    print(json.dumps(host_overhead()))


def measure(micro: int, *, remat: bool = False, rows: int = 256) -> dict[str, Any]:
    """Temporary memory of the compiled step in MB, and the seconds of one step."""
    plan = make_plan(
        model=make_model(WIDE),
        train={
            "batch_size": rows,
            "micro_batch_size": micro,
            "gradient_checkpointing": remat,
            "buckets": ((32, 64),),
        },
    )
    program, state, batch = _begin(plan)
    control = control_at(plan, 0)
    memory = program.step.lower(state, batch, control).compile().memory_analysis()
    state, metrics = program.step(state, batch, control)
    metrics["loss"].block_until_ready()
    start = time.perf_counter()
    state, metrics = program.step(state, batch, control)
    metrics["loss"].block_until_ready()
    return {
        "rows": rows,
        "micro_batch_size": micro,
        "remat": remat,
        "temporary_mb": round(memory.temp_size_in_bytes / 2**20, 1),
        "seconds": round(time.perf_counter() - start, 3),
    }


def host_overhead(steps: int = 200) -> dict[str, Any]:
    """Milliseconds until a step returns, on a network too small to compute for long."""
    layers = make_config(num_hidden_layers=24, hidden_size=8, intermediate_size=8)
    plan = make_plan(model=make_model(layers), train={"batch_size": 2, "micro_batch_size": 2})
    program, state, batch = _begin(plan)
    control = control_at(plan, 0)
    taken = []
    for _ in range(steps):
        start = time.perf_counter()
        state, metrics = program.step(state, batch, control)
        taken.append(time.perf_counter() - start)
        metrics["loss"].block_until_ready()
    leaves = len(jax.tree.leaves(state))
    return {"leaves": leaves, "host_ms": round(1e3 * sorted(taken)[steps // 2], 3)}


def _begin(plan: Plan) -> tuple[Program, Any, Any]:
    program = build_program(plan)
    return program, program.enter(0, program.init(plan.seed)), make_batch(plan)


if __name__ == "__main__":
    main()
