"""The texts nearest to a query: among a run's own rows, or in a corpus."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specrun.runtime import cache
from specrun.runtime.data.items import shortened
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.metrics import top_k
from specrun.runtime.predict.collection import (
    ask,
    ask_tokens,
    embed_corpus,
    embed_corpus_tokens,
    images_of,
    open_corpus,
)
from specrun.runtime.predict.corpus import Corpus, rows_corpus
from specrun.runtime.predict.index import open_index
from specrun.runtime.predict.pictures import Picture
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.telling import Tell, silent
from specrun.runtime.vectors import by_maxsim, cut, normalised
from specrun.spec.diagnostics import InputError

WIDTH = 80
"""Characters of a text that a hit shows."""

_KIND = "embeddings"
_FILE = "embeddings.npy"


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A text found. ``score`` is the cosine, or MaxSim; ``place`` is ``file:line``; ``text`` is one line of it."""

    score: float
    place: str
    text: str


def search(
    folder: str | os.PathLike[str],
    query: str | None = None,
    *,
    image: Picture | None = None,
    corpus: str | os.PathLike[str] | None = None,
    index: str | os.PathLike[str] | None = None,
    top: int = 5,
    dimension: int | None = None,
    tell: Tell = silent,
) -> list[Hit]:
    """The ``top`` texts or images nearest to ``query``, or to ``image``, or to both together, best first.

    They are the unique positives of the run's training and held-out rows, or those of ``corpus``
    (see ``corpus.read_corpus``), or those of an ``index`` that ``index.build_index`` wrote, at its width. Embeddings are kept in the cache, so a second search is quick;
    vectors of tokens are made anew each time. ``tell`` hears how the encoding goes.
    InputError for a query, image, corpus, number or width that cannot be used.
    """
    _check(query, image, top)
    predictor = Predictor(folder)
    asked = _Asked(query, image)
    if index is not None:
        return _in_index(predictor, asked, Path(index), corpus, top, dimension)
    dimension = predictor.check_dimension(dimension)
    found = _corpus(predictor, corpus)
    scores, indices = _nearest(predictor, asked, found, top, dimension, tell)
    return [
        Hit(score=float(score), place=found.places[i], text=_line(found, i))
        for score, i in zip(scores[0], indices[0].tolist(), strict=True)
    ]


@dataclass(frozen=True)
class _Asked:
    """A text, an image, or both."""

    text: str | None
    image: Picture | None

    def embedded(self, predictor: Predictor, dimension: int) -> np.ndarray:
        """float32 [1, dimension], of length 1."""
        return normalised(ask(predictor, self.text, self.image), dimension)


def _nearest(
    predictor: Predictor, asked: _Asked, found: Corpus, top: int, dimension: int, tell: Tell
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and numbers of the best texts: by cosine, or by MaxSim where a model gives token vectors alone."""
    late = predictor.trained.model.multi_vector
    if late is None or not late.alone:
        query = asked.embedded(predictor, dimension)  # first, so that a bad image is told at once
        return top_k(query, normalised(_embeddings(predictor, found, tell), dimension), top)
    tokens = ask_tokens(predictor, asked.text, asked.image)
    documents = embed_corpus_tokens(predictor, found, tell)
    return top_k(
        cut(tokens, dimension), cut(documents, dimension), top, compare=by_maxsim(late.reduce)
    )


def _in_index(
    predictor: Predictor,
    asked: _Asked,
    folder: Path,
    corpus: object,
    top: int,
    dimension: int | None,
) -> list[Hit]:
    """The best entries of an index, which is of this encoder and of one width."""
    if corpus is not None:
        raise InputError(
            "an index holds its own corpus",
            code="corpus",
            hint="give --index or --corpus, not both",
        )
    opened = open_index(folder, predictor.trained.digest)
    if dimension not in (None, opened.dimension):
        raise InputError(
            f"the index in {folder} has width {opened.dimension}, found dimension {dimension!r}",
            code="dimension",
            hint="leave the dimension out, or make an index of that width",
        )
    wanted = asked.embedded(predictor, opened.dimension)
    scores, found = opened.index.search(wanted, min(top, len(opened.corpus.texts)))
    return [
        Hit(score=float(score), place=opened.corpus.places[at], text=_line(opened.corpus, at))
        for score, at in zip(scores[0], found[0].tolist(), strict=True)
        if at >= 0  # an approximate index may find fewer
    ]


def _check(query: str | None, image: Picture | None, top: int) -> None:
    bare = query is None and image is not None
    if not bare and (not isinstance(query, str) or not query.strip()):
        raise InputError(
            "the query must be a text with a word in it",
            code="query",
            hint="or an image: --image FILE",
        )
    if type(top) is not int or top < 1:
        raise InputError(f"top must be a whole number above 0, found {top!r}", code="top")


def _corpus(predictor: Predictor, path: str | os.PathLike[str] | None) -> Corpus:
    plan, images = predictor.trained.plan, images_of(predictor)
    if path is not None:
        return open_corpus(predictor, Path(path))
    if plan is None:
        raise InputError(
            f"{predictor.folder} is no run and has no rows of its own to search in",
            code="corpus",
            hint="name a file with columns or a folder of Python code as the corpus",
        )
    return rows_corpus(ensure_rows(plan.data), images)


def _embeddings(predictor: Predictor, corpus: Corpus, tell: Tell) -> np.ndarray:
    """Embeddings float32 [N, whole width], from the cache or made now."""
    key = cache.digest_of({"encoder": predictor.trained.digest, "texts": list(corpus.texts)})

    def write(folder: Path) -> None:
        found = embed_corpus(predictor, corpus, tell)
        np.save(folder / _FILE, found, allow_pickle=False)

    return np.load(cache.make(_KIND, key, write) / _FILE, allow_pickle=False)


def _line(corpus: Corpus, index: int) -> str:
    """The function's name, or the first line of the text, cut to ``WIDTH``."""
    text = corpus.labels[index] or corpus.texts[index].strip().split("\n", 1)[0]
    return shortened(text, WIDTH)
