"""Bytes of the layers: what is kept for the backward pass, and what is alive while a layer works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from specrun.compiler.cost.work import (
    PIXELS,
    Batching,
    Step,
    Text,
    Work,
    activation,
    trains_below,
)
from specrun.spec.plan.networks import (
    ModernbertConfig,
    NetworkConfig,
    Qwen3Config,
    TextEncoderConfig,
)
from specrun.spec.plan.parameters import Group
from specrun.spec.plan.sides import Tower
from specrun.spec.plan.towers import TowerConfig

PRODUCTS: Mapping[str, int] = {
    "swiglu": 3,
    "gated": 3,
    "gelu_new": 1,
    "gelu_pytorch_tanh": 1,
    "gelu": 1,
    "gelu_python": 1,
    "quick_gelu": 1,
    "silu": 2,
    "swish": 2,
    "relu": 0,
}
"""Numbers of the feed-forward's width kept besides the input of its last layer; ReLU keeps a mask."""

SIBLINGS = (
    ("query", "key", "value"),
    ("q", "k", "v"),
    ("q_proj", "k_proj", "v_proj"),
    ("gate", "up"),
    ("gate_proj", "up_proj"),
)
"""Linear layers beside each other that read the same."""


# Shares of a layer's residuals in flight beside those kept, fitted to XLA's figures on a CPU.
FORWARD = 0.4

FROZEN = 1.0

LOOP = 1.0

UNROLLED = 0.6

NO_LOOP = 0.4

AGAIN = 1.6

AGAIN_UNROLLED = 1.1

ENDS = 1.5

ENDS_WITHOUT_POSITIONS = 0.2
"""Shares of the embedded tokens [B, S, D] in flight beside those kept: a learned table has a gradient of its own."""


class _Encoding(NamedTuple):
    """Bytes of the texts of one side: kept for the backward pass, and in flight in it."""

    kept: int
    working: int


def encoding(work: Work, step: Step, batching: Batching, rows: int, text: Text) -> _Encoding:
    """A group of layers keeps something when it, or anything before it, trains.

    Groups of one layer have no loop that would part them, so XLA works on all of them at once.
    """
    tokens = rows * text.length
    config = work.network(text.tower)
    numbers = tokens * work.number_bytes * config.hidden_size
    positions = _learned_positions(config)
    kept, working = numbers, round((ENDS if positions else ENDS_WITHOUT_POSITIONS) * numbers)
    kept += rows * PIXELS * text.pixels
    flowing, single = trains_below(work, step, text.tower), 0
    for prefix, group in work.layers(text.tower):
        flowing = flowing or any(p.startswith(prefix) for p in step.trained)
        each = tokens * residuals(work, step, text.tower, prefix, text.length)
        again = _computed_again(batching, group)
        kept += group.count * (numbers if again else each) if flowing else 0
        here = round(each * _share(batching, group, flowing))
        single += here if group.count == 1 and flowing else 0
        working = max(working, here, single)
    return _Encoding(kept, working)


def _learned_positions(config: NetworkConfig) -> bool:
    if isinstance(config, TextEncoderConfig):
        return config.position_embedding == "learned"
    return not isinstance(config, Qwen3Config | ModernbertConfig)


def _computed_again(batching: Batching, group: Group) -> bool:
    """Whether a layer's residuals are gone until the backward pass; XLA keeps those of a loop of one iteration."""
    return batching.checkpointing and group.count > 1


def _share(batching: Batching, group: Group, flowing: bool) -> float:
    """How much of a layer's residuals is in flight beside what is kept of it."""
    count = group.count
    unroll = min(batching.unroll, count)
    if not flowing:
        return FROZEN
    if _computed_again(batching, group):
        return AGAIN + AGAIN_UNROLLED * (unroll - 1)
    if count == 1:
        return NO_LOOP
    return LOOP if unroll == count else LOOP + UNROLLED * (unroll - 1)


def residuals(work: Work, step: Step, tower: Tower | None, prefix: str, length: int) -> int:
    """Bytes that one token leaves behind in one layer of a group."""
    config = work.network(tower)
    width, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    products = PRODUCTS[activation(config)]
    floats = 2 * width + _mixed(config) + products * inner + 4
    floats += heads * (_scores(config) * length + 2)
    masks = 2 * width if config.hidden_dropout_prob > 0 else 0
    masks += 0 if products else 2 * inner
    masks += heads * length if config.attention_probs_dropout_prob > 0 else 0
    inputs, dropped = _saved_inputs(work, step, prefix)
    return work.number_bytes * (floats + inputs) + masks + dropped


def _scores(config: NetworkConfig) -> int:
    """Numbers that a pair of tokens leaves behind in each head.

    Of the networks of CLIP, SigLIP and ViT, which drop no attention, XLA keeps the row's maximum as wide as the scores.
    """
    return 3 if isinstance(config, TowerConfig) and not config.attention_probs_dropout_prob else 2


def _mixed(config: NetworkConfig) -> int:
    """Numbers of queries, keys and values that a token leaves behind; Qwen3's also as they were normed."""
    if isinstance(config, Qwen3Config):
        queries = config.num_attention_heads * config.head_dim
        return 3 * queries + 3 * config.num_key_value_heads * config.head_dim
    return 3 * config.hidden_size


def _saved_inputs(work: Work, step: Step, prefix: str) -> tuple[int, int]:
    """(numbers, bytes of dropout masks) per token kept because a layer's own parameters train."""
    inputs: dict[str, int] = {}
    dropped = 0
    for p in work.parameters:
        if not p.path.startswith(prefix) or p.path not in step.trained:
            continue
        module = p.path.removeprefix(prefix).rpartition(".")[0]
        if p.role == "kernel":
            inputs[_shared_input(module)] = p.shape[-2]
        elif p.role == "scale":
            inputs[module] = p.shape[-1]
        elif p.role == "lora_a":
            own = work.adapter_dropout > 0
            inputs[f"{module} dropped" if own else _shared_input(module)] = p.shape[-2]
            inputs[f"{module} low"] = p.shape[-1]
            dropped += p.shape[-2] if own else 0
        elif p.role == "lora_b":
            inputs[f"{module} added"] = p.shape[-1]  # XLA keeps what the adapter adds by itself
    return sum(inputs.values()), dropped


def _shared_input(module: str) -> str:
    """A name for what a linear layer reads: queries, keys and values read the same, so do gate and up."""
    head, _, last = module.rpartition(".")
    for siblings in SIBLINGS:
        if last in siblings:
            return f"{head}.{siblings[0]}"
    return module
