"""What is said of the difficulty of rows, and what stages take by it."""

from __future__ import annotations

import math

from specrun.compiler.meaning.effects import no_effect
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.curriculum import Select, Stage
from specrun.spec.words.data import EmojiData
from specrun.spec.words.difficulty import Difficulty
from specrun.spec.words.tables import TableData
from specrun.spec.words.texts import TextData

AT = "data.difficulty"
FIELD = "difficulty"
PARTS = {
    "idf_corpus_size": "lexical",
    "readability": "syntactic",
    "clusters": "centrality",
    "embedding": "centrality",
}
"""Key → the part that it is for."""


def difficulty_is_sound(spec: Experiment, report: Reporter) -> None:
    """Weights sum to 1, thresholds are in order, texts are scored, and nothing is set in vain."""
    wanted = _of(spec)
    if wanted is None:
        return
    _weights(wanted, report)
    _thresholds(wanted, report)
    _texts(spec, wanted, report)
    if wanted.weights.centrality and wanted.embedding is None:
        report.error(
            f"{AT}.embedding",
            "no-encoder",
            f"`{AT}.weights.centrality` is {wanted.weights.centrality:g}, and no encoder is named that embeds the texts",
            hint="write `embedding: {kind: pretrained, name_or_path: …}` or `{kind: run, run: …}`, or do without: `weights: {lexical: 0.5, syntactic: 0.5, centrality: 0}`",
            related=(f"{AT}.weights.centrality",),
        )
    for key, part in PARTS.items():
        if getattr(wanted.weights, part) == 0 and getattr(wanted, key) is not None:
            switch = ("data", FIELD, "weights", part)
            message = f"`{AT}.{key}` has no effect while `{AT}.weights.{part}` is 0"
            no_effect(report, ("data", FIELD, key), switch, message)
    if not any(_by_difficulty(stage) for stage in _stages(spec)):
        switch = ("curriculum",)
        message = f"`{AT}` has no effect: no stage selects by it"
        no_effect(report, ("data", FIELD), switch, message)


def stages_have_scores(spec: Experiment, report: Reporter) -> None:
    """A stage takes a class or percentiles only of rows that are scored."""
    for index, stage in enumerate(_stages(spec)):
        select, at = stage.select, f"curriculum.stages[{index}].select"
        if isinstance(select, Select):
            _percentile(select, at, report)
        wants = isinstance(select, Select) and select.percentile is not None
        if (wants or select in ("easy", "medium", "hard")) and _of(spec) is None:
            what = "percentiles" if wants else f"`{select}`"
            report.error(
                f"{at}.percentile" if wants else at,
                "not-scored",
                f"{what} of the rows' difficulty, and `{AT}` is null: nothing scores them",
                hint=_how(spec),
                related=(at,),
            )


def _how(spec: Experiment) -> str:
    if isinstance(spec.data, EmojiData):
        return "select by a field: rows of `kind: emoji` are not scored"
    return "write `difficulty: {weights: {lexical: 0.5, syntactic: 0.5, centrality: 0}}` in `data`"


def _percentile(select: Select, at: str, report: Reporter) -> None:
    ends = select.percentile
    if ends is None:
        return
    others = [name for name in ("field", "min", "max") if getattr(select, name) is not None]
    if others:
        report.error(
            f"{at}.percentile",
            "two-selections",
            f"`{at}` has `percentile` and `{others[0]}`",
            hint="a stage selects by percentiles or by a field: remove one",
            related=(f"{at}.{others[0]}",),
        )
    if len(ends) != 2 or ends[0] >= ends[1]:
        report.error(
            f"{at}.percentile",
            "empty-range",
            f"`{at}.percentile` must be two numbers, the second above the first, found [{', '.join(f'{x:g}' for x in ends)}]",
            hint="for instance [20, 80]",
            related=(f"{at}.percentile",),
        )


def _weights(wanted: Difficulty, report: Reporter) -> None:
    weights = wanted.weights
    total = weights.lexical + weights.syntactic + weights.centrality
    if not math.isclose(total, 1.0, abs_tol=1e-9):
        said = f"lexical {weights.lexical:g}, syntactic {weights.syntactic:g} and centrality {weights.centrality:g}"
        report.error(
            f"{AT}.weights",
            "weights-sum",
            f"`{AT}.weights` must sum to 1, and {said} are {total:g}",
            hint="write all three; a part of weight 0 is not computed",
            related=(f"{AT}.weights",),
        )


def _thresholds(wanted: Difficulty, report: Reporter) -> None:
    if wanted.easy_below >= wanted.hard_above:
        report.error(
            f"{AT}.easy_below",
            "thresholds-order",
            f"`{AT}.easy_below` {wanted.easy_below:g} is not below `hard_above` {wanted.hard_above:g}",
            hint="0 < easy_below < hard_above < 100",
            related=(f"{AT}.hard_above",),
        )


def _texts(spec: Experiment, wanted: Difficulty, report: Reporter) -> None:
    """The side that is scored is a text alone."""
    if isinstance(spec.data, TextData):
        switch, message = ("data", "kind"), f"`{AT}.text` has no effect: a row is one text"
        no_effect(report, ("data", FIELD, "text"), switch, message)
    if not isinstance(spec.data, TableData):
        return
    letter = spec.data.retrieval_mode[0 if wanted.text == "query" else -1]
    if letter == "t":
        return
    what = "images" if letter == "i" else "texts with images"
    mode = spec.data.retrieval_mode
    other = "positive" if wanted.text == "query" else "query"
    hint = f"score the other side, `text: {other}`" if "t" in mode.split("2") else "remove it"
    report.error(
        f"{AT}.text",
        "not-a-text",
        f"with `retrieval_mode: {mode}` the {wanted.text} side is {what}, and only texts are scored",
        hint=hint,
        related=("data.retrieval_mode",),
    )


def _by_difficulty(stage: Stage) -> bool:
    select = stage.select
    if isinstance(select, Select):
        return select.percentile is not None or (select.field or "").startswith(FIELD)
    return select in ("easy", "medium", "hard")


def _stages(spec: Experiment) -> tuple[Stage, ...]:
    return spec.curriculum.stages if spec.curriculum else ()


def _of(spec: Experiment) -> Difficulty | None:
    return None if isinstance(spec.data, EmojiData) else spec.data.difficulty
