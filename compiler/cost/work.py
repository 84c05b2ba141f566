"""What a cost is counted of: the networks, the texts and images of a row, the losses, the batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from specrun.compiler.chunks import MICRO
from specrun.spec.plan.data import modality
from specrun.spec.plan.losses import (
    ColBERT,
    CoSENT,
    DenseLateKL,
    Distillation,
    InfoNCE,
    LossPlan,
    MaskedDiffusion,
    SigLIP,
    TeacherPlan,
    teacher_of,
)
from specrun.spec.plan.networks import (
    BertShape,
    EncoderConfig,
    ModernbertConfig,
    NetworkConfig,
    Qwen3Config,
    TextEncoderConfig,
    TextImageConfig,
    is_language_model,
)
from specrun.spec.plan.parameters import Group, Parameter
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.segments import Trace
from specrun.spec.plan.sides import Side, Tower, tower_of
from specrun.spec.plan.towers import SiglipTextConfig
from specrun.spec.record import record

FLOAT = 4

PIXELS = 2 * FLOAT
"""Bytes of a number of an image in the network: scaled, and cut into patches."""

NUMBER_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 4}
"""Bytes of an activation by ``precision.compute``. Under bfloat16 too: norms and scores are float32 there, and a CPU
widens the rest, so this is an upper bound."""


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
    documents: int = 0
    """Documents of a tile of late interaction; 0 where there is none."""
    chunks: str = MICRO
    """The key by which the spec says ``micro``, for who proposes another."""


@record
class Text:
    """What one encoder takes of a row at one padded length: ``tower`` is None where all share one.

    ``pixels`` are the numbers of an image, whose ``length`` is that of its patches; 0 is a text. ``vectors`` are the
    token vectors that late interaction compares.
    """

    tower: Tower | None
    count: int
    length: int
    vectors: int
    pixels: int = 0


@record
class Step:
    """One training trace: the texts of a row, kinds of losses, the paths that train, how often it runs."""

    name: str
    texts: tuple[Text, ...]
    losses: tuple[str, ...]
    trained: frozenset[str]
    steps: int
    compared: tuple[int, int]
    """Token vectors of a query and of a document."""


@record
class Mining:
    """The search for negatives: ``rows`` at most among which, ``encoded`` at a time, ``found`` for each."""

    rows: int
    encoded: int
    found: int
    width: int


Company = Literal["in-batch negatives", "rows to compare a row with", ""]
"""What the other rows of a batch are to a row; empty where each is judged by itself."""


@record
class Work:
    """The network and the traces that a cost is counted of."""

    config: EncoderConfig
    groups: tuple[Group, ...]
    parameters: tuple[Parameter, ...]
    adapter_dropout: float
    dims: tuple[int, ...]
    candidates: int
    token_dims: tuple[int, ...]
    number_bytes: int
    steps: tuple[Step, ...]
    longest: int
    width: int
    token_width: int = 0
    mining: Mining | None = None
    teacher: TeacherPlan | None = None
    vocabulary: int = 0
    company: Company = ""

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


def work_of(plan: Plan) -> tuple[Work, Batching]:
    """What the cost of a finished plan is counted of."""
    model, train = plan.model, plan.train
    kinds = {loss.name: _kind(loss) for loss in plan.losses}
    steps = tuple(
        Step(
            name=trace.name,
            texts=_texts(plan, trace),
            losses=tuple(kinds[name] for name in trace.losses),
            trained=frozenset(plan.segments[trace.segments[0]].trained),
            steps=trace.steps,
            compared=(
                sum(text.vectors for text in _side(plan, "query", 1, trace.query_length)),
                sum(text.vectors for text in _side(plan, "positive", 1, trace.positive_length)),
            ),
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
        token_dims=_token_dims(plan),
        number_bytes=NUMBER_BYTES[plan.precision.compute],
        steps=steps,
        longest=max(plan.data.max_query_length, plan.data.max_positive_length),
        token_width=model.multi_vector.width if model.multi_vector else 0,
        width=model.embedding_dim,
        mining=_mining(plan),
        teacher=teacher_of(plan.losses),
        vocabulary=_vocabulary(model.config),
        company=_company(plan),
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
        documents=train.document_tile_rows or 0,
    )
    return work, batching


def _vocabulary(config: EncoderConfig) -> int:
    """Ids that the head of a language model scores; 0 where there is none."""
    if isinstance(config, TextEncoderConfig | BertShape) and is_language_model(config):
        return config.vocab_size
    return 0


def _token_dims(plan: Plan) -> tuple[int, ...]:
    """The widths at which losses compare token vectors."""
    late = plan.model.multi_vector
    if late is None:
        return ()
    return plan.matryoshka.dims if plan.matryoshka else (late.width,)


def _kind(loss: LossPlan) -> str:
    """The kind of a loss, told apart as far as the cost differs."""
    return f"{loss.kind}.{loss.objective}" if isinstance(loss, Distillation) else loss.kind


def _company(plan: Plan) -> Company:
    """Of several losses that which loses most."""
    found = {_company_in(loss) for loss in plan.losses}
    if "in-batch negatives" in found:
        return "in-batch negatives"
    return "rows to compare a row with" if "rows to compare a row with" in found else ""


def _company_in(loss: LossPlan) -> Company:
    """A triplet's rows may have explicit negatives; one that has none takes the hardest of the other rows'."""
    match loss:
        case MaskedDiffusion():
            return ""
        case CoSENT():
            return "rows to compare a row with"
        case InfoNCE(negatives="own") | ColBERT(negatives="own") | Distillation(negatives="own"):
            return ""
        case _:
            return "in-batch negatives"


def _takes_all(loss: LossPlan) -> bool:
    """Whether a query's candidates are the explicit negatives of every row too."""
    return (
        isinstance(loss, InfoNCE | SigLIP | Distillation | ColBERT | DenseLateKL)
        and loss.negatives == "all"
    )


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
        *(_side(plan, "positive", 1, trace.positive_length) if trace.positive_length else ()),
    ]
    if negatives := plan.negatives_in(trace.segments[0]):
        found += _side(plan, "positive", negatives, trace.positive_length)
    return tuple(found)


def _side(plan: Plan, side: Side, count: int, length: int) -> Iterator[Text]:
    """What the networks take of one side: a text, an image, or each; nothing where rows have no such side."""
    config = plan.model.config
    if not length:
        return
    if not isinstance(config, TextImageConfig):
        separate = plan.model.towers == "separate"
        yield Text(tower=side if separate else None, count=count, length=length, vectors=length)
        return
    what, image = modality(plan.data.source, side), config.image
    if what != "image":
        whole = isinstance(config.text, SiglipTextConfig)  # which sees every text at full length
        yield Text(
            tower="text",
            count=count,
            length=config.text.max_position_embeddings if whole else length,
            vectors=length,
        )
    if what != "text":
        late = plan.model.multi_vector
        vectors = 0 if late is None else late.image_vectors or 0
        yield Text(
            tower="image", count=count, length=image.tokens, vectors=vectors, pixels=image.numbers
        )


def activation(config: NetworkConfig) -> str:
    """The key of ``PRODUCTS``."""
    match config:
        case Qwen3Config():
            return "swiglu"
        case ModernbertConfig():
            return "gated"
        case _:
            return config.hidden_act


def trains_below(work: Work, step: Step, tower: Tower | None) -> bool:
    """Whether anything before the layers trains, so that every layer hands a slope down."""
    return any(
        (p.role == "embedding" or "embeddings." in p.path)
        and p.path in step.trained
        and tower_of(p.path)[0] == tower
        for p in work.parameters
    )
