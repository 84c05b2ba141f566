"""A training step of CLIP B/32's shape and of BERT-base's against transformers on torch, in turn, in one run.

    python -m tests.benchmarks.bench_steps [--models clip,bert] [--precision float32,bfloat16] [--rows N]
        [--compile] [--platform cpu|gpu] [--peak FLOP/s] [--repeats 5] [--tiny]

Both sides take the same weights and the same batch, every token valid, without dropout; InfoNCE at temperature
0.05 (both ways for CLIP), clipping at 1 and AdamW (torch's fused one); torch attends by sdpa and computes bfloat16
under autocast, parameters in float32 on both sides. Texts have 77 tokens and images 224 × 224 pixels, or texts 128
tokens on both sides. ``--compile`` adds torch.compile of the model as a side of its own. Each side is a process
with all cores. Without torch (see ``make parity``) ours is measured alone, and the line says so.

Prints a line of JSON per case: the loss of the first step of each side, which must be equal (the run fails
otherwise), seconds of a step (median), the ratio ours / theirs as the median of neighbours' and its spread (below
1 ours is faster), that of the processors' time, peak memory, ours' FLOP per second by the plan's own count, and on a device of known peak the
MFU: that rate over the dense bfloat16 peak, whatever the precision. ``--peak`` states the peak of another device.

Last figures, two quiet cores, float32, 16 pairs, three rounds, ratio by the clock and by the processors' time: CLIP 1.07
and 1.05, BERT 1.06 and 1.04. With other work on the cores, where waiting threads of torch spin and count as working:
bfloat16, 4 pairs, CLIP 0.27 and 0.26, BERT 0.51 and 0.45. Not yet run at full size: BERT under torch.compile, GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.benchmarks.networks import FULL, TINY, Network, with_tokens, write
from tests.benchmarks.sides import Actions, Side, cores, in_turn, medians, paired
from tests.benchmarks.torch_step import torch_actions

PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
}
"""Dense bfloat16 FLOP per second, as the makers state it, by what a device's name holds; the first that fits."""

ROWS = {"cpu": {"clip": 16, "bert": 16}, "gpu": {"clip": 512, "bert": 256}}
AGREEMENT = {"float32": 1e-4, "bfloat16": 2e-2}
"""Largest relative difference of the losses of the first step."""

SPEC = """\
version: 1
output_dir: run
model: {{kind: {kind}, name_or_path: {root}/model}}
data: {{kind: jsonl, path: {root}/rows.jsonl, {data}}}
losses: [{{kind: infonce, temperature: 0.05, symmetric: {symmetric}}}]
train: {{batch_size: {rows}, max_steps: 4, max_grad_norm: 1.0}}
optimizer: {{kind: adamw, learning_rate: 1e-5, weight_decay: 0.01}}
schedule: {{kind: constant}}
precision: {{compute: {precision}}}
hardware: {{platform: {platform}}}
evaluation: null
"""
IMAGES = "retrieval_mode: t2i, image_root: {root}/pictures, max_length: {{query: {tokens}}}"
TEXTS = "max_length: {{query: {tokens}, positive: {tokens}}}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every case asked for."""
    options = _options(arguments)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # processes share a GPU
    for name in options.models.split(","):
        network = with_tokens((TINY if options.tiny else FULL)[name], options.tokens)
        rows = options.rows or (4 if options.tiny else ROWS[options.platform][name])
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), network, 2 * rows)
            for precision in options.precision.split(","):
                text = spec(Path(folder), network, rows, precision, options.platform)
                print(json.dumps(measure(Path(folder), network, text, options)), flush=True)


def spec(root: Path, network: Network, rows: int, precision: str, platform: str) -> str:
    """The text of the spec of one case, for the directory and the rows in ``root``."""
    data = TEXTS if network.image_size is None else IMAGES
    return SPEC.format(
        kind=network.name,
        root=root,
        data=data.format(root=root, tokens=network.tokens),
        symmetric=str(network.image_size is not None).lower(),
        rows=rows,
        precision=precision,
        platform=platform,
    )


def measure(root: Path, network: Network, text: str, options: argparse.Namespace) -> dict[str, Any]:
    """One case: every side there is, in turn."""
    from specrun.api import compile

    os.environ["SPECRUN_CACHE"] = str(root / "cache")
    plan = compile(text)  # makes the tokens and pixels that both sides read
    sides = {"ours": Side(ours, text)}
    if find_spec("torch") is not None and find_spec("transformers") is not None:
        sides["torch"] = Side(theirs, root, network, text, False)
        if options.compile:
            sides["torch_compiled"] = Side(theirs, root, network, text, True)
    found: dict[str, Any] = {
        "network": network.name,
        "parameters": sum(p.size for p in plan.model.parameters),
        "rows": plan.train.batch_size,
        "tokens": network.tokens,
        "precision": plan.precision.compute,
        "cores": cores(),
    }
    losses = first_losses(sides, plan.precision.compute)
    taken = in_turn(sides, "train", options.repeats)
    for name, side in sides.items():
        found[name] = {"loss": losses[name], **medians(taken[name]), "peak_mb": side.ask("peak")}
        if name != "ours":
            found[name] |= paired(taken["ours"], taken[name])
    flops = plan.cost.flops_per_step
    found["ours"] |= rate(flops, found["ours"]["seconds"], options)
    found["ours"]["flop_per_processor_s"] = float(f"{flops / found['ours']['processor_s']:.4g}")
    for side in sides.values():
        side.close()
    return found if len(sides) > 1 else found | {"torch_side": "no torch here, see `make parity`"}


def first_losses(sides: dict[str, Side], precision: str) -> dict[str, float]:
    """The loss of each side's first step. SystemExit unless they agree: the sides would do different work."""
    losses = {name: side.ask("first_loss") for name, side in sides.items()}
    for name, loss in losses.items():
        if abs(loss - losses["ours"]) > AGREEMENT[precision] * abs(losses["ours"]):
            raise SystemExit(
                f"the first step's losses differ: {losses['ours']} and {loss} ({name})"
            )
    return {name: round(loss, 6) for name, loss in losses.items()}


def rate(flops: int, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """FLOP of a step and per second, and the share of the device's peak where that is known or stated."""
    device = _device(options.platform)
    peak = options.peak or peak_of(device)
    found = {"device": device, "flop": flops, "flop_per_s": float(f"{flops / seconds:.4g}")}
    return found | ({} if peak is None else {"peak": peak, "mfu": round(flops / seconds / peak, 4)})


def peak_of(device: str) -> float | None:
    """Dense bfloat16 FLOP per second of a device by its name; None for one that is not in the table."""
    words = device.replace("-", " ")
    return next((peak for name, peak in PEAKS.items() if name in words), None)


def _device(platform: str) -> str:
    import jax

    return jax.devices(platform)[0].device_kind


def ours(text: str) -> Actions:
    """The step of the plan that ``text`` compiles to."""
    from specrun.runtime.allocator import keep_freed_memory

    keep_freed_memory()  # as the command ``specrun run`` does
    import jax

    from specrun.api import compile
    from specrun.runtime.loop.speed import memory_of
    from specrun.runtime.program.control import control_at
    from specrun.runtime.program.mesh import data_mesh
    from specrun.runtime.program.program import build_program

    plan = compile(text)
    program, batch, control = build_program(plan), batch_of(plan), control_at(plan, 0)
    held: dict[str, Any] = {"state": program.enter(0, program.init(plan.seed))}

    def step() -> None:
        held["state"], metrics = program.step(held["state"], batch, control)
        held["loss"] = float(jax.block_until_ready(metrics["loss"]))
        jax.block_until_ready(held["state"])

    def peak() -> float:
        return memory_of(data_mesh(plan).devices.flat[0]).peak_bytes // 2**20

    return {"train": step, "first_loss": lambda: loss_of(step, held), "peak": peak}


def loss_of(step: Any, held: dict[str, Any]) -> float:
    """The loss that a step leaves in ``held``."""
    step()
    return held["loss"]


def batch_of(plan: Any) -> Any:
    """The first batch of the plan, from the cache. Imports no jax."""
    from specrun.runtime.data.batches import Batches
    from specrun.runtime.data.scan import ensure_rows
    from specrun.runtime.data.tokens import ensure_tokens

    tokens = ensure_tokens(plan.data, plan.tokenizer, processor=plan.model.image_processor)
    batch = Batches(plan, tokens, ensure_rows(plan.data)).at(0)[1]
    assert batch.query_mask.all()
    assert batch.positive_mask is None or batch.positive_mask.all()
    return batch


def theirs(root: Path, network: Network, text: str, compiled: bool) -> Actions:
    """The same step on torch: the same weights, the same batch."""
    import torch
    import transformers

    from specrun.api import compile

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(cores())
    plan = compile(text)
    device = "cuda" if plan.hardware.platform == "gpu" else "cpu"
    torch.set_float32_matmul_precision("highest" if plan.precision.matmul == "highest" else "high")
    network_of = {"clip": _torch_clip, "bert": _torch_bert}[network.name]
    model, scores_of = network_of(root / "model", batch_of(plan), plan, device, compiled)
    ids = torch.arange(plan.train.batch_size, device=device)

    def loss_of(sides: Any) -> Any:
        query, positive = (torch.nn.functional.normalize(x.float(), dim=-1) for x in sides)
        scores = query @ positive.T / 0.05
        loss = torch.nn.functional.cross_entropy(scores, ids)
        if plan.losses[0].symmetric:
            loss = (loss + torch.nn.functional.cross_entropy(scores.T, ids)) / 2
        return loss

    half = plan.precision.compute == "bfloat16"
    return torch_actions(model, scores_of, loss_of, half=half)


def _torch_clip(model: Path, batch: Any, plan: Any, device: str, compiled: bool) -> Any:
    """CLIPModel, and a function that embeds the batch; pixels are normalised beforehand."""
    import numpy as np
    import torch
    import transformers

    from specrun.runtime.images.pixels import affine

    scale, shift = affine(plan.model.image_processor)
    pixels = np.float32(batch.positive_ids[0]) * scale + shift
    images = torch.tensor(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), device=device)
    ids = torch.tensor(batch.query_ids[0], device=device).long()
    mask = torch.tensor(batch.query_mask[0], device=device).long()
    clip = transformers.CLIPModel.from_pretrained(model, attn_implementation="sdpa")
    clip = clip.to(device).train()
    run = torch.compile(clip) if compiled else clip

    def embed() -> tuple[Any, Any]:
        found = run(input_ids=ids, attention_mask=mask, pixel_values=images)
        return found.text_embeds, found.image_embeds

    return clip, embed


def _torch_bert(model: Path, batch: Any, plan: Any, device: str, compiled: bool) -> Any:
    """BertModel without its pooler, and a function that gives the means of the tokens of both sides."""
    import torch
    import transformers

    del plan
    sides = [
        (torch.tensor(ids[0], device=device).long(), torch.tensor(mask[0], device=device).long())
        for ids, mask in (
            (batch.query_ids, batch.query_mask),
            (batch.positive_ids, batch.positive_mask),
        )
    ]
    bert = transformers.BertModel.from_pretrained(
        model, attn_implementation="sdpa", add_pooling_layer=False
    )
    bert = bert.to(device).train()
    run = torch.compile(bert) if compiled else bert

    def embed() -> list[Any]:
        return [
            run(input_ids=ids, attention_mask=mask).last_hidden_state.float().mean(dim=1)
            for ids, mask in sides
        ]

    return bert, embed


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default="clip,bert")
    parser.add_argument("--precision", default="float32,bfloat16")
    parser.add_argument(
        "--rows", type=int, help="rows of a step; the default depends on the device"
    )
    parser.add_argument("--tokens", type=int, help="tokens of BERT's texts, 128 by default")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--platform", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--peak", type=float, help="FLOP per second of the device at best")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="networks of seconds, for tests")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
