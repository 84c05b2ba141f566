"""The embeddings of a file's texts, or of a folder's images, as a .npy file."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

from specrun.runtime.loop.folder import write_atomic
from specrun.runtime.predict.corpus import folder_of_images, read_lines
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.predict.targets import check_file
from specrun.runtime.telling import Tell, silent
from specrun.runtime.vectors import normalised
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.sides import Side


def encode_file(
    folder: str | os.PathLike[str],
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    column: str = "text",
    dimension: int | None = None,
    side: Side | None = None,
    tell: Tell = silent,
) -> tuple[int, int]:
    """Embed a file's texts, or a folder's images, into a .npy file, float32 [N, D], written in one move. Returns (N, D).

    A .jsonl, .csv, .tsv or .parquet file has a text in ``column`` of each row; of any other file
    each line is a text, an empty one too. Of a folder every image is taken, sorted by its path. ``side`` is as in ``Predictor.encode_text``, and ``tell``
    hears how many texts are done. InputError names the file and line of what cannot be read.
    """
    target = Path(output)
    check_file(target, ".npy")
    images = folder_of_images(Path(input)).images if Path(input).is_dir() else ()
    texts = [] if images else read_lines(Path(input), column)
    predictor = Predictor(folder)
    predictor.check_pooled()
    width = predictor.check_dimension(dimension)
    found = (
        predictor.embed_images(list(images), tell=tell)
        if images
        else predictor.embed(texts, side=side, tell=tell)
    )
    found = normalised(found, width)
    content = io.BytesIO()
    np.save(content, found, allow_pickle=False)
    try:
        write_atomic(target, content.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}", code="unwritable") from error
    return found.shape[0], found.shape[1]
