"""The plan's losses, segments, traces, optimizer, evaluation, checkpoints, hardware and cost."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.plan.data import Input, TextFormat
from specrun.spec.plan.generation import GenerationPlan
from specrun.spec.plan.model import TextConfig
from specrun.spec.plan.schedule import Schedule
from specrun.spec.record import record


@record
class FalseNegativesPlan:
    """Candidates that are taken for positives, and so are nobody's negatives."""

    identical: Annotated[
        bool, Fact(doc="Those with the text of the row's positive, and positives of its query.")
    ]
    margin: Annotated[
        float | None, Fact(doc="Those whose cosine is above the positive's less that; null is off.")
    ]
    margin_strategy: Annotated[
        Literal["relative", "absolute"],
        Fact(doc="positive − margin · |positive|, or positive − margin."),
    ]


@record
class InfoNCE:
    kind: Annotated[Literal["infonce"], Fact(doc="Cross-entropy against the diagonal.")] = "infonce"
    name: Annotated[str, Fact(doc="Unique name.")]
    temperature: Annotated[float, Fact(doc="Divides the cosines; the start when trained.")]
    train_temperature: Annotated[
        bool, Fact(doc="Whether it is a parameter, `losses.NAME.log_scale`.")
    ]
    symmetric: Annotated[bool, Fact(doc="Both directions.")]
    negatives: Annotated[
        Literal["in_batch", "own", "all"],
        Fact(doc="What each query is told from: other positives, its own negatives, or all."),
    ]
    false_negatives: Annotated[
        FalseNegativesPlan | None, Fact(doc="What is nobody's negative; null is labels alone.")
    ] = None


@record
class Triplet:
    """The hardest of a row's explicit negatives, or of the other positives where it has none."""

    kind: Annotated[Literal["triplet"], Fact(doc="Hinge on the hardest negative.")] = "triplet"
    name: Annotated[str, Fact(doc="Unique name.")]
    margin: Annotated[float, Fact(doc="Between the positive's cosine and the negative's.")]
    false_negatives: Annotated[
        FalseNegativesPlan | None, Fact(doc="What is nobody's negative; null is labels alone.")
    ] = None


@record
class SigLIP:
    kind: Annotated[Literal["siglip"], Fact(doc="Sigmoid of every pair.")] = "siglip"
    name: Annotated[str, Fact(doc="Unique name.")]
    temperature: Annotated[float, Fact(doc="Divides the cosines; the start when trained.")]
    train_temperature: Annotated[
        bool, Fact(doc="Whether it is a parameter, `losses.NAME.log_scale`.")
    ]
    bias: Annotated[float, Fact(doc="Added to the scores; the start when trained.")]
    train_bias: Annotated[bool, Fact(doc="Whether it is a parameter, `losses.NAME.bias`.")]
    negatives: Annotated[
        Literal["in_batch", "all"],
        Fact(doc="Candidates besides the positive: other positives, or all."),
    ]
    false_negatives: Annotated[
        FalseNegativesPlan | None, Fact(doc="What is nobody's negative; null is labels alone.")
    ] = None


@record
class CoSENT:
    kind: Annotated[Literal["cosent"], Fact(doc="Cosines in the order of scores.")] = "cosent"
    name: Annotated[str, Fact(doc="Unique name.")]
    temperature: Annotated[float, Fact(doc="Divides the cosines.")]


@record
class ColBERT:
    kind: Annotated[Literal["colbert"], Fact(doc="Cross-entropy of MaxSim.")] = "colbert"
    name: Annotated[str, Fact(doc="Unique name.")]
    temperature: Annotated[float, Fact(doc="Divides MaxSim.")]
    reduce: Annotated[Literal["mean", "sum"], Fact(doc="How MaxSim folds the query's tokens.")]
    symmetric: Annotated[bool, Fact(doc="Both directions.")]
    negatives: Annotated[
        Literal["in_batch", "own", "all"],
        Fact(doc="What each query is told from: other positives, its own negatives, or all."),
    ]


@record
class DenseLateKL:
    kind: Annotated[
        Literal["dense_late_kl"], Fact(doc="KL from cosines to MaxSim over the candidates.")
    ] = "dense_late_kl"
    name: Annotated[str, Fact(doc="Unique name.")]
    temperature: Annotated[float, Fact(doc="Divides both scores.")]
    reduce: Annotated[Literal["mean", "sum"], Fact(doc="How MaxSim folds the query's tokens.")]
    detach: Annotated[Literal["none", "dense", "late"], Fact(doc="Which side gets no gradient.")]
    negatives: Annotated[
        Literal["in_batch", "all"],
        Fact(doc="Candidates besides the positive: other positives, or all."),
    ]


@record
class TeacherPlan:
    """A frozen model whose embeddings of the training texts are made before the first step."""

    kind: Annotated[
        Literal["pretrained", "run"], Fact(doc="What the folder holds.", klass="cosmetic")
    ]
    folder: Annotated[str, Fact(doc="Absolute folder.", klass="cosmetic")]
    which: Annotated[
        Literal["best", "final"] | None,
        Fact(doc="Parameters of a run; null for a directory.", klass="cosmetic"),
    ]
    files: Annotated[
        tuple[Input, ...], Fact(doc="Its configuration or plan, its tokenizer and its weights.")
    ]
    config: Annotated[TextConfig, Fact(doc="Its configuration, complete.")]
    width: Annotated[int, Fact(doc="Numbers of an embedding.")]
    max_query_length: Annotated[int, Fact(doc="Tokens kept of a query.", unit="tokens")]
    max_positive_length: Annotated[int, Fact(doc="Tokens kept of a positive.", unit="tokens")]
    weight_bytes: Annotated[int, Fact(doc="All of its parameters.", unit="bytes", klass="cosmetic")]


@record
class Distillation:
    """Similarities of a query and its candidates against a frozen teacher's."""

    kind: Annotated[Literal["distillation"], Fact(doc="Against a teacher.")] = "distillation"
    name: Annotated[str, Fact(doc="Unique name.")]
    teacher: Annotated[
        TeacherPlan | None, Fact(doc="The teacher; null takes scores from the rows.")
    ]
    objective: Annotated[Literal["kl", "mse", "margin_mse"], Fact(doc="What is measured.")]
    temperature: Annotated[float, Fact(doc="Divides the cosines; 1 leaves them as they are.")]
    distillation_temperature: Annotated[
        float, Fact(doc="T, of the softmax; 1 where there is none.")
    ]
    negatives: Annotated[
        Literal["in_batch", "own", "all"],
        Fact(
            doc="Candidates beside the positive: other positives, the row's own negatives, or all."
        ),
    ]


@record
class MaskedDiffusion:
    """Hidden tokens of a text against what stood there."""

    kind: Annotated[Literal["masked_diffusion"], Fact(doc="Cross-entropy at hidden tokens.")] = (
        "masked_diffusion"
    )
    name: Annotated[str, Fact(doc="Unique name.")]
    sampling: Annotated[
        Literal["exact", "bernoulli"],
        Fact(doc="So many tokens of each row, or each token by a rate that each row draws."),
    ]
    weighting: Annotated[
        Literal["none", "inverse_rate"],
        Fact(doc="Mean over hidden tokens, or sum over them by 1 / rate, over all tokens."),
    ]
    label_smoothing: Annotated[float, Fact(doc="Share of the target spread over all ids.")]


LossPlan = (
    InfoNCE | Triplet | SigLIP | CoSENT | ColBERT | DenseLateKL | Distillation | MaskedDiffusion
)

Late = ColBERT | DenseLateKL
"""The losses that take token vectors."""


def hiding(losses: tuple[LossPlan, ...]) -> MaskedDiffusion | None:
    """The loss that hides tokens; None where none does. A plan has one at most."""
    return next((loss for loss in losses if isinstance(loss, MaskedDiffusion)), None)


def by_text(losses: tuple[LossPlan, ...]) -> bool:
    """Whether a loss asks which texts are identical."""
    found = (x.false_negatives for x in losses if isinstance(x, InfoNCE | Triplet | SigLIP))
    return any(false is not None and false.identical for false in found)


def teacher_of(losses: tuple[LossPlan, ...]) -> TeacherPlan | None:
    """The teacher of a plan, which has one at most; None where no loss embeds by one."""
    found = (x.teacher for x in losses if isinstance(x, Distillation))
    return next((teacher for teacher in found if teacher is not None), None)


def trained_scalars(loss: LossPlan) -> tuple[str, ...]:
    """Paths of the parameters that belong to the loss itself."""
    found: list[str] = []
    if isinstance(loss, (InfoNCE, SigLIP)) and loss.train_temperature:
        found.append(f"losses.{loss.name}.log_scale")
    if isinstance(loss, SigLIP) and loss.train_bias:
        found.append(f"losses.{loss.name}.bias")
    return tuple(found)


@record
class MatryoshkaPlan:
    dims: Annotated[tuple[int, ...], Fact(doc="Prefix widths.")]
    weights: Annotated[tuple[float, ...], Fact(doc="One weight per width.")]
    reduce: Annotated[
        Literal["sum", "mean"], Fact(doc="Weighted sum, or that over the number of dims.")
    ]


@record
class Selection:
    """Rows of a format with ``minimum <= field <= maximum``; null is no bound. Rows without the field are not selected."""

    field: Annotated[str | None, Fact(doc="Numeric field; null is no range.")] = None
    minimum: Annotated[float | None, Fact(doc="Smallest value.")] = None
    maximum: Annotated[float | None, Fact(doc="Largest value.")] = None
    format: Annotated[
        TextFormat | None, Fact(doc="What a row is, where rows are texts; null is all rows.")
    ] = None
    said: Annotated[
        str,
        Fact(
            doc="What the spec calls these rows; empty where it names the field.", klass="cosmetic"
        ),
    ] = ""

    @property
    def words(self) -> str:
        """For people: ``easy``, ``positive_chars in [, 400]``, ``sentences``, or ``easy sentences``."""
        low, high = ("" if b is None else f"{b:g}" for b in (self.minimum, self.maximum))
        chosen = self.said or (f"{self.field} in [{low}, {high}]" if self.field else "")
        if not self.format:
            return chosen
        return f"{chosen} {self.format}" if self.said else f"{self.format} {chosen}".strip()


@record
class AdvancePlan:
    """A segment ends after an evaluation when the metric has not improved for so many of its evaluations."""

    metric: Annotated[str, Fact(doc="Metric, as named in results.")]
    patience: Annotated[int, Fact(doc="Evaluations without improvement.")]
    min_delta: Annotated[float, Fact(doc="Smallest improvement.")]


@record
class MaskingRange:
    """Share of tokens hidden: in epoch e of E it is ``maximum − (e / E) · (maximum − minimum)``."""

    minimum: Annotated[float, Fact(doc="Share that the last epochs come near.")]
    maximum: Annotated[float, Fact(doc="Share in the first epoch.")]


def masking_rate(span: MaskingRange, epoch: int, epochs: int) -> float:
    """Share of tokens hidden in the 0-based epoch of so many, where counts are exact."""
    return span.maximum - epoch / epochs * (span.maximum - span.minimum)


@record
class PseudoPlan:
    """Texts that the model makes of a segment's rows before its first step."""

    count: Annotated[int, Fact(doc="Rows that they take at the end of the segment's.")]
    hidden: Annotated[tuple[float, float], Fact(doc="Least and greatest share of tokens hidden.")]
    words: Annotated[tuple[int, int], Fact(doc="Least and greatest number of words.")]
    similarity: Annotated[
        tuple[float, float], Fact(doc="Least and greatest Jaccard index with the source's words.")
    ]
    unique_words: Annotated[float, Fact(doc="Least share of different words.")]
    generation: Annotated[GenerationPlan, Fact(doc="How tokens are filled in.")]


def pseudo_count(rows: int, ratio: float, most: int) -> int:
    """How many texts a model adds to so many rows: min(most, ⌊ratio · rows⌋)."""
    return min(most, floor(ratio * rows + 1e-9))  # so that 0.29 of 100 are 29, as on paper


@record
class Segment:
    """A range of optimizer steps with one set of traces. Steps are global, 0-based, half open."""

    stage: Annotated[str, Fact(doc="Name of the stage.")]
    first_step: Annotated[int, Fact(doc="First step.", klass="horizon")]
    stop_step: Annotated[int, Fact(doc="Step after the last.", klass="horizon")]
    epochs: Annotated[
        int, Fact(doc="Passes over the rows, the last possibly cut by max_steps.", klass="horizon")
    ]
    rows: Annotated[int, Fact(doc="Rows selected.")]
    steps_per_epoch: Annotated[int, Fact(doc="Optimizer steps in an epoch.")]
    selection: Annotated[Selection | None, Fact(doc="Which rows; null is all.")]
    loss_weights: Annotated[
        Mapping[str, float], Fact(doc="Weight by loss; losses of weight 0 are left out.")
    ]
    masking: Annotated[
        MaskingRange | None, Fact(doc="Share of tokens hidden; null where no loss hides any.")
    ] = None
    learning_rate_scale: Annotated[float, Fact(doc="Multiplies the rate.")]
    schedule: Annotated[Schedule, Fact(doc="The rate; its step counts from schedule_start.")]
    schedule_start: Annotated[
        int, Fact(doc="Global step at which the schedule's step is 0.", klass="horizon")
    ]
    trained: Annotated[tuple[str, ...], Fact(doc="Paths of the parameters that train.")]
    reset_optimizer: Annotated[bool, Fact(doc="Fresh optimizer state for all that trains.")]
    fresh: Annotated[tuple[str, ...], Fact(doc="Paths that get fresh optimizer state on entering.")]
    traces: Annotated[tuple[str, ...], Fact(doc="Names of the traces it uses.", klass="throughput")]
    transition_epochs: Annotated[
        int,
        Fact(
            doc="n: in epoch j of the first n an example is of this segment with probability (j+1)/(n+1), else of the one before."
        ),
    ] = 0
    mined: Annotated[
        bool, Fact(doc="Whether its losses take mined negatives, where the plan mines any.")
    ] = True
    pseudo: Annotated[
        PseudoPlan | None, Fact(doc="Texts that the model adds to its rows; null is none.")
    ] = None
    advance: Annotated[
        AdvancePlan | None, Fact(doc="What ends it before stop_step; null is nothing.")
    ] = None


@record
class Trace:
    """One traced training step: everything here is static in it."""

    name: Annotated[str, Fact(doc="Name.")]
    query_length: Annotated[int, Fact(doc="Padded length of queries.", unit="tokens")]
    positive_length: Annotated[int, Fact(doc="Padded length of positives.", unit="tokens")]
    losses: Annotated[tuple[str, ...], Fact(doc="Losses computed.")]
    segments: Annotated[tuple[int, ...], Fact(doc="Segments that use it.")]
    steps: Annotated[int, Fact(doc="Steps that use it.")]


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
class EarlyStoppingPlan:
    patience: Annotated[int, Fact(doc="Evaluations without improvement.")]
    min_delta: Annotated[float, Fact(doc="Smallest improvement.")]


TOKENS_PREFIX = "multi_vector/"
"""Before the name of a metric: by the token vectors of a model that has an embedding beside them."""


REVERSE_PREFIX = "positive_to_query/"
"""Before the name of a metric: positives are asked for their queries."""

SPEARMAN = "spearman"
"""The metric that compares similarities with scores instead of ranking candidates."""

_LOWER_IS_BETTER = frozenset({"loss", "perplexity"})


def lower_is_better(metric: str) -> bool:
    """Whether a metric improves when it falls, as a loss does."""
    return metric.partition("@")[0] in _LOWER_IS_BETTER


def improves(metric: str, value: float, reference: float, min_delta: float = 0.0) -> bool:
    """Whether ``value`` is better than ``reference`` by more than ``min_delta``."""
    if lower_is_better(metric):
        return value < reference - min_delta
    return value > reference + min_delta


Direction = Literal["query_to_positive", "positive_to_query"]


@record
class EvaluationPlan:
    """Evaluation happens after the steps named: ``after = 10`` means ten optimizer steps were made."""

    after: Annotated[
        tuple[int, ...],
        Fact(doc="Numbers of finished steps; the last is the total.", klass="horizon"),
    ]
    batch_size: Annotated[int, Fact(doc="Rows encoded at a time.", klass="throughput")]
    metrics: Annotated[tuple[str, ...], Fact(doc="Metrics.")]
    directions: Annotated[
        tuple[Direction, ...],
        Fact(doc="What is asked: queries for positives, positives for queries, or both."),
    ] = ("query_to_positive",)
    dims: Annotated[tuple[int, ...], Fact(doc="Widths measured; the first is the whole embedding.")]
    token_dims: Annotated[
        tuple[int, ...],
        Fact(
            doc="Widths measured of the token vectors beside the embedding, the first their whole; empty where there are none beside it."
        ),
    ] = ()
    select_best: Annotated[str, Fact(doc="Metric that chooses the best, as named in results.")]
    masking_rates: Annotated[
        tuple[float, ...],
        Fact(doc="Shares of held-out texts' tokens that are hidden; empty where none are."),
    ] = ()
    early_stopping: Annotated[EarlyStoppingPlan | None, Fact(doc="Null is never.")]


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
class TensorBoardPlan:
    kind: Annotated[Literal["tensorboard"], Fact(doc="Event files.")] = "tensorboard"
    log_dir: Annotated[str, Fact(doc="Folder, relative to the working directory.")]


@record
class WandbPlan:
    kind: Annotated[Literal["wandb"], Fact(doc="A run of Weights & Biases.")] = "wandb"
    project: Annotated[str, Fact(doc="Project.")]
    entity: Annotated[str | None, Fact(doc="Owner; null is the account's default.")]
    mode: Annotated[Literal["offline", "online"], Fact(doc="Whether it sends.")]
    tags: Annotated[tuple[str, ...], Fact(doc="Tags.")]


TrackerPlan = TensorBoardPlan | WandbPlan


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


@record
class TraceCost:
    """The cost of one training trace by arithmetic."""

    name: Annotated[str, Fact(doc="Name of the trace.")]
    peak_bytes: Annotated[int, Fact(doc="On each device.", unit="bytes")]
    flops: Annotated[int, Fact(doc="Floating-point operations of a step, over all devices.")]


@record
class CostPlan:
    """Arithmetic, not measurement. Bytes are those on each device, of the trace that needs the most."""

    weight_bytes: Annotated[int, Fact(doc="All parameters.", unit="bytes")]
    gradient_bytes: Annotated[
        int, Fact(doc="Gradients of the trained ones, and their sums.", unit="bytes")
    ]
    optimizer_bytes: Annotated[int, Fact(doc="Two moments of the trained ones.", unit="bytes")]
    activation_bytes: Annotated[
        int, Fact(doc="The batch, what the backward pass needs, and work space.", unit="bytes")
    ]
    loss_bytes: Annotated[int, Fact(doc="Scores of all rows with all rows.", unit="bytes")]
    peak_bytes: Annotated[int, Fact(doc="Sum of these.", unit="bytes")]
    evaluation_bytes: Annotated[
        int, Fact(doc="The peak while held-out rows are encoded; 0 is none.", unit="bytes")
    ]
    mining_bytes: Annotated[
        int, Fact(doc="The peak while negatives are mined; 0 is none.", unit="bytes")
    ] = 0
    teacher_bytes: Annotated[
        int, Fact(doc="The peak while a teacher embeds the texts; 0 is none.", unit="bytes")
    ] = 0
    rule_bytes: Annotated[
        int | None,
        Fact(
            doc="By the rule of thumb, which decides nothing: parameters × hardware.bytes_per_parameter × hardware.memory_multiplier + the batch's ids; null where it is not asked for.",
            unit="bytes",
        ),
    ] = None
    flops_per_step: Annotated[int, Fact(doc="Floating-point operations of a step, largest trace.")]
    total_flops: Annotated[int, Fact(doc="Over all steps.")]
    traces: Annotated[tuple[TraceCost, ...], Fact(doc="The cost of each trace.")]
