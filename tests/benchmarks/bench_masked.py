"""A training step of a masked language model against an equivalent torch module, in turn, in one run.

    python -m tests.benchmarks.bench_masked [--shapes small] [--full] [--precision float32,bfloat16] [--rows N]
        [--tokens N] [--compile] [--platform cpu|gpu] [--peak FLOP/s] [--repeats 5] [--tiny]

``small`` is the guide's network at a width for a CPU (256, 4 layers), ``--full`` adds ``tiny_125m`` (768, 12 layers,
123 million parameters). Both sides take the same weights, the same batch with every token valid, and at the first
step the same hidden tokens; no dropout, clipping at 1, AdamW (torch's fused one). The module is written as one
writes it in torch: RMSNorm, rotary positions, sdpa, SwiGLU, a head of its own, cross-entropy over all tokens with
``ignore_index``, bfloat16 under autocast with parameters in float32. Ours draws at each step anew what it hides,
and never holds the scores of the whole batch. ``--compile`` adds torch.compile of the module as a side of its own.

Prints a line of JSON per case, as ``bench_steps`` does (losses of the first step, which must be equal, seconds, ratios,
memory, FLOP per second, MFU), and tokens per second of each side. Without torch ours is measured alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.bench_steps import batch_of, first_losses, ours, rate
from tests.benchmarks.sides import Actions, Side, cores, in_turn, medians, paired
from tests.benchmarks.torch_step import torch_actions

MASK = 2
"""The id of the mask; padding is 0, what is unknown 1."""

SPEC = """\
version: 1
output_dir: run
model:
  kind: masked_lm
  hidden_size: {width}
  num_hidden_layers: {layers}
  num_attention_heads: {heads}
  intermediate_size: {inner}
  hidden_dropout_prob: 0.0
  attention_probs_dropout_prob: 0.0
tokenizer: {{kind: file, path: {root}/tokenizer.json}}
data:
  kind: text
  path: {root}/texts.txt
  format: paragraphs
  max_chars: 1000000
  max_length: {tokens}
losses: [{{kind: masked_diffusion, masking_rate: [0.5, 0.5]}}]
train: {{batch_size: {rows}, max_steps: 4, max_grad_norm: 1.0}}
optimizer: {{kind: adamw, learning_rate: 1e-5, weight_decay: 0.01}}
schedule: {{kind: constant}}
precision: {{compute: {precision}}}
hardware: {{platform: {platform}}}
evaluation: null
"""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A network, and the tokens of its rows."""

    width: int
    layers: int
    heads: int
    inner: int
    vocab: int
    tokens: int


SHAPES = {
    "tiny": Shape(width=32, layers=2, heads=2, inner=64, vocab=200, tokens=16),
    "small": Shape(width=256, layers=4, heads=4, inner=688, vocab=4096, tokens=128),
    "tiny_125m": Shape(width=768, layers=12, heads=12, inner=2048, vocab=25000, tokens=256),
}
ROWS = {"cpu": {"tiny": 4, "small": 16, "tiny_125m": 4}, "gpu": {"tiny": 4, "small": 512, "tiny_125m": 128}}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every case asked for."""
    options = _options(arguments)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # processes share a GPU
    names = ["tiny"] if options.tiny else options.shapes.split(",")
    for name in [*names, *(["tiny_125m"] if options.full else [])]:
        for precision in options.precision.split(","):
            with tempfile.TemporaryDirectory() as folder:
                text = spec(Path(folder), name, precision, options)
                print(json.dumps({"network": name} | measure(Path(folder), text, options)), flush=True)  # fmt: skip


def spec(root: Path, name: str, precision: str, options: argparse.Namespace) -> str:
    """The spec of one case; its tokenizer and its texts are written below ``root``."""
    shape = SHAPES[name]
    rows = options.rows or ROWS[options.platform][name]
    tokens = options.tokens or shape.tokens
    (root / "tokenizer.json").write_text(_tokenizer(shape.vocab))
    (root / "texts.txt").write_text("\n\n".join(_texts(shape.vocab, tokens, 2 * rows)))
    return SPEC.format(
        root=root,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        inner=shape.inner,
        tokens=tokens,
        rows=rows,
        precision=precision,
        platform=options.platform,
    )


def measure(root: Path, text: str, options: argparse.Namespace) -> dict[str, Any]:
    """One case: every side there is, in turn."""
    from specrun.api import compile

    os.environ["SPECRUN_CACHE"] = str(root / "cache")
    plan = compile(text)
    sides = {"ours": Side(ours, text)}
    if find_spec("torch") is not None:
        sides["torch"] = Side(theirs, text, False)
        if options.compile:
            sides["torch_compiled"] = Side(theirs, text, True)
    tokens = plan.train.batch_size * plan.data.max_query_length
    found: dict[str, Any] = {
        "parameters": sum(p.size for p in plan.model.parameters),
        "rows": plan.train.batch_size,
        "tokens": plan.data.max_query_length,
        "precision": plan.precision.compute,
        "cores": cores(),
    }
    losses = first_losses(sides, plan.precision.compute)
    taken = in_turn(sides, "train", options.repeats)
    for name, side in sides.items():
        own = medians(taken[name])
        speed = {"tokens_per_s": round(tokens / own["seconds"])}
        found[name] = {"loss": losses[name], **own, **speed, "peak_mb": side.ask("peak")}
        if name != "ours":
            found[name] |= paired(taken["ours"], taken[name])
    found["ours"] |= rate(plan.cost.flops_per_step, found["ours"]["seconds"], options)
    for side in sides.values():
        side.close()
    return found if len(sides) > 1 else found | {"torch_side": "no torch here, see `make parity`"}


def theirs(text: str, compiled: bool) -> Actions:
    """The same step on torch: the same weights, the same batch, the tokens that our first step hides."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # it says what is hidden, and no more
    import torch

    from specrun.api import compile
    from specrun.runtime.models.initial import initial_arrays

    torch.set_num_threads(cores())
    plan = compile(text)
    device = "cuda" if plan.hardware.platform == "gpu" else "cpu"
    torch.set_float32_matmul_precision("highest" if plan.precision.matmul == "highest" else "high")
    shown, labels = (torch.tensor(x, device=device).long() for x in _hidden(plan))
    model = module(plan.model.config, initial_arrays(plan.model, plan.seed)).to(device).train()
    run = torch.compile(model) if compiled else model

    def loss_of(scores: Any) -> Any:
        return torch.nn.functional.cross_entropy(
            scores.flatten(0, 1).float(), labels.flatten(), ignore_index=-100
        )

    half = plan.precision.compute == "bfloat16"
    return torch_actions(model, lambda: run(shown), loss_of, half=half)


def _hidden(plan: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the first step of the plan shows, and what stood where it hides; -100 elsewhere. int32 [B, S] each"""
    import jax
    import jax.numpy as jnp

    from specrun.runtime.program.control import control_at
    from specrun.runtime.program.gradients import step_key
    from specrun.runtime.program.masking import hide_batch

    key = step_key(plan.seed, np.uint32(0), np.uint32(0))
    masking = jax.tree.map(jnp.asarray, control_at(plan, 0)["masking"])
    batch = hide_batch("exact", batch_of(plan), key, plan.tokenizer, masking)
    labels = np.where(np.asarray(batch.hidden), np.asarray(batch.target_ids), -100)
    return np.asarray(batch.query_ids)[0], labels[0]


def module(config: Any, leaves: Any) -> Any:
    """The network of a plan as a torch module with the given weights: ids [B, S] → scores [B, S, V]."""
    import torch
    from torch import nn
    from torch.nn import functional

    heads, width = config.num_attention_heads, config.hidden_size

    def linear(kernel: np.ndarray) -> Any:
        made = nn.Linear(*kernel.shape, bias=False)
        made.weight.data = torch.tensor(np.ascontiguousarray(kernel.T))
        return made

    def norm(scale: np.ndarray) -> Any:
        made = nn.RMSNorm(width, config.layer_norm_eps)
        made.weight.data = torch.tensor(scale)
        return made

    class Block(nn.Module):
        def __init__(self, own: Any):
            super().__init__()
            self.before, self.between = norm(own["attention_norm"]["scale"]), norm(own["mlp_norm"]["scale"])  # fmt: skip
            for name in ("query", "key", "value", "output"):
                setattr(self, name, linear(own["attention"][name]["kernel"]))
            for name in ("gate", "up", "down"):
                setattr(self, name, linear(own["mlp"][name]["kernel"]))

        def forward(self, x: Any, cos: Any, sin: Any) -> Any:
            y = self.before(x)
            split = (*y.shape[:2], heads, width // heads)
            query, key, value = (
                of(y).view(split).transpose(1, 2) for of in (self.query, self.key, self.value)
            )
            query, key = turned(query, cos, sin), turned(key, cos, sin)
            mixed = functional.scaled_dot_product_attention(query, key, value)
            x = x + self.output(mixed.transpose(1, 2).reshape(y.shape))
            y = self.between(x)
            return x + self.down(functional.silu(self.gate(y)) * self.up(y))

    def turned(x: Any, cos: Any, sin: Any) -> Any:
        first, second = x.chunk(2, dim=-1)
        rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        return rotated.to(x.dtype)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            table = torch.tensor(leaves["embeddings"]["token"]["embedding"])
            self.token = nn.Embedding.from_pretrained(table, freeze=False)
            self.blocks = nn.ModuleList(Block(own) for own in _layers(leaves))
            self.last = norm(leaves["final_norm"]["scale"])
            self.head = linear(leaves["vocabulary"]["kernel"])
            half = width // heads // 2
            turn = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
            self.register_buffer("turn", turn)

        def forward(self, ids: Any) -> Any:
            places = torch.arange(ids.shape[1], device=ids.device, dtype=torch.float64)
            angle = torch.outer(places, self.turn)
            cos, sin = angle.cos().float(), angle.sin().float()
            x = self.token(ids)
            for block in self.blocks:
                x = block(x, cos, sin)
            return self.head(self.last(x))

    return Network()


def _layers(leaves: Any) -> Iterator[Any]:
    """The leaves of each layer, one after the other, whatever groups they are stacked in."""
    for group in leaves["groups"].values():
        count = len(group["attention_norm"]["scale"])
        for i in range(count):
            yield _at(group, i)


def _at(tree: Any, i: int) -> Any:
    return {k: _at(v, i) for k, v in tree.items()} if isinstance(tree, dict) else tree[i]


def _tokenizer(vocab: int) -> str:
    """Words to ids, and the mask; nothing is put around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    ids = {"[PAD]": 0, "[UNK]": 1, "[MASK]": MASK} | {f"w{i}": 3 + i for i in range(vocab - 3)}
    made = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    made.add_special_tokens(["[PAD]", "[UNK]", "[MASK]"])
    return made.to_str()


def _texts(vocab: int, tokens: int, count: int) -> Iterator[str]:
    """Paragraphs of as many words as a row has tokens, no two alike."""
    draw = np.random.default_rng(2)
    for i in range(count):
        words = draw.integers(0, vocab - 3, tokens - 1)
        yield f"w{i} " + " ".join(f"w{n}" for n in words)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="small", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--full", action="store_true", help="tiny_125m too")
    parser.add_argument("--precision", default="float32,bfloat16")
    parser.add_argument("--rows", type=int, help="rows of a step; the default is the shape's")
    parser.add_argument("--tokens", type=int, help="tokens of a row; the default is the shape's")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--platform", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--peak", type=float, help="FLOP per second of the device at best")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="a network of seconds, for tests")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
