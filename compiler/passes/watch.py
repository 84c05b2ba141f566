"""Passes for what is watched and saved, and what it costs by arithmetic."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.draft import Context, Draft
from specrun.compiler.passes.model import embedding_dim
from specrun.spec.plan.model import SIDES, EncoderConfig, Side, tower_of
from specrun.spec.plan.training import CheckpointPlan, CostPlan, EarlyStoppingPlan, EvaluationPlan

FLOAT_BYTES = 4
ADAM_MOMENTS = 2


def plan_evaluation(draft: Draft, context: Context) -> Draft:
    """When metrics are taken, at which widths, and which one chooses the best."""
    spec = draft.spec.evaluation
    if spec is None:
        return draft
    width = embedding_dim(draft.need("config"))
    dims = draft.spec.matryoshka.dims if draft.spec.matryoshka else ()
    metric, _, dim = spec.select_best.partition(" at ")
    stopping = spec.early_stopping
    plan = EvaluationPlan(
        after=((0,) if spec.at_start else ()) + _moments(draft, spec.every_steps),
        batch_size=spec.batch_size,
        metrics=spec.metrics,
        dims=(width, *(d for d in dims if d != width)),
        select_best=metric if dim in ("", str(width)) else spec.select_best,
        early_stopping=None
        if stopping is None
        else EarlyStoppingPlan(patience=stopping.patience, min_delta=stopping.min_delta),
    )
    return replace(draft, evaluation=plan)


def plan_checkpoints(draft: Draft, context: Context) -> Draft:
    """When state is saved."""
    spec = draft.spec.checkpoint
    return replace(
        draft, checkpoint=CheckpointPlan(after=_moments(draft, spec.every_steps), keep=spec.keep)
    )


def estimate_cost(draft: Draft, context: Context) -> Draft:
    """Bytes and floating-point operations by arithmetic (no rounding by XLA, no fusion, no workspace)."""
    config: EncoderConfig = draft.need("config")
    train = draft.spec.train
    total = sum(p.size for p in draft.parameters)
    trained = sum(p.size for p in draft.parameters if p.trained)
    largest = max(draft.traces, key=lambda t: t.query_length + t.positive_length)
    micro = train.micro_batch_size or train.batch_size
    lengths = _lengths(largest.query_length, largest.positive_length)
    whole = micro == train.batch_size
    texts = _texts(draft) if whole else dict.fromkeys(SIDES, 1)  # chunks are encoded one by one
    stored = [
        texts[side] * _activation_bytes(config, micro, lengths[side], train.gradient_checkpointing)
        for side in SIDES
        if _trained_roles(draft, side)
    ]
    activation = sum(stored) if whole else max(stored, default=0)
    widths = len(draft.spec.matryoshka.dims) if draft.spec.matryoshka else 1
    activation += (
        FLOAT_BYTES * train.batch_size * (2 * embedding_dim(config) + 2 * widths * train.batch_size)
    )
    steps = {t.name: t.steps for t in draft.traces}
    flops = {
        t.name: _step_flops(draft, config, t.query_length, t.positive_length, widths)
        for t in draft.traces
    }
    cost = CostPlan(
        weight_bytes=FLOAT_BYTES * total,
        gradient_bytes=FLOAT_BYTES * trained,
        optimizer_bytes=ADAM_MOMENTS * FLOAT_BYTES * trained,
        activation_bytes=activation,
        peak_bytes=FLOAT_BYTES * (total + (1 + ADAM_MOMENTS) * trained) + activation,
        flops_per_step=flops[largest.name],
        total_flops=sum(flops[name] * n for name, n in steps.items()),
    )
    return replace(draft, cost=cost)


def _moments(draft: Draft, every: int | None) -> tuple[int, ...]:
    """Numbers of finished steps: multiples of ``every``, or the ends of epochs; always the last step."""
    total = draft.segments[-1].stop_step
    if every is not None:
        return tuple(sorted({*range(every, total + 1, every), total}))
    ends: set[int] = {total}
    for s in draft.segments:
        ends.update(
            min(s.stop_step, s.first_step + s.steps_per_epoch * (e + 1)) for e in range(s.epochs)
        )
    return tuple(sorted(ends))


def _linear_weights(config: EncoderConfig) -> int:
    """Matrix entries that one token passes in one layer."""
    gates = 3 if config.hidden_act == "swiglu" else 2
    return 4 * config.hidden_size**2 + gates * config.hidden_size * config.intermediate_size


def _forward_flops(config: EncoderConfig, rows: int, length: int) -> int:
    """2 per multiply-add: linear layers per token, scores and mixing per pair of tokens, the head per row."""
    token = 2 * _linear_weights(config) + 4 * length * config.hidden_size
    head = 2 * config.hidden_size * (config.projection_dim or 0)
    return rows * (config.num_hidden_layers * length * token + head)


def _step_flops(draft: Draft, config: EncoderConfig, query: int, positive: int, widths: int) -> int:
    rows = draft.spec.train.batch_size
    lengths, texts = _lengths(query, positive), _texts(draft)
    encoding = sum(
        _forward_flops(config, texts[side] * rows, lengths[side]) * _passes(draft, side)
        for side in SIDES
    )
    loss = 3 * 2 * rows * rows * embedding_dim(config) * widths
    return draft.spec.train.accumulation_steps * (encoding + loss)


def _lengths(query: int, positive: int) -> dict[Side, int]:
    return {"query": query, "positive": positive}


def _texts(draft: Draft) -> dict[Side, int]:
    """Texts of a row that the network of a side embeds: negatives are embedded as positives are."""
    return {"query": 1, "positive": 1 + draft.need("scan").negatives}


def _trained_roles(draft: Draft, side: Side) -> set[str]:
    """Roles of the parameters that train in the network which embeds ``side``."""
    return {
        p.role
        for p in draft.parameters
        if p.trained and p.role != "temperature" and tower_of(p.path)[0] in (side, None)
    }


def _passes(draft: Draft, side: Side) -> int:
    """Passes of a step in units of a forward one: back through inputs, and through matrices where they train."""
    train, roles = draft.spec.train, _trained_roles(draft, side)
    if not roles:
        return 1  # a frozen tower only embeds
    again = train.gradient_checkpointing or train.micro_batch_size not in (None, train.batch_size)
    return (3 if roles & {"kernel", "embedding"} else 2) + again


def _activation_bytes(config: EncoderConfig, rows: int, length: int, remat: bool) -> int:
    """Stored for the backward pass: inputs of every linear layer and norm, scores, feed-forward before and after."""
    gates = 3 if config.hidden_act == "swiglu" else 2
    token = (
        8 * config.hidden_size
        + gates * config.intermediate_size
        + 2 * config.num_attention_heads * length
    )
    layers = config.num_hidden_layers
    stored = min(layers, 1) * token + layers * config.hidden_size if remat else layers * token
    return FLOAT_BYTES * rows * length * (stored + 2 * config.hidden_size)
