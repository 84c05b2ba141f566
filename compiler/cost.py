"""What a plan costs by arithmetic: bytes on each device, and floating-point operations.

The bytes follow what jax keeps for the backward pass, layer by layer: inputs of trained linear layers, both halves
of a LayerNorm, queries, keys, values and attention twice, the feed-forward's products. XLA adds a working set, which
is fitted: ``tests/runtime/test_aot.py`` and ``tests/slow/test_cost.py`` compare with XLA's own figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from specrun.spec.plan.model import SIDES, EncoderConfig, Group, Parameter, tower_of
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.training import CostPlan, Trace, TraceCost

FLOAT = 4
ADAM_MOMENTS = 2
NUMBER_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2}
"""Bytes of an activation by ``precision.compute``; weights and what the optimizer keeps are float32."""

PRODUCTS: Mapping[str, int] = {
    "swiglu": 5,
    "gelu_new": 5,
    "gelu_pytorch_tanh": 5,
    "gelu": 3,
    "gelu_python": 3,
    "silu": 3,
    "swish": 3,
    "relu": 0,
}
"""Numbers of the feed-forward's width kept besides the input of its last layer; ReLU keeps a mask."""

SCORES_KEPT = 3
"""Score matrices [B, B] alive for each width: the scores, their exponentials, and the slope."""

# Shares of a layer's residuals in flight beside those kept, fitted to XLA's figures on a CPU.
FORWARD = 0.4
FROZEN = 0.75
LOOP = 1.0
UNROLLED = 0.6
NO_LOOP = 0.4
AGAIN = 1.6
AGAIN_UNROLLED = 1.1

# Shares of the embedded tokens [B, S, D]: in flight, and for the random bits of their dropout.
ENDS = 1.4
RANDOM_BITS = 2.0
RANDOM_BITS_CHUNKED = 3.0


@dataclass(frozen=True, kw_only=True)
class Batching:
    """The settings that trade memory for time; ``evaluated`` rows are encoded at a time in evaluations, 0 is none."""

    rows: int
    micro: int
    tile: int
    passes: int
    checkpointing: bool
    unroll: int
    evaluated: int
    devices: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training trace: padded lengths of the texts of a row, losses, the paths that train, how often it runs."""

    name: str
    lengths: tuple[int, ...]
    losses: int
    trained: frozenset[str]
    steps: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """The network and the traces that a cost is counted of; ``candidates`` of each row are in the scores."""

    config: EncoderConfig
    groups: tuple[Group, ...]
    parameters: tuple[Parameter, ...]
    adapter_dropout: float
    dims: tuple[int, ...]
    candidates: int
    number_bytes: int
    steps: tuple[Step, ...]
    longest: int


def work_of(plan: Plan) -> tuple[Work, Batching]:
    """What the cost of a finished plan is counted of."""
    model, train = plan.model, plan.train
    explicit = {loss.negatives for loss in plan.losses} - {"in_batch"}
    steps = tuple(
        Step(
            name=trace.name,
            lengths=text_lengths(trace, plan.data.scan.negatives * bool(explicit)),
            losses=len(trace.losses),
            trained=frozenset(plan.segments[trace.segments[0]].trained),
            steps=trace.steps,
        )
        for trace in plan.traces
    )
    work = Work(
        config=model.config,
        groups=model.groups,
        parameters=model.parameters,
        adapter_dropout=model.lora.dropout if model.lora else 0.0,
        dims=plan.matryoshka.dims if plan.matryoshka else (model.embedding_dim,),
        candidates=1 + plan.data.scan.negatives * ("all" in explicit),
        number_bytes=NUMBER_BYTES[plan.precision.compute],
        steps=steps,
        longest=max(plan.data.max_query_length, plan.data.max_positive_length),
    )
    batching = Batching(
        rows=train.batch_size,
        micro=train.micro_batch_size,
        tile=train.score_tile_rows,
        passes=train.accumulation_steps,
        checkpointing=train.gradient_checkpointing,
        unroll=train.unroll,
        evaluated=plan.evaluation.batch_size if plan.evaluation else 0,
        devices=plan.hardware.devices,
    )
    return work, batching


def text_lengths(trace: Trace, negatives: int) -> tuple[int, ...]:
    """Padded lengths of the texts of a row: the query, the positive, and negatives as long as it."""
    return (trace.query_length, *[trace.positive_length] * (1 + negatives))


def cost_of(work: Work, batching: Batching) -> CostPlan:
    """The cost of the trace that needs the most memory, and that of each."""
    found = [
        (step, _bytes(work, step, batching), flops(work, step, batching)) for step in work.steps
    ]
    _, parts, _ = max(found, key=lambda item: sum(item[1].values()))
    return CostPlan(
        **parts,
        evaluation_bytes=_evaluation_bytes(work, batching),
        peak_bytes=sum(parts.values()),
        flops_per_step=max(count for _, _, count in found),
        total_flops=sum(count * step.steps for step, _, count in found),
        traces=tuple(
            TraceCost(name=step.name, peak_bytes=sum(p.values()), flops=count)
            for step, p, count in found
        ),
    )


def _texts(work: Work, step: Step) -> list[tuple[int, Work, Step]]:
    """Every text of a row: its length, and the network that embeds it with what of it trains.

    Separate towers are two networks, whose parameters are named by their side.
    """
    if all(tower_of(p.path)[0] is None for p in work.parameters if "losses." not in p.path):
        return [(length, work, step) for length in step.lengths]
    own = {side: _tower(work, step, side) for side in SIDES}
    sides = ("query", *["positive"] * (len(step.lengths) - 1))
    return [(n, *own[side]) for n, side in zip(step.lengths, sides, strict=True)]


def _tower(work: Work, step: Step, side: str) -> tuple[Work, Step]:
    def inside(path: str) -> str | None:
        tower, rest = tower_of(path)
        return rest if tower == side else None

    parameters = tuple(
        replace(p, path=path) for p in work.parameters if (path := inside(p.path)) is not None
    )
    trained = frozenset(path for p in step.trained if (path := inside(p)) is not None)
    groups = tuple(group for group in work.groups if group.tower == side)
    return replace(work, parameters=parameters, groups=groups), replace(step, trained=trained)


# --- bytes -----------------------------------------------------------------------------------------------------------


def _bytes(work: Work, step: Step, batching: Batching) -> dict[str, int]:
    """The parts of the peak, in bytes on each device."""
    trained = sum(p.size for p in work.parameters if p.path in step.trained)
    chunked = batching.micro < batching.rows
    copies = 1 + (batching.passes > 1) + chunked
    activations, loss = _activations(work, step, batching)
    return {
        "weight_bytes": FLOAT * sum(p.size for p in work.parameters),
        "gradient_bytes": copies * FLOAT * trained,
        "optimizer_bytes": ADAM_MOMENTS * FLOAT * trained,
        "activation_bytes": activations + _batch_bytes(step, batching),
        "loss_bytes": loss,
    }


def _evaluation_bytes(work: Work, batching: Batching) -> int:
    """The peak while held-out rows are encoded: the optimizer's state waits beside the weights."""
    if not batching.evaluated:
        return 0
    step = work.steps[0]
    trained = max(sum(p.size for p in work.parameters if p.path in s.trained) for s in work.steps)
    tokens = -(-batching.evaluated // batching.devices) * work.longest
    layer = [
        _residuals(own, trained, n, work.longest)
        for _, own, trained in _texts(work, step)
        for n in range(len(own.groups))
    ]
    width = work.number_bytes * work.config.hidden_size
    each = max([width, *(FORWARD * x for x in layer)])
    weights = sum(p.size for p in work.parameters) + ADAM_MOMENTS * trained
    return FLOAT * weights + round(tokens * (each + 5))


def _batch_bytes(step: Step, batching: Batching) -> int:
    """Ids of four bytes and masks of one, the weight and the number of each row."""
    rows = batching.passes * batching.rows // batching.devices
    return rows * (5 * sum(step.lengths) + 8)


def _activations(work: Work, step: Step, batching: Batching) -> tuple[int, int]:
    """(activations, loss): what is alive at the worse of two moments, in the layers and in the losses.

    Chunks are encoded one after the other, and again going backward, so one chunk of one text is alive then. Without
    chunks all texts stay until the losses have seen them.
    """
    rows = batching.micro // batching.devices
    sides = [
        _encoding(own, trained, batching, rows, length)
        for length, own, trained in _texts(work, step)
    ]
    chunked = batching.micro < batching.rows
    kept = max(side.kept for side in sides) if chunked else sum(side.kept for side in sides)
    working = max(side.working for side in sides)
    held = max(side.held for side in sides)
    loss = _loss_bytes(work, step, batching)
    if chunked:
        return (kept + working, 0) if kept + working > loss else (0, loss)
    return kept + max(held, working - loss), loss


def _loss_bytes(work: Work, step: Step, batching: Batching) -> int:
    """Score matrices of every loss at every width, and the embeddings, normalised ones and slopes."""
    rows = batching.rows
    matrices = len(work.dims) * step.losses if batching.tile >= rows else 1  # tiles take turns
    tile = min(batching.tile, rows) // batching.devices
    scores = SCORES_KEPT * matrices * tile * rows * work.candidates
    width = work.config.projection_dim or work.config.hidden_size
    embeddings = len(step.lengths) * rows * (2 * width + 2 * step.losses * sum(work.dims))
    return FLOAT * (scores + embeddings)


class _Encoding(NamedTuple):
    """Bytes of the texts of one side: kept for the backward pass, in flight in it, and held beside the losses."""

    kept: int
    working: int
    held: int


def _encoding(work: Work, step: Step, batching: Batching, rows: int, length: int) -> _Encoding:
    """A group of layers keeps something when it, or anything before it, trains."""
    tokens = rows * length
    numbers = tokens * work.number_bytes * work.config.hidden_size
    chunked = batching.micro < batching.rows
    dropped = work.config.hidden_dropout_prob > 0
    bits = round(numbers * (RANDOM_BITS_CHUNKED if chunked else RANDOM_BITS)) if dropped else 0
    kept, working = numbers, round(ENDS * numbers) + bits
    flowing = _trains_below(work, step)
    for number, group in enumerate(work.groups):
        flowing = flowing or any(p.startswith(f"groups.{number}.") for p in step.trained)
        each = tokens * _residuals(work, step, number, length)
        kept += group.count * (numbers if batching.checkpointing else each) if flowing else 0
        working = max(working, round(each * _share(batching, group.count, flowing)))
    return _Encoding(kept, working, 0 if work.groups else bits)


def _share(batching: Batching, count: int, flowing: bool) -> float:
    """How much of a layer's residuals is in flight beside what is kept of it."""
    unroll = min(batching.unroll, count)
    if not flowing:
        return FROZEN
    if batching.checkpointing:
        return AGAIN + AGAIN_UNROLLED * (unroll - 1)
    if count == 1:
        return NO_LOOP
    return LOOP if unroll == count else LOOP + UNROLLED * (unroll - 1)


def _residuals(work: Work, step: Step, number: int, length: int) -> int:
    """Bytes that one token leaves behind in one layer of a group."""
    config = work.config
    width, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    products = PRODUCTS[config.hidden_act]
    floats = 5 * width + products * inner + 4 + heads * (2 * length + 2)
    masks = 2 * width if config.hidden_dropout_prob > 0 else 0
    masks += 0 if products else 2 * inner
    masks += heads * length if config.attention_probs_dropout_prob > 0 else 0
    inputs, dropped = _saved_inputs(work, step, number)
    return work.number_bytes * (floats + inputs) + masks + dropped


def _saved_inputs(work: Work, step: Step, number: int) -> tuple[int, int]:
    """(numbers, bytes of dropout masks) per token kept because a layer's own parameters train."""
    prefix = f"groups.{number}."
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
    return sum(inputs.values()), dropped


def _shared_input(module: str) -> str:
    """A name for what a linear layer reads: queries, keys and values read the same, so do gate and up."""
    head, _, last = module.rpartition(".")
    for siblings in (("query", "key", "value"), ("gate", "up")):
        if last in siblings:
            return f"{head}.{siblings[0]}"
    return module


# --- operations ------------------------------------------------------------------------------------------------------


def flops(work: Work, step: Step, batching: Batching) -> int:
    """Operations of an optimizer step over all devices: 2 for each multiply-add, 1 for other arithmetic."""
    encoding = sum(
        _text_flops(own, trained, batching, length) for length, own, trained in _texts(work, step)
    )
    return batching.passes * (encoding + _loss_flops(work, step, batching))


def _text_flops(work: Work, step: Step, batching: Batching, length: int) -> int:
    """Encoding one text of every row, forward and backward."""
    rows = batching.rows
    chunked = batching.micro < batching.rows
    ends = _ends_flops(work.config, rows, length)
    layer = _layer_flops(work.config, rows, length)
    below = _trains_below(work, step)
    encoding = ends * (3 + chunked) if below else ends * (1 + chunked)
    flowing = below
    for number, group in enumerate(work.groups):
        roles = {p.role for p in work.parameters if _trains_in(p, number, step)}
        flowing = flowing or bool(roles)
        backward = (1 + batching.checkpointing + ("kernel" in roles)) if flowing else 0
        encoding += group.count * layer * (1 + chunked + backward)
        again = 3 + batching.checkpointing + chunked
        encoding += group.count * again * _adapter_flops(work, number, rows * length)
    return encoding


def _adapter_flops(work: Work, group: int, tokens: int) -> int:
    """One forward pass through the adapters of one layer, their dropout included."""
    products = sum(
        2 * p.shape[-1] * p.shape[-2]
        for p in work.parameters
        if p.path.startswith(f"groups.{group}.") and p.role in ("lora_a", "lora_b")
    )
    return tokens * products


def _trains_below(work: Work, step: Step) -> bool:
    """Whether anything before the layers trains, so that every layer hands a slope down."""
    return any("embeddings." in p.path and p.path in step.trained for p in work.parameters)


def _trains_in(parameter: Parameter, group: int, step: Step) -> bool:
    return parameter.path.startswith(f"groups.{group}.") and parameter.path in step.trained


def _layer_flops(config: EncoderConfig, rows: int, length: int) -> int:
    """One forward pass through one layer."""
    width, inner = config.hidden_size, config.intermediate_size
    gates = 3 if config.hidden_act == "swiglu" else 2
    linear = 2 * (4 * width * width + gates * width * inner)
    mixing = 4 * length * width + 6 * length * config.num_attention_heads
    other = 25 * width + 10 * inner
    return rows * length * (linear + mixing + other)


def _ends_flops(config: EncoderConfig, rows: int, length: int) -> int:
    """Embedding, pooling and head, forward."""
    width = config.hidden_size
    dropout = 12 * width if config.hidden_dropout_prob > 0 else 0
    return rows * (length * (3 * width + dropout) + 2 * width * (config.projection_dim or 0))


def _loss_flops(work: Work, step: Step, batching: Batching) -> int:
    """Three products of all rows with all rows at each width, and the softmax in both directions."""
    rows = batching.rows
    again = 4 / 3 if batching.tile < rows else 1
    each = sum(round(6 * again * dim) + 30 for dim in work.dims)
    return step.losses * rows * rows * work.candidates * each
