"""What a plan costs by arithmetic: bytes on each device, and floating-point operations.

The bytes follow what jax keeps for the backward pass, layer by layer: inputs of trained linear layers, both halves
of a LayerNorm, queries, keys, values and attention twice, the feed-forward's products. XLA adds a working set, which
is fitted: ``tests/runtime/test_aot.py`` and ``tests/slow/test_cost.py`` compare with XLA's own figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from specrun.compiler.chunks import MICRO
from specrun.spec.plan.data import modality
from specrun.spec.plan.model import (
    EncoderConfig,
    Group,
    ModernbertConfig,
    NetworkConfig,
    Parameter,
    Qwen3Config,
    Side,
    TextEncoderConfig,
    TextImageConfig,
    Tower,
    tower_of,
)
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.towers import SiglipTextConfig
from specrun.spec.plan.training import CostPlan, InfoNCE, LossPlan, SigLIP, Trace, TraceCost
from specrun.spec.record import record

FLOAT = 4
ADAM_MOMENTS = 2
NUMBER_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 4}
"""Bytes of an activation by ``precision.compute``. Under bfloat16 too: norms and scores are float32 there, and a CPU
widens the rest, so this is an upper bound."""

PRODUCTS: Mapping[str, int] = {
    "swiglu": 3,
    "gated": 3,
    "gelu_new": 2,
    "gelu_pytorch_tanh": 2,
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

SCORES_OF_A_WIDTH: Mapping[str, float] = {"infonce": 2, "triplet": 2, "siglip": 3, "cosent": 1.3}
"""Score matrices [B, B] alive for each width of a loss, and one more in all: scores, exponentials, slopes, masks."""

WITHOUT_PRODUCTS = frozenset(("cosent",))
"""Losses that compare a number of each row with those of all rows, and no embeddings."""

# Shares of a layer's residuals in flight beside those kept, fitted to XLA's figures on a CPU.
FORWARD = 0.4
FROZEN = 1.0
LOOP = 1.0
UNROLLED = 0.6
NO_LOOP = 0.4
AGAIN = 1.6
AGAIN_UNROLLED = 1.1

PIXELS = 2 * FLOAT
"""Bytes of a number of an image in the network: scaled, and cut into patches."""

ENDS = 1.5
ENDS_WITHOUT_POSITIONS = 0.2
"""Shares of the embedded tokens [B, S, D] in flight beside those kept: a learned table has a gradient of its own."""


SEARCHED = (1024, 8192)
"""Queries and documents of a tile of scores when negatives are mined, as in ``runtime/mining/nearest.py``."""


@record
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
    chunks: str = MICRO
    """The key by which the spec says ``micro``, for who proposes another."""


@record
class Text:
    """What one encoder takes of a row at one padded length: ``tower`` is None where all share one.

    ``pixels`` are the numbers of an image, whose ``length`` is that of its patches; 0 is a text.
    """

    tower: Tower | None
    count: int
    length: int
    pixels: int = 0


@record
class Step:
    """One training trace: the texts of a row, kinds of losses, the paths that train, how often it runs."""

    name: str
    texts: tuple[Text, ...]
    losses: tuple[str, ...]
    trained: frozenset[str]
    steps: int


@record
class Mining:
    """The search for negatives: ``rows`` at most among which, ``encoded`` at a time, ``found`` for each."""

    rows: int
    encoded: int
    found: int
    width: int


@record
class Work:
    """The network and the traces that a cost is counted of."""

    config: EncoderConfig
    groups: tuple[Group, ...]
    parameters: tuple[Parameter, ...]
    adapter_dropout: float
    dims: tuple[int, ...]
    candidates: int
    number_bytes: int
    steps: tuple[Step, ...]
    longest: int
    width: int
    mining: Mining | None = None

    def network(self, tower: Tower | None) -> NetworkConfig:
        """The configuration of one tower, or of what all share."""
        if isinstance(self.config, TextImageConfig):
            return self.config.image if tower == "image" else self.config.text
        return self.config

    def layers(self, tower: Tower | None) -> list[tuple[str, Group]]:
        """The groups of one tower, each with how the paths of its parameters begin."""
        begin = "" if tower is None else f"{tower}."
        groups = [group for group in self.groups if group.tower == tower]
        return [(f"{begin}groups.{number}.", group) for number, group in enumerate(groups)]


NO_COST = CostPlan(
    weight_bytes=0,
    gradient_bytes=0,
    optimizer_bytes=0,
    activation_bytes=0,
    loss_bytes=0,
    peak_bytes=0,
    evaluation_bytes=0,
    flops_per_step=0,
    total_flops=0,
    traces=(),
)
"""Stands in a plan whose cost is not counted yet."""


def work_of(plan: Plan) -> tuple[Work, Batching]:
    """What the cost of a finished plan is counted of."""
    model, train = plan.model, plan.train
    kinds = {loss.name: loss.kind for loss in plan.losses}
    steps = tuple(
        Step(
            name=trace.name,
            texts=_texts(plan, trace),
            losses=tuple(kinds[name] for name in trace.losses),
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
        candidates=1 + plan.data.negatives * any(map(_takes_all, plan.losses)),
        number_bytes=NUMBER_BYTES[plan.precision.compute],
        steps=steps,
        longest=max(plan.data.max_query_length, plan.data.max_positive_length),
        width=model.embedding_dim,
        mining=_mining(plan),
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


def _takes_all(loss: LossPlan) -> bool:
    """Whether a query's candidates are the explicit negatives of every row too."""
    return isinstance(loss, InfoNCE | SigLIP) and loss.negatives == "all"


def _mining(plan: Plan) -> Mining | None:
    mining = plan.data.mining
    if mining is None:
        return None
    return Mining(
        rows=plan.data.scan.training_rows,
        encoded=mining.batch_size,
        found=mining.top_k,
        width=plan.model.embedding_dim,
    )


def _texts(plan: Plan, trace: Trace) -> tuple[Text, ...]:
    """Queries and positives; negatives are embedded as positives are, in one more pass of the encoder."""
    found = [
        *_side(plan, "query", 1, trace.query_length),
        *_side(plan, "positive", 1, trace.positive_length),
    ]
    if plan.data.negatives:
        found += _side(plan, "positive", plan.data.negatives, trace.positive_length)
    return tuple(found)


def _side(plan: Plan, side: Side, count: int, length: int) -> Iterator[Text]:
    """What the networks take of one side: a text, an image, or each."""
    config = plan.model.config
    if not isinstance(config, TextImageConfig):
        separate = plan.model.towers == "separate"
        yield Text(tower=side if separate else None, count=count, length=length)
        return
    what, image = modality(plan.data.source, side), config.image
    if what != "image":
        whole = isinstance(config.text, SiglipTextConfig)  # which sees every text at full length
        yield Text(
            tower="text",
            count=count,
            length=config.text.max_position_embeddings if whole else length,
        )
    if what != "text":
        pixels = image.num_channels * image.image_size**2
        yield Text(tower="image", count=count, length=image.tokens, pixels=pixels)


def cost_of(work: Work, batching: Batching) -> CostPlan:
    """The cost of the trace that needs the most memory, and that of each."""
    found = [
        (step, _bytes(work, step, batching), flops(work, step, batching)) for step in work.steps
    ]
    _, parts, _ = max(found, key=lambda item: sum(item[1].values()))
    return CostPlan(
        **parts,
        evaluation_bytes=_evaluation_bytes(work, batching),
        mining_bytes=_mining_bytes(work, batching),
        peak_bytes=sum(parts.values()),
        flops_per_step=max(count for _, _, count in found),
        total_flops=sum(count * step.steps for step, _, count in found),
        traces=tuple(
            TraceCost(name=step.name, peak_bytes=sum(p.values()), flops=count)
            for step, p, count in found
        ),
    )


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


def _mining_bytes(work: Work, batching: Batching) -> int:
    """The peak while negatives are mined: texts are encoded, then all are compared with all, tile by tile.

    Of the scores in a tile three copies exist: as they come, beside those found before, and sorted.
    """
    mining = work.mining
    if mining is None:
        return 0
    queries, documents = min(SEARCHED[0], mining.rows), min(SEARCHED[1], mining.rows)
    tile = 3 * queries * (documents + 2 * mining.found)
    search = FLOAT * ((mining.rows + queries) * mining.width + tile)
    return max(_encoding_bytes(work, batching, mining.encoded), FLOAT * _waiting(work) + search)


def _evaluation_bytes(work: Work, batching: Batching) -> int:
    """The peak while held-out rows are encoded."""
    return _encoding_bytes(work, batching, batching.evaluated) if batching.evaluated else 0


def _waiting(work: Work) -> int:
    """Numbers that are there between steps: the optimizer's state beside the weights."""
    trained = max(sum(p.size for p in work.parameters if p.path in s.trained) for s in work.steps)
    return sum(p.size for p in work.parameters) + ADAM_MOMENTS * trained


def _encoding_bytes(work: Work, batching: Batching, rows: int) -> int:
    """The peak while ``rows`` texts are encoded at a time."""
    step = work.steps[0]
    own = -(-rows // batching.devices)
    found = [0.0]
    for text in step.texts:
        length = text.length if text.pixels else work.longest
        layer = [
            _residuals(work, step, text.tower, prefix, length)
            for prefix, _ in work.layers(text.tower)
        ]
        width = work.number_bytes * work.network(text.tower).hidden_size
        each = max([width, *(FORWARD * x for x in layer)])
        found.append(own * (length * (each + 5) + PIXELS * text.pixels))
    return FLOAT * _waiting(work) + round(max(found))


def _batch_bytes(step: Step, batching: Batching) -> int:
    """Ids of four bytes and masks of one, the weight and the number of each row."""
    rows = batching.passes * batching.rows // batching.devices
    each = (t.count * (t.pixels + 1 if t.pixels else 5 * t.length) for t in step.texts)
    return rows * (sum(each) + 8)


def _activations(work: Work, step: Step, batching: Batching) -> tuple[int, int]:
    """(activations, loss): what is alive at the worse of two moments, in the layers and in the losses.

    Chunks are encoded one after the other, and again going backward, so one chunk of one text is alive then. Without
    chunks all texts stay until the losses have seen them.
    """
    rows = batching.micro // batching.devices
    chunked = batching.micro < batching.rows
    sides = [
        _encoding(work, step, batching, rows if chunked else rows * text.count, text)
        for text in step.texts
    ]
    kept = max(side.kept for side in sides) if chunked else sum(side.kept for side in sides)
    working = max(side.working for side in sides)
    loss = _loss_bytes(work, step, batching)
    if chunked:
        return (kept + working, 0) if kept + working > loss else (0, loss)
    return kept + max(0, working - loss), loss


def _loss_bytes(work: Work, step: Step, batching: Batching) -> int:
    """Score matrices of every loss at every width, and the embeddings, normalised ones and slopes."""
    rows = batching.rows
    tiled = batching.tile < rows
    each = [SCORES_OF_A_WIDTH[kind] for kind in step.losses]
    kept = 1 + (max(each) if tiled else len(work.dims) * sum(each))
    scores = kept * (min(batching.tile, rows) // batching.devices) * rows * work.candidates
    width = work.width
    embeddings = (
        sum(t.count for t in step.texts)
        * rows
        * (2 * width + 2 * len(step.losses) * sum(work.dims))
    )
    return round(FLOAT * (scores + embeddings))


class _Encoding(NamedTuple):
    """Bytes of the texts of one side: kept for the backward pass, and in flight in it."""

    kept: int
    working: int


def _encoding(work: Work, step: Step, batching: Batching, rows: int, text: Text) -> _Encoding:
    """A group of layers keeps something when it, or anything before it, trains."""
    tokens = rows * text.length
    config = work.network(text.tower)
    numbers = tokens * work.number_bytes * config.hidden_size
    positions = _learned_positions(config)
    kept, working = numbers, round((ENDS if positions else ENDS_WITHOUT_POSITIONS) * numbers)
    kept += rows * PIXELS * text.pixels
    flowing = _trains_below(work, step, text.tower)
    for prefix, group in work.layers(text.tower):
        flowing = flowing or any(p.startswith(prefix) for p in step.trained)
        each = tokens * _residuals(work, step, text.tower, prefix, text.length)
        again = _computed_again(batching, group)
        kept += group.count * (numbers if again else each) if flowing else 0
        working = max(working, round(each * _share(batching, group, flowing)))
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


def _residuals(work: Work, step: Step, tower: Tower | None, prefix: str, length: int) -> int:
    """Bytes that one token leaves behind in one layer of a group."""
    config = work.network(tower)
    width, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    products = PRODUCTS[_activation(config)]
    floats = 2 * width + _mixed(config) + products * inner + 4 + heads * (2 * length + 2)
    masks = 2 * width if config.hidden_dropout_prob > 0 else 0
    masks += 0 if products else 2 * inner
    masks += heads * length if config.attention_probs_dropout_prob > 0 else 0
    inputs, dropped = _saved_inputs(work, step, prefix)
    return work.number_bytes * (floats + inputs) + masks + dropped


def _activation(config: NetworkConfig) -> str:
    """The key of ``PRODUCTS``."""
    match config:
        case Qwen3Config():
            return "swiglu"
        case ModernbertConfig():
            return "gated"
        case _:
            return config.hidden_act


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


# --- operations ------------------------------------------------------------------------------------------------------


def flops(work: Work, step: Step, batching: Batching) -> int:
    """Operations of an optimizer step over all devices: 2 for each multiply-add, 1 for other arithmetic."""
    rows = batching.rows
    chunked = batching.micro < batching.rows
    encoding = 0
    for text in step.texts:
        encoding += _encoding_flops(work, step, batching, rows * text.count, text, chunked)
    return batching.passes * (encoding + _loss_flops(work, step, batching))


def _encoding_flops(
    work: Work, step: Step, batching: Batching, rows: int, text: Text, chunked: bool
) -> int:
    """All passes of one side through its encoder, those that compute again included."""
    flowing = _trains_below(work, step, text.tower)
    config = work.network(text.tower)
    ends = _ends_flops(config, rows, text)
    count = ends * ((3 if flowing else 1) + chunked)
    layer = _layer_flops(config, rows, text.length)
    for prefix, group in work.layers(text.tower):
        roles = {
            p.role for p in work.parameters if p.path in step.trained and p.path.startswith(prefix)
        }
        flowing = flowing or bool(roles)
        backward = (1 + batching.checkpointing + ("kernel" in roles)) if flowing else 0
        again = 3 + batching.checkpointing + chunked
        adapters = again * _adapter_flops(work, prefix, rows * text.length)
        count += group.count * (layer * (1 + chunked + backward) + adapters)
    return count


def _trains_below(work: Work, step: Step, tower: Tower | None) -> bool:
    """Whether anything before the layers trains, so that every layer hands a slope down."""
    return any(
        (p.role == "embedding" or "embeddings." in p.path)
        and p.path in step.trained
        and tower_of(p.path)[0] == tower
        for p in work.parameters
    )


def _adapter_flops(work: Work, prefix: str, tokens: int) -> int:
    """One forward pass through the adapters of one layer."""
    products = sum(
        2 * p.shape[-1] * p.shape[-2]
        for p in work.parameters
        if p.path.startswith(prefix) and p.role in ("lora_a", "lora_b")
    )
    return tokens * products


def _layer_flops(config: NetworkConfig, rows: int, length: int) -> int:
    """One forward pass through one layer."""
    width, inner = config.hidden_size, config.intermediate_size
    queries = keys = width
    if isinstance(config, Qwen3Config):
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
    gates = 3 if _activation(config) in ("swiglu", "gated") else 2
    linear = 2 * (2 * width * (queries + keys) + gates * width * inner)
    mixing = 4 * length * queries + 6 * length * config.num_attention_heads
    other = 25 * width + 10 * inner
    return rows * length * (linear + mixing + other)


def _ends_flops(config: NetworkConfig, rows: int, text: Text) -> int:
    """Embedding, of an image the product with the matrix of patches, pooling and head, forward."""
    width = config.hidden_size
    dropout = 8 * width if config.hidden_dropout_prob > 0 else 0
    head = 2 * width * (getattr(config, "projection_dim", None) or 0)
    return rows * (text.length * (3 * width + dropout) + 2 * text.pixels * width + head)


def _loss_flops(work: Work, step: Step, batching: Batching) -> int:
    """Three products of all rows with all rows at each width, four in tiles, and the softmax in both directions."""
    rows = batching.rows
    products = 8 if batching.tile < rows else 6
    each = sum(
        (16 if kind in WITHOUT_PRODUCTS else products * dim + 30)
        for kind in step.losses
        for dim in work.dims
    )
    return rows * rows * work.candidates * each
