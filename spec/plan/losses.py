"""The plan's losses, the teacher of one, and the prefixes that they are summed over."""

from __future__ import annotations

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.plan.data import Input
from specrun.spec.plan.networks import TextConfig
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
