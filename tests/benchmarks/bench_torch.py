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
import os
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.sides import Actions, Side, cores, in_turn, medians, paired
from tests.benchmarks.words import WORDS
from tests.minilm import minilm

ROWS = 32
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
    model = minilm()
    (root / "rows.jsonl").write_text(_rows(length))
    made = {"ours": _ours, "torch": _theirs}
    sides = {k: Side(make, root, model, length, precision, train) for k, make in made.items()}
    for name in ("train", "encode"):
        taken = in_turn(sides, name, repeats)
        found = {"case": name, "length": length, "precision": precision}
        found |= {f"{k}_s": medians(t)["seconds"] for k, t in taken.items()}
        found |= paired(taken["ours"], taken["torch"])
        found |= {f"{k}_peak_mb": side.ask("peak") for k, side in sides.items()}
        print(json.dumps(found), flush=True)
    for side in sides.values():
        side.close()


def _ours(root: Path, model: Path, length: int, precision: str, train: str) -> Actions:
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


def _theirs(root: Path, model: Path, length: int, precision: str, train: str) -> Actions:
    del train
    import torch
    from sentence_transformers import SentenceTransformer, losses

    torch.set_num_threads(cores())
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
    texts = [" ".join(WORDS[(i * 7 + j * (i + 1)) % 10] for j in range(length)) for i in range(64)]
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
