"""The plan's training: batches, the optimizer, checkpoints, precision and hardware."""

from __future__ import annotations

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class TrainPlan:
    batch_size: Annotated[int, Fact(doc="Rows in one forward pass over all devices.", unit="rows")]
    accumulation_steps: Annotated[int, Fact(doc="Forward passes per step.")]
    micro_batch_size: Annotated[
        int, Fact(doc="Rows encoded at a time; batch_size is all.", unit="rows", klass="throughput")
    ]
    score_tile_rows: Annotated[
        int,
        Fact(
            doc="Rows of an in-batch score matrix that exist at a time; batch_size is all.",
            unit="rows",
            klass="throughput",
        ),
    ]
    document_tile_rows: Annotated[
        int | None,
        Fact(
            doc="Documents whose tokens are compared with those of all queries at a time; null where no loss takes token vectors.",
            unit="rows",
            klass="throughput",
        ),
    ] = None
    drop_last: Annotated[bool, Fact(doc="Short last batches dropped.")]
    gradient_checkpointing: Annotated[
        bool, Fact(doc="Layers recomputed in the backward pass.", klass="throughput")
    ]
    unroll: Annotated[int, Fact(doc="Layers per scan iteration.", klass="throughput")]
    buckets: Annotated[
        tuple[tuple[int, int], ...],
        Fact(
            doc="(query, positive) padded lengths, rising; a step takes the first that fits all of its rows.",
            klass="throughput",
        ),
    ]
    log_every_steps: Annotated[
        int, Fact(doc="Steps between rows of metrics.", unit="steps", klass="cosmetic")
    ]
    total_steps: Annotated[int, Fact(doc="Optimizer steps.", unit="steps", klass="horizon")]
    negatives_per_query: Annotated[int, Fact(doc="Other rows' positives in a full batch.")]
    dropout_schedule: Annotated[
        Literal["constant", "decay"],
        Fact(doc="Rates of dropout as they are, or times 1 − step / total_steps."),
    ] = "constant"


@record
class AdamWPlan:
    kind: Annotated[Literal["adamw"], Fact(doc="Decoupled decay.")] = "adamw"
    learning_rate: Annotated[float, Fact(doc="Peak rate.")]
    weight_decay: Annotated[float, Fact(doc="Decay, times the rate.")]
    beta1: Annotated[float, Fact(doc="First moment.")]
    beta2: Annotated[float, Fact(doc="Second moment.")]
    eps: Annotated[float, Fact(doc="Epsilon.")]
    max_grad_norm: Annotated[float, Fact(doc="Global clip; 0 is off.")]


@record
class CheckpointPlan:
    after: Annotated[
        tuple[int, ...],
        Fact(
            doc="Numbers of finished steps at which state is saved; the last is the total.",
            klass="throughput",
        ),
    ]
    keep: Annotated[int, Fact(doc="Newest kept.", klass="cosmetic")]


@record
class PrecisionPlan:
    compute: Annotated[
        Literal["float32", "bfloat16"], Fact(doc="Operands of products in the layers.")
    ]
    matmul: Annotated[Literal["default", "high", "highest"], Fact(doc="jax's matmul precision.")]


@record
class HardwarePlan:
    platform: Annotated[Literal["auto", "cpu", "gpu"], Fact(doc="Device kind.", klass="throughput")]
    devices: Annotated[int, Fact(doc="Data-parallel devices.", klass="throughput")]
    deterministic: Annotated[bool, Fact(doc="Deterministic GPU kernels only.", klass="throughput")]
    max_memory_gb: Annotated[
        float | None, Fact(doc="Memory of each device; null is not checked.", klass="throughput")
    ]
    memory_margin: Annotated[float, Fact(doc="Share of it kept free.", klass="throughput")]
    bytes_per_parameter: Annotated[
        int | None,
        Fact(doc="Of the rule of thumb; null where it is not asked for.", klass="throughput"),
    ] = None
    memory_multiplier: Annotated[
        float | None,
        Fact(doc="Copies of the parameters in it; null where not asked for.", klass="throughput"),
    ] = None
