"""Scoring all rows: a prepare job whose result is kept in the cache and cited by its digest.

Only the part that needs an encoder imports jax, and only when it is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from specrun.runtime import cache
from specrun.runtime.data.difficulty import (
    clashing,
    load_scores,
    ranks_of,
    store_scores,
    with_scores,
)
from specrun.runtime.data.order import by_format
from specrun.runtime.data.rows import Rows, Split
from specrun.runtime.data.scan import ensure_rows, rows_of
from specrun.runtime.difficulty import clusters, lexical
from specrun.runtime.difficulty.readability import readabilities
from specrun.runtime.telling import Tell, silent
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import FORMAT as FORMAT_FIELD
from specrun.spec.plan.data import FieldRange
from specrun.spec.plan.difficulty import (
    RANK,
    SCORE,
    CentralityPart,
    DifficultyPlan,
    DifficultySettings,
    LexicalPart,
    Scored,
    SyntacticPart,
    cut,
)
from specrun.spec.plan.plan import Plan

FORMAT = 1
"""Raised with every change of what the same rows and settings score."""

DIGITS = 9
"""Decimals kept of a score: the last bits of a logarithm or a product differ between machines."""

_KIND = "difficulty_of"
_JOB = "scoring, parts"

Nothing = Callable[[], None]


def score(
    rows_digest: str,
    settings: DifficultySettings,
    easy_below: float,
    hard_above: float,
    tell: Tell = silent,
    between: Nothing = lambda: None,
) -> Scored:
    """Score the rows of this digest, or find their scores in the cache.

    ``between`` is called before each batch of an encoder. InputError where a column has the name of
    a computed field, or the encoder cannot be read; RunError when the cache
    cannot be written.
    """
    rows = rows_of(rows_digest)
    _check(rows)
    digest = _known(rows, settings) or _make(rows, settings, tell, between)
    scores = load_scores(digest)
    assert scores is not None  # just found or made
    training = scores.training[SCORE]  # a scan without training rows has ended the compiling
    fields = {**scores.training, RANK: ranks_of(rows.training, training)}
    classes = [
        _classes(training[own], scores.validation[SCORE][other], easy_below, hard_above)
        for own, other in _same_formats(rows)
    ]
    easy_scores = [x.easy_score for x in classes if x.easy_score is not None]
    hard_scores = [x.hard_score for x in classes if x.hard_score is not None]
    easy, medium, hard, *held = np.sum([[*x.training, *x.held_out] for x in classes], 0).tolist()
    return Scored(
        scores_digest=digest,
        fields=tuple(_range(name, values) for name, values in sorted(fields.items())),
        easy_score=max(easy_scores, default=None),
        hard_score=min(hard_scores, default=None),
        easy_rows=easy,
        medium_rows=medium,
        hard_rows=hard,
        held_out=(held[0], held[1], held[2]),
    )


def ensure_scored(plan: Plan, tell: Tell = silent, between: Nothing = lambda: None) -> Rows:
    """The plan's rows with the scores that it cites; made again where the cache has lost them.

    InputError when they now come out otherwise, or as for ``score``.
    """
    rows = ensure_rows(plan.data, tell)
    cited = plan.difficulty
    if cited is None:
        return rows
    if load_scores(cited.found.scores_digest) is None:
        _score_again(rows, cited, tell, between)
    return with_scores(rows, cited.found.scores_digest)


def _score_again(rows: Rows, cited: DifficultyPlan, tell: Tell, between: Nothing) -> None:
    if _make(rows, cited.settings, tell, between) != cited.found.scores_digest:
        raise InputError(
            "the rows score otherwise than when the plan was compiled: the encoder changed, or "
            "another device or version of jax embeds them",
            code="changed-scores",
            hint="compile the spec again, or bring the cache of the machine that compiled it",
        )


def _check(rows: Rows) -> None:
    for split in (rows.training, rows.validation):
        if clash := clashing(split.fields):
            names = ", ".join(f"`{name}`" for name in clash)
            raise InputError(
                f"the rows have columns that name fields of difficulty: {names}",
                code="reserved-field",
                hint="rename the column in the data, or remove data.difficulty and select by the column",
            )


def _known(rows: Rows, settings: DifficultySettings) -> str | None:
    folder = cache.find(_KIND, _key(rows, settings))
    if folder is None:
        return None
    digest = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["digest"]
    return digest if load_scores(digest) is not None else None


def _key(rows: Rows, settings: DifficultySettings) -> str:
    """What the scores depend on: contents and settings, not where an encoder lies."""
    plain = to_plain(settings)
    if settings.centrality is not None:
        encoder = settings.centrality.encoder
        plain["centrality"]["encoder"] = {
            "files": [file.digest for file in encoder.files],
            "config": to_plain(encoder.config),
            "which": encoder.which,
            "lengths": [encoder.max_query_length, encoder.max_positive_length],
        }
    return cache.digest_of({"format": FORMAT, "rows": rows.digest, "settings": plain})


def _make(rows: Rows, settings: DifficultySettings, tell: Tell, between: Nothing) -> str:
    digest = store_scores(*_scores(rows, settings, tell, between))
    text = json.dumps({"digest": digest})
    cache.make(
        _KIND,
        _key(rows, settings),
        lambda folder: _write(folder / "scores.json", text),
    )
    return digest


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _scores(
    rows: Rows, settings: DifficultySettings, tell: Tell, between: Nothing
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The score and its parts of the training and the held-out rows."""
    texts = [_texts(split, settings) for split in (rows.training, rows.validation)]
    measured = dict[str, tuple[float, tuple[np.ndarray, np.ndarray]]]()
    total = len(settings.parts)
    for done, name in enumerate(settings.parts):
        tell(_JOB, done, total)
        match part := getattr(settings, name):
            case LexicalPart():
                found = _lexical(part, *texts)
            case SyntacticPart():
                found = _syntactic(part, *texts)
            case CentralityPart():
                found = _centrality(part, settings.text, *texts, tell, between)
            case _:
                raise AssertionError("internal error: a part of difficulty that nothing computes")
        measured[name] = (part.weight, found)
    tell(_JOB, total, total)
    return _side(measured, 0), _side(measured, 1)


def _side(
    measured: Mapping[str, tuple[float, tuple[np.ndarray, np.ndarray]]], side: int
) -> dict[str, np.ndarray]:
    parts = {f"{SCORE}_{name}": found[side].round(DIGITS) for name, (_, found) in measured.items()}
    weights = [weight for weight, _ in measured.values()]
    whole = sum(w * part for w, part in zip(weights, parts.values(), strict=True))
    return {SCORE: np.asarray(whole).round(DIGITS), **parts}


def _texts(split: Split, settings: DifficultySettings) -> list[str]:
    return list(split.queries if settings.text == "query" else split.positives)


def _lexical(
    part: LexicalPart, training: Sequence[str], held_out: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    chosen = lexical.spread(len(training), part.idf_corpus_size)
    idf = lexical.idf_of(training[i] for i in chosen)
    return scaled(lexical.rarity(training, idf), lexical.rarity(held_out, idf))


def _syntactic(
    part: SyntacticPart, training: Sequence[str], held_out: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    own = readabilities(training, part.readability)
    other = readabilities(held_out, part.readability)
    columns = [scaled(own[:, i], other[:, i]) for i in range(len(part.readability))]
    means = (np.mean([column[side] for column in columns], axis=0) for side in (0, 1))
    return scaled(*means)


def _centrality(
    part: CentralityPart,
    text: str,
    training: Sequence[str],
    held_out: Sequence[str],
    tell: Tell,
    between: Nothing,
) -> tuple[np.ndarray, np.ndarray]:
    from specrun.runtime.teacher.texts import embed_texts  # jax, which the other parts do without

    side = "query" if text == "query" else "positive"
    points = embed_texts(
        part.encoder, {"all": ([*training, *held_out], side)}, between, tell, "scoring, texts"
    )["all"]
    own, other = points[: len(training)], points[len(training) :]
    centres = clusters.k_means(own, part.clusters)
    return scaled(1 - clusters.centrality(own, centres), 1 - clusters.centrality(other, centres))


def scaled(training: np.ndarray, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both brought to 0 to 1 by the least and the greatest of the training rows, and cut there.

    0 where all training rows are equal, and where a value is NaN.
    """
    there = training[~np.isnan(training)]
    low, high = (there.min(), there.max()) if len(there) else (0.0, 0.0)
    span = high - low

    def bring(values: np.ndarray) -> np.ndarray:
        if span <= 0:
            return np.zeros(len(values))
        return np.nan_to_num(np.clip((values - low) / span, 0, 1), nan=0.0)

    return bring(training), bring(held_out)


class _Classes(NamedTuple):
    """How many rows of one format are easy, medium and hard; a score is None where a class has no row."""

    training: tuple[int, int, int]
    held_out: tuple[int, int, int]
    easy_score: float | None
    hard_score: float | None


def _same_formats(rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The training and the held-out rows of each format, or all of them."""
    for own in by_format(rows.training):
        other = np.arange(len(rows.validation))
        if rows.training.texts_only and len(other):
            number = rows.training.fields[FORMAT_FIELD][own[0]]
            other = np.flatnonzero(rows.validation.fields[FORMAT_FIELD] == number)
        yield own, other


def _classes(
    training: np.ndarray, held_out: np.ndarray, easy_below: float, hard_above: float
) -> _Classes:
    """Training rows by their rank. A held-out row is easy where it is at most as hard as the hardest easy one,
    and else hard where it is at least as hard as the easiest hard one."""
    easy, hard = cut(easy_below, len(training)), cut(hard_above, len(training))
    ordered = np.sort(training)
    easy_score = float(ordered[easy - 1]) if easy else None
    hard_score = float(ordered[hard]) if hard < len(ordered) else None
    is_easy = held_out <= (-np.inf if easy_score is None else easy_score)
    is_hard = ~is_easy & (held_out >= (np.inf if hard_score is None else hard_score))
    counts = int(is_easy.sum()), int(is_hard.sum())
    return _Classes(
        training=(easy, hard - easy, len(ordered) - hard),
        held_out=(counts[0], len(held_out) - sum(counts), counts[1]),
        easy_score=easy_score,
        hard_score=hard_score,
    )


def _range(name: str, values: np.ndarray) -> FieldRange:
    return FieldRange(
        name=name,
        count=len(values),
        minimum=float(values.min()),
        maximum=float(values.max()),
    )
