"""Loss terms."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record
from specrun.spec.words.teachers import Teacher


@record
class FalseNegatives:
    """Candidates that are taken for positives, and so are nobody's negatives."""

    identical: Annotated[
        bool,
        Fact(
            doc="A candidate with the text of the row's positive, or that is the positive of another row with the same query. Texts that differ in case, white space or compatibility forms alone are identical. A row's own negatives are other texts than its positive anyway."
        ),
    ] = True
    margin: Annotated[
        float | None,
        Fact(
            doc="A candidate is not counted when its cosine with the query, as the model has it at this step, is above the positive's less the margin. Null is off.",
            ge=0,
            le=2,
            examples=(0.05,),
        ),
    ] = None
    margin_strategy: Annotated[
        Literal["relative", "absolute"],
        Fact(
            doc="The limit: positive − margin · |positive| or positive − margin, as in sentence-transformers' GISTEmbedLoss with the model as its own guide.",
        ),
    ] = "relative"


@record
class InfoNCELoss:
    """Cross-entropy of cosine similarities over temperature against the diagonal of the batch."""

    kind: Annotated[
        Literal["infonce"], Fact(doc="InfoNCE with in-batch and explicit negatives.")
    ] = "infonce"
    temperature: Annotated[
        float, Fact(doc="Divides the cosines; the start value when it is trained.", gt=0, le=100)
    ] = 0.07
    train_temperature: Annotated[
        bool, Fact(doc="Train the temperature as exp of a scalar, kept at 0.01 or above.")
    ] = False
    negatives: Annotated[
        Literal["in_batch", "own", "all"] | None,
        Fact(
            doc="What each query is told from: the other rows' positives (`in_batch`), its row's explicit negatives only (`own`), or these of every row and the other positives (`all`). Null is `all` where the data has negatives, else `in_batch`. Rows of one label are never each other's negatives."
        ),
    ] = None
    symmetric: Annotated[
        bool,
        Fact(
            doc="Mean of query→positive and positive→query.",
            when=("negatives", (None, "in_batch", "all")),
        ),
    ] = True
    false_negatives: Annotated[
        FalseNegatives | None,
        Fact(doc="What is nobody's negative besides rows of one label; null is nothing."),
    ] = None
    name: Annotated[
        str | None,
        Fact(
            doc="Name for stages and metrics; null is the kind.",
            examples=("retrieval",),
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        ),
    ] = None
    weight: Annotated[float, Fact(doc="Factor in the weighted sum.", ge=0, le=1000000)] = 1.0


Name = Annotated[
    str | None,
    Fact(
        doc="Name for stages and metrics; null is the kind.",
        examples=("retrieval",),
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
    ),
]
Weight = Annotated[float, Fact(doc="Factor in the weighted sum.", ge=0, le=1000000)]


@record
class TripletLoss:
    """The hardest negative is to be less similar than the positive, by a margin."""

    kind: Annotated[
        Literal["triplet"],
        Fact(
            doc="Mean of relu(hardest negative − positive + margin) over cosines. The hardest is sought among the row's explicit negatives where it has some, else among the other rows' positives. Rows of one label are never each other's negatives; a row without any negative does not count."
        ),
    ] = "triplet"
    margin: Annotated[
        float, Fact(doc="By how much the positive's cosine is to be above.", gt=0, le=2)
    ] = 0.5
    false_negatives: Annotated[
        FalseNegatives | None,
        Fact(
            doc="What is nobody's negative besides rows of one label; null is nothing. A row that its texts leave without a negative does not count; one that the margin leaves without has no loss."
        ),
    ] = None
    name: Name = None
    weight: Weight = 1.0


@record
class SigLIPLoss:
    """Every pair of a query and a candidate is a question of its own: do they belong together?"""

    kind: Annotated[
        Literal["siglip"],
        Fact(
            doc="Sigmoid cross-entropy of every pair of the batch (Zhai et al. 2023): cosine over temperature plus bias, summed over a query's candidates, mean over queries."
        ),
    ] = "siglip"
    temperature: Annotated[
        float, Fact(doc="Divides the cosines; the start value when it is trained.", gt=0, le=100)
    ] = 0.1
    train_temperature: Annotated[
        bool, Fact(doc="Train the temperature as exp of a scalar, without a bound.")
    ] = True
    bias: Annotated[
        float,
        Fact(
            doc="Added to the scores; the start value when it is trained. Far below 0 because nearly all pairs do not belong together.",
            ge=-1000,
            le=1000,
        ),
    ] = -10.0
    train_bias: Annotated[bool, Fact(doc="Train the bias.")] = True
    negatives: Annotated[
        Literal["in_batch", "all"] | None,
        Fact(
            doc="The candidates besides the row's positive: the other rows' positives (`in_batch`), or these and the explicit negatives of every row (`all`). Null is `all` where the data has negatives, else `in_batch`. Pairs of two rows of one label are left out."
        ),
    ] = None
    false_negatives: Annotated[
        FalseNegatives | None,
        Fact(doc="What is nobody's negative besides rows of one label; null is nothing."),
    ] = None
    name: Name = None
    weight: Weight = 1.0


@record
class CoSENTLoss:
    """The cosines of the rows' pairs are to be in the order of the rows' scores."""

    kind: Annotated[
        Literal["cosent"],
        Fact(
            doc="log(1 + Σ exp((cos_j − cos_i) / temperature)) over all two rows of a forward pass of which i has the higher score, `data.columns.score`. Rows without a score do not count; neither does a pass without two different scores."
        ),
    ] = "cosent"
    temperature: Annotated[float, Fact(doc="Divides the cosines.", gt=0, le=100)] = 0.05
    name: Name = None
    weight: Weight = 1.0


_REDUCE = Fact(
    doc="How MaxSim folds the query's tokens: their mean, or their sum, which grows with the query and wants a temperature to match. All losses of a run over token vectors fold alike.",
    enum_docs=("The mean over valid query tokens.", "The sum, as ColBERT's."),
)


@record
class ColBERTLoss:
    """Late interaction: every query token finds its nearest document token."""

    kind: Annotated[
        Literal["colbert"],
        Fact(
            doc="Cross-entropy of MaxSim over temperature (Khattab & Zaharia 2020). MaxSim is the greatest cosine of each query token with the document's tokens, folded by `reduce`. Takes token vectors: `model.pooling: none`, or `model.multi_vector`."
        ),
    ] = "colbert"
    temperature: Annotated[float, Fact(doc="Divides MaxSim.", gt=0, le=10000)] = 0.07
    reduce: Annotated[Literal["mean", "sum"], _REDUCE] = "mean"
    negatives: Annotated[
        Literal["in_batch", "own", "all"] | None,
        Fact(
            doc="What each query is told from: the other rows' positives (`in_batch`), its row's explicit negatives only (`own`), or these of every row and the other positives (`all`). Null is `all` where the data has negatives, else `in_batch`. Rows of one label are never each other's negatives."
        ),
    ] = None
    symmetric: Annotated[
        bool,
        Fact(
            doc="Mean of query→positive and positive→query, both of the same MaxSim.",
            when=("negatives", (None, "in_batch", "all")),
        ),
    ] = False
    name: Name = None
    weight: Weight = 1.0


@record
class DenseLateKLLoss:
    """The two outputs of a model are to rank candidates alike."""

    kind: Annotated[
        Literal["dense_late_kl"],
        Fact(
            doc="KL(softmax(cosines / temperature) ‖ softmax(MaxSim / temperature)) over each query's candidates, mean over queries: of the pooled vectors from the token vectors. Takes `model.multi_vector`."
        ),
    ] = "dense_late_kl"
    temperature: Annotated[float, Fact(doc="Divides both scores.", gt=0, le=10000)] = 0.02
    reduce: Annotated[Literal["mean", "sum"], _REDUCE] = "mean"
    detach: Annotated[
        Literal["none", "dense", "late"],
        Fact(
            doc="Which of the two is held still: neither, as the formula says, or one, which then teaches the other.",
            enum_docs=(
                "The gradient flows into both.",
                "The pooled vectors teach the token vectors.",
                "The token vectors teach the pooled ones.",
            ),
        ),
    ] = "none"
    negatives: Annotated[
        Literal["in_batch", "all"] | None,
        Fact(
            doc="The candidates besides the row's positive: the other rows' positives (`in_batch`), or these and the explicit negatives of every row (`all`). Null is `all` where the data has negatives, else `in_batch`. Pairs of two rows of one label are left out."
        ),
    ] = None
    name: Name = None
    weight: Weight = 1.0


@record
class DistillationLoss:
    """A frozen teacher says how similar a query is to its candidates; the model is to agree."""

    kind: Annotated[
        Literal["distillation"],
        Fact(
            doc="How far the similarities of a query and its candidates are from a frozen teacher's. The teacher embeds every training text once, before the first step; its width and tokenizer may be others. Under Matryoshka the model's embeddings are cut, the teacher's are not."
        ),
    ] = "distillation"
    teacher: Annotated[
        Teacher | None,
        Fact(
            doc="The model whose cosines are imitated; null takes its scores from the rows, `data.columns.score` for the positive and `data.columns.negative_scores` for the row's negatives."
        ),
    ] = None
    objective: Annotated[
        Literal["kl", "mse", "margin_mse"],
        Fact(
            doc="`kl`: KL(softmax(teacher / T) ‖ softmax(model / T)) · T² over a query's candidates (Hinton et al. 2015). `mse`: mean squared difference of the similarities. `margin_mse`: the same of the positive's similarity less each negative's (Hofstätter et al. 2020)."
        ),
    ] = "kl"
    on: Annotated[
        Literal["logits", "cosines"],
        Fact(
            doc="What is compared: cosines divided by `temperature`, or cosines as they are. Scores in the rows are taken as they are."
        ),
    ] = "logits"
    temperature: Annotated[
        float, Fact(doc="Divides the cosines.", gt=0, le=100, when=("on", ("logits",)))
    ] = 0.07
    distillation_temperature: Annotated[
        float,
        Fact(
            doc="T: divides both sides before the softmax.",
            gt=0,
            le=1000,
            when=("objective", ("kl",)),
        ),
    ] = 4.0
    negatives: Annotated[
        Literal["in_batch", "own", "all"] | None,
        Fact(
            doc="The candidates beside the row's positive: the other rows' positives (`in_batch`), its row's explicit negatives (`own`), or these of every row and the other positives (`all`). Null is `all` where the data has negatives, else `in_batch`; with scores in the rows always the row's own. Labels hide no candidate: the teacher says what belongs together."
        ),
    ] = None
    name: Name = None
    weight: Weight = 1.0


@record
class MaskedDiffusionLoss:
    """Cross-entropy of hidden tokens against what stood there: the objective of masked diffusion and of BERT."""

    kind: Annotated[
        Literal["masked_diffusion"], Fact(doc="Hidden tokens of a text are to be told.")
    ] = "masked_diffusion"
    masking_rate: Annotated[
        tuple[float, ...],
        Fact(
            doc="Least and greatest share of a text's tokens that are hidden; a stage may have its own.",
            ge=0,
            le=1,
            min_items=2,
            examples=((0.1, 0.9),),
        ),
    ] = (0.1, 0.9)
    sampling: Annotated[
        Literal["exact", "bernoulli"],
        Fact(
            doc="How many: the greatest share r in a stage's first epoch, falling evenly towards the least, of n tokens max(1, ⌊n · r⌋) each (`exact`); or each token with a probability that each text draws between the two (`bernoulli`).",
        ),
    ] = "exact"
    weighting: Annotated[
        Literal["none", "inverse_rate"],
        Fact(
            doc="The mean over hidden tokens; or the sum over them of cross-entropy / rate, over all tokens: the likelihood bound of masked diffusion.",
        ),
    ] = "none"
    label_smoothing: Annotated[
        float, Fact(doc="Share of the target that is spread over the vocabulary.", ge=0, lt=1)
    ] = 0.0
    name: Name = None
    weight: Weight = 1.0


Loss = (
    InfoNCELoss
    | TripletLoss
    | SigLIPLoss
    | CoSENTLoss
    | ColBERTLoss
    | DenseLateKLLoss
    | DistillationLoss
    | MaskedDiffusionLoss
)
