"""Memory and time of InfoNCE with the scores whole and in tiles: python -m tests.benchmarks.bench_loss

First XLA's temporary memory of value and gradient at 65 536 rows of width 768 (nothing is run), then
the seconds of both forms at 4 096 rows, in turn. No test: times depend on the machine.
"""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from specrun.compiler.passes.steps import score_tile_rows
from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.infonce import infonce
from specrun.spec.words.train import Train
from tests.runtime.plans import make_infonce

WIDTH = 768


def main() -> None:
    rows = 65536
    tile = score_tile_rows(Train(batch_size=rows), rows)
    for symmetric in (False, True):
        found = _compiled(rows, tile, symmetric).memory_analysis()
        temporary = round(found.temp_size_in_bytes / 2**20, 1)
        print(
            json.dumps(
                {
                    "rows": rows,
                    "symmetric": symmetric,
                    "tile_rows": tile,
                    "temporary_mib": temporary,
                }
            )
        )
    print(json.dumps(_times(4096, 256)))


def _compiled(rows: int, tile: int, symmetric: bool = True) -> jax.stages.Compiled:
    term = infonce(make_infonce(symmetric=symmetric), tile)
    batch = SimpleNamespace(weight=jnp.ones(rows), negative_weight=None, label=None)
    shape = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32)
    both = jax.jit(jax.value_and_grad(lambda outputs: term.sum({}, outputs, batch)))
    return both.lower(Outputs(shape, shape)).compile()


def _times(rows: int, tile: int, repeats: int = 5) -> dict[str, float]:
    keys = jax.random.split(jax.random.key(0))
    outputs = Outputs(*(jax.random.normal(k, (rows, WIDTH)) for k in keys))
    forms = {"whole": _compiled(rows, rows), "tiled": _compiled(rows, tile)}
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(repeats + 1):
        for name, compute in forms.items():
            start = time.perf_counter()
            jax.block_until_ready(compute(outputs))
            taken[name].append(time.perf_counter() - start)
    seconds = {name: min(x[1:]) for name, x in taken.items()}
    ratio = seconds["tiled"] / seconds["whole"]
    return {"rows": rows, **{k: round(x, 3) for k, x in seconds.items()}, "ratio": round(ratio, 3)}


if __name__ == "__main__":
    main()
