"""How difficult the rows are: three scores of their texts, and where easy ends and hard begins."""

from dataclasses import field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class DifficultyWeights:
    """What each part counts; together 1. A part of weight 0 is not computed."""

    lexical: Annotated[float, Fact(doc="Of rare words.", ge=0, le=1)] = 0.3
    syntactic: Annotated[float, Fact(doc="Of long words and sentences.", ge=0, le=1)] = 0.3
    centrality: Annotated[
        float, Fact(doc="Of texts far from their own cluster's centre.", ge=0, le=1)
    ] = 0.4


@record
class PretrainedEmbedding:
    """An encoder in a Hugging Face or sentence-transformers directory."""

    kind: Annotated[
        Literal["pretrained"],
        Fact(doc="An encoder in a Hugging Face or sentence-transformers directory."),
    ] = "pretrained"
    name_or_path: Annotated[
        str,
        Fact(
            doc="Directory, name in specrun.local.yaml, or name in the Hugging Face cache.",
            examples=("models/all-MiniLM-L6-v2",),
        ),
    ]
    max_length: Annotated[
        int | None,
        Fact(
            doc="Tokens of the encoder's own tokenizer kept of a text; null is what the directory says.",
            ge=2,
            le=1048576,
            unit="tokens",
        ),
    ] = None


@record
class RunEmbedding:
    """An encoder that specrun trained."""

    kind: Annotated[Literal["run"], Fact(doc="An encoder that specrun trained.")] = "run"
    run: Annotated[
        str,
        Fact(
            doc="The run's folder (best/, or final/ of a run without evaluations), or its best/ or final/; relative to the working directory, or a name in specrun.local.yaml.",
            examples=("runs/stdlib-search",),
        ),
    ]
    max_length: Annotated[
        int | None,
        Fact(
            doc="Tokens of the encoder's own tokenizer kept of a text; null is what the run kept of its side.",
            ge=2,
            le=1048576,
            unit="tokens",
        ),
    ] = None


Embedding = PretrainedEmbedding | RunEmbedding


@record
class Difficulty:
    """Scores from 0 to 1 of the rows' texts, which stages of the curriculum select by.

    The score is Σ weight · part. A part is what it measures, brought to 0 to 1 over the training rows:
    (value − least) / (greatest − least), and 0 where all are equal. Held-out rows are measured by the
    same least and greatest, and are never selected.
    """

    text: Annotated[
        Literal["query", "positive"],
        Fact(
            doc="Which text of a row is scored.",
            enum_docs=("The query.", "What is to be found."),
        ),
    ] = "positive"
    weights: Annotated[DifficultyWeights, Fact(doc="What each part counts; together 1.")] = field(
        default_factory=DifficultyWeights
    )
    idf_corpus_size: Annotated[
        int,
        Fact(
            doc="Lexical: texts of training rows whose words are counted, at most; more rows are thinned out evenly. The part is the mean of ln((1 + texts) / (1 + texts with the word)) over the words.",
            ge=1,
            unit="rows",
        ),
    ] = 100000
    readability: Annotated[
        tuple[Literal["flesch", "coleman_liau", "automated_readability"], ...],
        Fact(
            doc="Syntactic: readability indices of which the mean is taken, each brought to 0 to 1, harder above easier. `flesch` is reading ease (Flesch 1948), turned round; `coleman_liau` counts letters and sentences (1975); `automated_readability` letters, digits, words and sentences (Smith and Senter 1967).",
            min_items=1,
            unique=True,
        ),
    ] = ("flesch", "coleman_liau", "automated_readability")
    clusters: Annotated[
        int,
        Fact(
            doc="Centrality: clusters of the texts' embeddings (k-means); the part is 1 less the cosine to the text's own centre.",
            ge=1,
            le=65536,
        ),
    ] = 8
    embedding: Annotated[
        Embedding | None,
        Fact(
            doc="Centrality: the encoder that embeds the texts when the spec is compiled; needed where `weights.centrality` is above 0."
        ),
    ] = None
    easy_below: Annotated[
        float, Fact(doc="Rows below this percentile are easy.", gt=0, lt=100, unit="%")
    ] = 33.0
    hard_above: Annotated[
        float,
        Fact(
            doc="Rows above this percentile are hard, those between are medium.",
            gt=0,
            lt=100,
            unit="%",
        ),
    ] = 67.0
