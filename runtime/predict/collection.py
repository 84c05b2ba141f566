"""What is searched in, texts or images, and its embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from specrun.runtime.data.tables import as_table
from specrun.runtime.predict.corpus import Corpus, folder_of_images, read_corpus
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.telling import Tell
from specrun.runtime.vectors import TokenVectors
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import ImageSource, PythonSource, TableSource, modality


def open_corpus(predictor: Predictor, path: Path) -> Corpus:
    """The texts of a file or of a folder of code; of a run that finds images, those of a folder."""
    if images_of(predictor) is not None:
        return folder_of_images(path)
    plan = predictor.trained.plan
    source = plan.data.source if plan else None
    return read_corpus(path, source.positive if isinstance(source, TableSource) else None)


def images_of(predictor: Predictor) -> ImageSource | None:
    """Where the images lie that a run finds; None where it finds texts. InputError where its queries are images."""
    plan = predictor.trained.plan
    if plan is None or isinstance(plan.data.source, PythonSource):
        return None
    if modality(plan.data.source, "query") != "text":
        raise InputError(
            f"the queries of the run in {predictor.folder} have images, and a search is for a text",
            code="query",
            hint="embed images with Predictor.encode_image",
        )
    source = as_table(plan.data.source)
    assert not isinstance(source, PythonSource)
    return source.images


def embed_corpus_tokens(predictor: Predictor, corpus: Corpus, tell: Tell) -> TokenVectors:
    """The vectors of the tokens or patches of a corpus, not normalised."""
    if corpus.images:
        return predictor.embed_image_tokens(list(corpus.images), tell=tell)
    return predictor.embed_tokens(list(corpus.texts), side="positive", tell=tell)


def embed_corpus(predictor: Predictor, corpus: Corpus, tell: Tell) -> np.ndarray:
    """Embeddings float32 [N, whole width] of the texts or images of a corpus, not normalised."""
    if corpus.images:
        return predictor.embed_images(list(corpus.images), tell=tell)
    return predictor.embed(list(corpus.texts), side="positive", tell=tell)
