"""What is searched in, texts or images, and its embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from specrun.runtime.data.tables import as_table
from specrun.runtime.predict.corpus import Corpus, folder_of_images, read_corpus
from specrun.runtime.predict.pictures import Picture
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.telling import Tell
from specrun.runtime.vectors import TokenVectors
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import ImageSource, TableSource, modality


def open_corpus(predictor: Predictor, path: Path) -> Corpus:
    """The texts of a file or of a folder of code; of a run that finds images, those of a folder.

    So too of a directory with a network of images, where ``path`` is a folder.
    """
    plan = predictor.trained.plan
    whole = plan is None and predictor.trained.model.image_processor is not None
    if images_of(predictor) is not None or (whole and path.is_dir()):
        return folder_of_images(path)
    source = plan.data.source if plan else None
    return read_corpus(path, source.positive if isinstance(source, TableSource) else None)


def images_of(predictor: Predictor) -> ImageSource | None:
    """Where the images lie that a run finds; None where it finds texts."""
    plan = predictor.trained.plan
    if plan is None or not isinstance(plan.data.source, TableSource):
        return None
    if modality(plan.data.source, "positive") != "image":
        return None
    source = as_table(plan.data.source)
    assert isinstance(source, TableSource)
    return source.images


def embed_corpus_tokens(predictor: Predictor, corpus: Corpus, tell: Tell) -> TokenVectors:
    """The vectors of the tokens or patches of a corpus, not normalised."""
    if corpus.images:
        return predictor.embed_image_tokens(list(corpus.images), tell=tell)
    return predictor.embed_tokens(list(corpus.texts), side="positive", tell=tell)


def ask(predictor: Predictor, query: str | None, image: Picture | None) -> np.ndarray:
    """The embedding float32 [1, whole width] of a text, of an image, or of both, not normalised.

    InputError for an image that cannot be read, and for a query that lacks what the run's queries have.
    """
    _check_asked(predictor, query, image)
    if image is not None:
        return predictor.embed_images([image], texts=None if query is None else [query])
    assert query is not None
    return predictor.embed([query], side="query")


def ask_tokens(predictor: Predictor, query: str | None, image: Picture | None) -> TokenVectors:
    """As ``ask``, the vectors of tokens and patches."""
    _check_asked(predictor, query, image)
    if image is not None:
        return predictor.embed_image_tokens([image], texts=None if query is None else [query])
    assert query is not None
    return predictor.embed_tokens([query], side="query")


def _check_asked(predictor: Predictor, query: str | None, image: Picture | None) -> None:
    """A run of images is asked by images; where its queries have texts too, by both."""
    plan = predictor.trained.plan
    wanted = "text" if plan is None else modality(plan.data.source, "query")
    missing = {
        "text": [],
        "image": ["an image"] if image is None else [],
        "both": [*(["a text"] if query is None else []), *(["an image"] if image is None else [])],
    }[wanted]
    if missing:
        raise InputError(
            f"the queries of the run in {predictor.folder} have {_NAMED[wanted]}, "
            f"and this one lacks {' and '.join(missing)}",
            code="query",
            hint="give --image FILE" if "an image" in missing else "give the text too",
        )


_NAMED = {"image": "images", "both": "a text and an image"}


def embed_corpus(predictor: Predictor, corpus: Corpus, tell: Tell) -> np.ndarray:
    """Embeddings float32 [N, whole width] of the texts or images of a corpus, not normalised."""
    if corpus.images:
        return predictor.embed_images(list(corpus.images), tell=tell)
    return predictor.embed(list(corpus.texts), side="positive", tell=tell)
