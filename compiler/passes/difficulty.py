"""Passes for the difficulty of rows: the encoder it needs, the scores, and the rows that stages take by them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from specrun.compiler.draft import Context, Draft, StageDraft
from specrun.compiler.passes.outside import frozen, tell
from specrun.spec.diagnostics import InputError
from specrun.spec.words.data import EmojiData
from specrun.spec.words.difficulty import Difficulty

if TYPE_CHECKING:
    from specrun.spec.plan.data import Scan
    from specrun.spec.plan.difficulty import DifficultySettings
    from specrun.spec.plan.losses import TeacherPlan

AT = "data.difficulty"


def difficulty_of(draft: Draft) -> Difficulty | None:
    """What the spec says of it."""
    data = draft.spec.data
    return None if isinstance(data, EmojiData) else data.difficulty


def place_encoder(draft: Draft, context: Context) -> Draft:
    """The encoder that embeds the texts, inspected; nothing where no part needs one."""
    wanted = difficulty_of(draft)
    if wanted is None or wanted.embedding is None or not wanted.weights.centrality:
        return draft
    at = f"{AT}.embedding"
    encoder = frozen(wanted.embedding, at, "encoder", context.facts.encoder, context)
    return replace(draft, encoder=encoder)


def score_rows(draft: Draft, context: Context) -> Draft:
    """Score the rows, and resolve what stages take by their scores."""
    from specrun.spec.plan.difficulty import DifficultyPlan  # 10 ms that most specs need not pay

    wanted = difficulty_of(draft)
    if wanted is None or draft.scan is None or draft.scan.training_rows == 0:
        return draft
    if wanted.weights.centrality and wanted.clusters > draft.scan.training_rows:
        context.report.error(
            f"{AT}.clusters",
            "too-few-rows",
            f"{wanted.clusters} clusters, and there are {draft.scan.training_rows} training rows",
            hint=f"at most {draft.scan.training_rows}",
        )
        return draft
    settings = _settings(wanted, draft.encoder)
    try:
        found = context.facts.difficulty(draft.scan, settings, wanted.easy_below, wanted.hard_above)
    except InputError as error:
        tell(error, AT, context)
        return draft
    plan = DifficultyPlan(
        settings=settings,
        easy_below=wanted.easy_below,
        hard_above=wanted.hard_above,
        found=found,
    )
    stages = tuple(_resolved(stage, draft.scan) for stage in draft.stages)
    fields = (*(draft.fields or ()), *(field.name for field in found.fields))
    return replace(draft, difficulty=plan, stages=stages, fields=fields)


def expected_fields(draft: Draft) -> Iterator[str]:
    """The fields that scoring will give, for ``check``, which scores nothing."""
    from specrun.spec.plan.difficulty import PARTS, field_names

    wanted = difficulty_of(draft)
    if wanted is not None:
        parts = tuple(part for part in PARTS if getattr(wanted.weights, part))
        yield from field_names(parts)


def _settings(wanted: Difficulty, encoder: TeacherPlan | None) -> DifficultySettings:
    from specrun.spec.plan.difficulty import (
        CentralityPart,
        DifficultySettings,
        LexicalPart,
        SyntacticPart,
    )

    weights = wanted.weights
    lexical = LexicalPart(weight=weights.lexical, idf_corpus_size=wanted.idf_corpus_size)
    syntactic = SyntacticPart(weight=weights.syntactic, readability=wanted.readability)
    central = None
    if weights.centrality:
        assert encoder is not None  # ``place_encoder`` found it, or told why not
        central = CentralityPart(
            weight=weights.centrality, clusters=wanted.clusters, encoder=encoder
        )
    return DifficultySettings(
        text=wanted.text,
        lexical=lexical if weights.lexical else None,
        syntactic=syntactic if weights.syntactic else None,
        centrality=central,
    )


def rows_to_select(stage: StageDraft, scan: Scan) -> int:
    """Training rows among which a stage selects: of texts those of its format."""
    chosen = stage.selection.format if stage.selection else None
    counts = [x.training_rows for x in scan.formats if x.format == chosen]
    return counts[0] if counts else scan.training_rows


def _resolved(stage: StageDraft, scan: Scan) -> StageDraft:
    """Percentiles as ranks: exact numbers of rows, whatever scores are equal."""
    from specrun.spec.plan.difficulty import RANK, cut
    from specrun.spec.plan.segments import Selection

    if stage.percentiles is None:
        return stage
    rows = rows_to_select(stage, scan)
    low, high = (cut(percentile, rows) for percentile in stage.percentiles)
    chosen = Selection(
        field=RANK,
        minimum=float(low),
        maximum=float(high - 1),
        format=stage.selection.format if stage.selection else None,
        said=stage.said,
    )
    return replace(stage, selection=chosen)
