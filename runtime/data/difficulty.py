"""The scores of rows as an artefact, and rows that have them as fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from specrun.runtime import cache
from specrun.runtime.data.order import by_format
from specrun.runtime.data.rows import Rows, Split, map_array
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.difficulty import RANK, SCORE, field_names

KIND = "difficulty"


@dataclass(frozen=True)
class Scores:
    """The score and its parts, float64 [rows] of each side by the field's name, from 0 to 1.

    ``digest`` is SHA-256 of the artefact.
    """

    digest: str
    training: Mapping[str, np.ndarray]
    validation: Mapping[str, np.ndarray]


def store_scores(training: Mapping[str, np.ndarray], validation: Mapping[str, np.ndarray]) -> str:
    """Write the artefact and return its digest. RunError when it cannot be written."""

    def write(folder: Path) -> None:
        for side, fields in (("training", training), ("validation", validation)):
            for name, values in fields.items():
                values.astype("<f8").tofile(folder / f"{side}.{name}")

    return cache.add(KIND, write)[0]


def load_scores(digest: str) -> Scores | None:
    """The scores of this digest; None when the cache does not hold them undamaged."""
    folder = cache.find(KIND, digest)
    if folder is None:
        return None
    sides = {"training": dict[str, np.ndarray](), "validation": dict[str, np.ndarray]()}
    for path in sorted(folder.iterdir()):
        side, _, name = path.name.partition(".")
        if side in sides:
            sides[side][name] = map_array(path, "<f8")
    return Scores(digest, sides["training"], sides["validation"])


def with_scores(rows: Rows, digest: str | None) -> Rows:
    """The rows with the scores of this digest among their fields, and the training rows' rank; None adds none.

    RunError when the cache has lost them.
    """
    if digest is None:
        return rows
    scores = load_scores(digest)
    if scores is None:
        raise RunError(
            f"the cache below {cache.cache_root()} lost the scores of difficulty; compile again"
        )
    ranked = {**scores.training, RANK: ranks_of(rows.training, scores.training[SCORE])}
    return replace(
        rows,
        training=replace(rows.training, fields={**rows.training.fields, **ranked}),
        validation=replace(rows.validation, fields={**rows.validation.fields, **scores.validation}),
    )


def ranks_of(training: Split, scores: np.ndarray) -> np.ndarray:
    """The rank of each row; of rows that are texts within its format. float64 [rows]"""
    found = np.empty(len(scores))
    for rows in by_format(training):
        found[rows] = ranks(scores[rows])
    return found


def ranks(scores: np.ndarray) -> np.ndarray:
    """0 for the least score, and so on; of equal ones the earlier row comes first. float64 [rows]"""
    found = np.empty(len(scores))
    found[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return found


def clashing(fields: Mapping[str, np.ndarray]) -> list[str]:
    """Columns of the rows that have the name of a field that is computed."""
    computed = field_names(("lexical", "syntactic", "centrality"))
    return sorted(set(fields) & set(computed))
