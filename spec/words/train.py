"""Length, batches, number formats, checkpoints and the machine."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class GradientCache:
    """Rows are encoded in chunks, and again going backward with the same dropout; the loss sees the whole batch."""

    chunk_size: Annotated[
        int,
        Fact(
            doc="Rows encoded at a time, over all devices; the gradient is that of the whole batch.",
            ge=1,
            unit="rows",
            klass="throughput",
            examples=(32,),
        ),
    ]


@record
class Train:
    """How long, in what batches, and with what memory."""

    batch_size: Annotated[
        int, Fact(doc="Rows in one forward pass over all devices.", ge=1, le=16777216, unit="rows")
    ] = 64
    accumulation_steps: Annotated[
        int, Fact(doc="Forward passes per optimizer step.", ge=1, le=65536)
    ] = 1
    epochs: Annotated[
        int | None,
        Fact(
            doc="Passes over the training rows; null with `max_steps` or a curriculum.",
            ge=1,
            le=1000000,
            klass="horizon",
        ),
    ] = None
    max_steps: Annotated[
        int | None,
        Fact(doc="Optimizer steps; overrides epochs.", ge=1, le=1000000000, klass="horizon"),
    ] = None
    drop_last: Annotated[
        bool, Fact(doc="Drop the short last batch of an epoch instead of padding it.")
    ] = False
    max_grad_norm: Annotated[
        float, Fact(doc="Clip the gradient to this global L2 norm; 0 is off.", ge=0)
    ] = 1.0
    dropout_schedule: Annotated[
        Literal["constant", "decay"],
        Fact(
            doc="Every rate of dropout over the run, adapters' too: as it is, or falling in a line from itself at the first step to 0 behind the last.",
        ),
    ] = "constant"
    trainable: Annotated[
        tuple[str, ...] | None,
        Fact(
            doc="Glob patterns of parameter paths that train; null is all, or with `lora` the adapters and new heads. Trained temperatures and biases of losses are not named here: they always train.",
            min_items=1,
            unique=True,
            examples=(("layers.*", "final_norm.*"),),
        ),
    ] = None
    micro_batch_size: Annotated[
        int | None,
        Fact(
            doc="Rows encoded at a time; the loss still sees the whole batch. Null is all at once. The same as `gradient_cache.chunk_size`.",
            ge=1,
            unit="rows",
            klass="throughput",
        ),
    ] = None
    gradient_cache: Annotated[
        GradientCache | None,
        Fact(
            doc="Gradient caching: the gradient of a large batch in the memory of a chunk, for any loss. Null is off.",
            klass="throughput",
        ),
    ] = None
    score_tile_rows: Annotated[
        int | None,
        Fact(
            doc="Rows of the in-batch score matrix computed at a time, and again going backward. Null is all up to 64 MiB of scores, above it as many as fill 64 MiB. For `colbert` these are documents, whose tokens are compared with those of all queries; for `masked_diffusion` texts, whose tokens score all ids.",
            ge=1,
            unit="rows",
            klass="throughput",
        ),
    ] = None
    gradient_checkpointing: Annotated[
        bool,
        Fact(
            doc="Recompute each layer in the backward pass instead of storing it.",
            klass="throughput",
        ),
    ] = False
    unroll: Annotated[
        int | None,
        Fact(
            doc="Layers per iteration of the scan over layers: more run faster and compile longer. Null is all of up to 12 layers, and 1 above or with `gradient_checkpointing`.",
            ge=1,
            le=512,
            klass="throughput",
        ),
    ] = None
    length_buckets: Annotated[
        int,
        Fact(
            doc="Padded lengths the plan may choose among; a batch takes the smallest that fits. One trace each.",
            ge=1,
            le=16,
            klass="throughput",
        ),
    ] = 1
    log_every_steps: Annotated[
        int, Fact(doc="Steps between rows of metrics.jsonl.", ge=1, unit="steps", klass="cosmetic")
    ] = 10


@record
class Precision:
    """Number formats."""

    compute: Annotated[
        Literal["float32", "bfloat16"],
        Fact(
            doc="Operands of products in the layers, and what these keep for the backward pass. Sums, norms, softmax, pooling, losses, parameters and optimizer state are float32 either way; bfloat16 has float32's range, so losses are not scaled."
        ),
    ] = "float32"
    matmul: Annotated[
        Literal["default", "high", "highest"],
        Fact(doc="Precision of float32 products on accelerators (`default` lets a GPU use TF32)."),
    ] = "highest"


@record
class Checkpoint:
    """When state is saved and how much of it is kept."""

    every_steps: Annotated[
        int | None,
        Fact(
            doc="Steps between checkpoints; null is the end of each epoch.",
            ge=1,
            unit="steps",
            klass="throughput",
        ),
    ] = None
    keep: Annotated[
        int,
        Fact(doc="Newest checkpoints kept, besides the best one.", ge=2, le=1000, klass="cosmetic"),
    ] = 2


@record
class Hardware:
    """Where the plan runs."""

    platform: Annotated[
        Literal["auto", "cpu", "gpu"],
        Fact(doc="Device kind; `auto` takes a GPU where there is one.", klass="throughput"),
    ] = "auto"
    devices: Annotated[
        int, Fact(doc="Devices the batch is split over.", ge=1, le=65536, klass="throughput")
    ] = 1
    deterministic: Annotated[
        bool,
        Fact(doc="Forbid GPU kernels whose result varies from run to run.", klass="throughput"),
    ] = True
    max_memory_gb: Annotated[
        float | None,
        Fact(
            doc="Memory of each device, in GB of 2^30 bytes (GiB); a plan that needs more is refused. Null checks nothing.",
            gt=0,
            le=1000000,
            unit="GB",
            klass="throughput",
            examples=(16, 80),
        ),
    ] = None
    memory_margin: Annotated[
        float,
        Fact(
            doc="Share of `max_memory_gb` kept free.",
            ge=0,
            lt=1,
            klass="throughput",
            when=("max_memory_gb", "positive"),
        ),
    ] = 0.1
    bytes_per_parameter: Annotated[
        int | None,
        Fact(
            doc="Bytes of a number in the rule of thumb of `memory_multiplier`, without which it means something under `masked_diffusion` alone; null is 4.",
            ge=1,
            le=16,
            unit="bytes",
            klass="throughput",
        ),
    ] = None
    memory_multiplier: Annotated[
        float | None,
        Fact(
            doc="Copies of the parameters that the micro-diffusion guide's rule of thumb counts: parameters × bytes × this + the batch's token ids. The summary shows it beside the compiler's own estimate, which decides. Null is 3 under `masked_diffusion`, and shows none elsewhere.",
            gt=0,
            le=1000,
            klass="throughput",
            examples=(3.0,),
        ),
    ] = None
