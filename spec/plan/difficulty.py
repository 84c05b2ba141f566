"""The plan's difficulty of rows: how it is scored, and what was found."""

from __future__ import annotations

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.plan.data import FieldRange
from specrun.spec.plan.losses import TeacherPlan
from specrun.spec.record import record

ReadabilityIndex = Literal["flesch", "coleman_liau", "automated_readability"]

SCORE = "difficulty"
RANK = "difficulty_rank"
PARTS = ("lexical", "syntactic", "centrality")


def field_names(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The numeric fields that rows get where ``parts`` are computed."""
    return (SCORE, *(f"{SCORE}_{part}" for part in parts), RANK)


def cut(percentile: float, rows: int) -> int:
    """How many of ``rows`` lie below a percentile, halves rounded up."""
    return int(percentile * rows / 100 + 0.5)


@record
class LexicalPart:
    """The mean inverse document frequency of a text's words."""

    weight: Annotated[float, Fact(doc="What it counts.")]
    idf_corpus_size: Annotated[int, Fact(doc="Texts counted at most.", unit="rows")]


@record
class SyntacticPart:
    """The mean of readability indices."""

    weight: Annotated[float, Fact(doc="What it counts.")]
    readability: Annotated[tuple[ReadabilityIndex, ...], Fact(doc="The indices.")]


@record
class CentralityPart:
    """1 less the cosine of a text's embedding to its cluster's centre."""

    weight: Annotated[float, Fact(doc="What it counts.")]
    clusters: Annotated[int, Fact(doc="Clusters asked for.")]
    encoder: Annotated[TeacherPlan, Fact(doc="The encoder that embeds the texts.")]


@record
class DifficultySettings:
    """What the scores depend on beside the rows."""

    text: Annotated[Literal["query", "positive"], Fact(doc="Which text is scored.")]
    lexical: Annotated[LexicalPart | None, Fact(doc="Rare words; null is not computed.")]
    syntactic: Annotated[SyntacticPart | None, Fact(doc="Readability; null is not computed.")]
    centrality: Annotated[CentralityPart | None, Fact(doc="Embeddings; null is not computed.")]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are computed."""
        return tuple(name for name in PARTS if getattr(self, name) is not None)


@record
class Scored:
    """What scoring found."""

    scores_digest: Annotated[str, Fact(doc="SHA-256 of the scores artefact.")]
    fields: Annotated[
        tuple[FieldRange, ...], Fact(doc="The fields of the training rows that it gives.")
    ]
    easy_score: Annotated[float | None, Fact(doc="Greatest score of an easy row; null is none.")]
    hard_score: Annotated[float | None, Fact(doc="Least score of a hard row; null is none.")]
    easy_rows: Annotated[int, Fact(doc="Training rows that are easy.")]
    medium_rows: Annotated[int, Fact(doc="Training rows between.")]
    hard_rows: Annotated[int, Fact(doc="Training rows that are hard.")]
    held_out: Annotated[
        tuple[int, int, int],
        Fact(doc="Held-out rows by the same scores: easy, medium, hard. None is selected."),
    ]


@record
class DifficultyPlan:
    settings: Annotated[DifficultySettings, Fact(doc="How rows are scored.")]
    easy_below: Annotated[float, Fact(doc="Percentile below which rows are easy.", unit="%")]
    hard_above: Annotated[float, Fact(doc="Percentile above which rows are hard.", unit="%")]
    found: Annotated[Scored, Fact(doc="What scoring found.")]
