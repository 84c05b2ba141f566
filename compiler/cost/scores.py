"""Bytes of the losses: score matrices, embeddings and their slopes."""

from __future__ import annotations

from collections.abc import Mapping

from specrun.compiler.cost.work import FLOAT, Batching, Step, Work

SCORES_OF_A_WIDTH: Mapping[str, float] = {
    "infonce": 2,
    "triplet": 2,
    "siglip": 3,
    "cosent": 1.3,
    "distillation.kl": 3,
    "distillation.mse": 1.4,
    "distillation.margin_mse": 1.4,
}
"""Score matrices [B, B] alive for each width of a loss, and one more in all: scores, exponentials, slopes, masks."""

LATE = frozenset(("colbert", "dense_late_kl"))
"""Losses that compare the tokens of texts, and those texts by what they find."""

LATE_COPIES = (4.4, 3.0)
"""Cosines of all tokens alive, whole and in a tile: as they come, without padding, the nearest, and slopes."""

LATE_WIDTH = 1.5
"""Those for each further width, where they are whole."""

HIDDEN = "masked_diffusion"
"""The loss that scores every id for every token of a text."""

HIDDEN_COPIES = (2.2, 3.0)
"""Scores of ids alive, of all rows and of some: as they come, and slopes; where some are taken, exponentials besides."""

WITHOUT_PRODUCTS = frozenset(("cosent",))
"""Losses that compare a number of each row with those of all rows, and no embeddings."""


def loss_bytes(work: Work, step: Step, batching: Batching) -> int:
    """Score matrices of every loss at every width, and the embeddings, normalised ones and slopes."""
    if HIDDEN in step.losses:
        return _hidden_bytes(work, step, batching)
    late = [kind for kind in step.losses if kind in LATE]
    found = _late_bytes(work, step, batching, len(late)) if work.token_width else 0
    if len(late) == len(step.losses):
        return found
    rows = batching.rows
    tiled = batching.tile < rows
    each = [SCORES_OF_A_WIDTH[kind] for kind in step.losses if kind not in LATE]
    taught = work.teacher is not None and any("distillation" in kind for kind in step.losses)
    kept = 1 + taught + (max(each) if tiled else len(work.dims) * sum(each))
    scores = kept * (min(batching.tile, rows) // batching.devices) * rows * work.candidates
    width = work.width
    embeddings = (
        sum(t.count for t in step.texts) * rows * (2 * width + 2 * len(each) * sum(work.dims))
    )
    return found + round(FLOAT * (scores + embeddings))


def _hidden_bytes(work: Work, step: Step, batching: Batching) -> int:
    """States of all tokens with their slopes, and the scores of a tile."""
    length, width = step.texts[0].length, work.network(None).hidden_size
    states = 2 * batching.micro * length * width
    rows = min(batching.tile, batching.micro)
    copies = HIDDEN_COPIES[rows < batching.rows]
    return round(FLOAT * (states + copies * rows * length * work.vocabulary) / batching.devices)


def _late_bytes(work: Work, step: Step, batching: Batching, losses: int) -> int:
    """Token vectors, normalised ones and slopes; the scores of texts, and of tokens those of a tile."""
    rows, candidates = batching.rows, batching.rows * work.candidates
    tokens = rows * sum(text.count * text.length for text in step.texts)
    compared = rows * sum(text.count * text.vectors for text in step.texts)
    vectors = tokens * 2 * work.token_width + compared * 2 * losses * sum(work.token_dims)
    query, document = step.compared
    tiled = batching.documents < candidates
    shown = min(batching.documents, candidates) * query * document // batching.devices
    widths = 1 if tiled else losses * len(work.token_dims)
    scores = rows * (LATE_COPIES[tiled] + LATE_WIDTH * (widths - 1)) * shown
    texts = losses * len(work.token_dims) * 2 * rows * candidates * (1 + query * tiled)
    return (
        round(FLOAT * (vectors + scores + texts)) if losses else FLOAT * tokens * work.token_width
    )
