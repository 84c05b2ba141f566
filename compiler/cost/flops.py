"""Floating-point operations of a step, by the products of matrices."""

from __future__ import annotations

from specrun.compiler.cost.scores import HIDDEN, LATE, WITHOUT_PRODUCTS
from specrun.compiler.cost.work import Batching, Step, Text, Work, activation, trains_below
from specrun.spec.plan.networks import NetworkConfig, Qwen3Config


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
    flowing = trains_below(work, step, text.tower)
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
    gates = 3 if activation(config) in ("swiglu", "gated") else 2
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
    if HIDDEN in step.losses:
        products = 8 if batching.tile < batching.micro else 6
        each = products * work.network(None).hidden_size + 15
        return rows * step.texts[0].length * work.vocabulary * each
    each = sum(
        (16 if kind in WITHOUT_PRODUCTS else products * dim + 30)
        for kind in step.losses
        for dim in work.dims
        if kind not in LATE
    )
    if work.teacher is not None:  # whose products are constants: none goes backward
        taught = sum("distillation" in kind for kind in step.losses)
        each += taught * len(work.dims) * (products - 4) * work.teacher.width
    late = sum(kind in LATE for kind in step.losses)
    return rows * rows * work.candidates * (each + late * _late_flops(work, step, batching))


def _late_flops(work: Work, step: Step, batching: Batching) -> int:
    """Of two texts: three products of their tokens at each width, four in tiles, and the maxima."""
    products = 8 if batching.documents < batching.rows * work.candidates else 6
    pairs = step.compared[0] * step.compared[1]
    return pairs * sum(products * dim + 6 for dim in work.token_dims)
