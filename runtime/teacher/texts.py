"""Texts embedded by a frozen encoder, each different one once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from specrun.runtime.loop.embed import embed
from specrun.runtime.predict.compiled import compiled
from specrun.runtime.predict.trained import Trained, open_folder
from specrun.runtime.telling import Counted, Tell
from specrun.runtime.vectors import normalised
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.losses import TeacherPlan
from specrun.spec.plan.sides import Side

BATCH_SIZE = 64
"""Texts embedded at a time. Part of the key: the last bits of a product depend on its shape."""


def embed_texts(
    encoder: TeacherPlan,
    texts: Mapping[str, tuple[Sequence[str], Side]],
    between: Callable[[], None],
    tell: Tell,
    job: str,
) -> dict[str, np.ndarray]:
    """Embeddings float32 [texts, W] of length 1 of each list by name; ``between`` is called before each batch.

    InputError when the encoder cannot be read; RunError when it gives something else than numbers.
    """
    trained = _opened(encoder)
    encode = compiled(trained, jax.device_put(trained.parameters))
    count = Counted(job, sum(len(list_) for list_, _ in texts.values()), tell)
    made: dict[str, np.ndarray] = {}
    for name, (list_, side) in texts.items():
        first, of = np.unique(np.array(list(list_), object), return_inverse=True)

        def batch() -> None:
            between()
            count.batch(BATCH_SIZE)

        found = embed(
            trained.tokenizer.encode(list(first), trained.lengths[side]),
            lambda ids, mask, side=side: np.asarray(encode(ids, mask, side).dense),
            batch_size=BATCH_SIZE,
            longest=trained.lengths[side],
            pad_id=trained.tokenizer.pad_id,
            width=encoder.width,
            between=batch,
        )
        if not np.isfinite(found).all():
            raise RunError(f"the encoder in {encoder.folder} embeds a text as NaN or infinity")
        made[name] = normalised(found, encoder.width)[of]
    count.finish()
    return made


def _opened(encoder: TeacherPlan) -> Trained:
    found = open_folder(Path(encoder.folder), encoder.which or "best")
    lengths: dict[Side, int] = {
        "query": encoder.max_query_length,
        "positive": encoder.max_positive_length,
    }
    return replace(found, lengths=lengths)
