"""Embeddings of texts and images from a trained run, or from a Hugging Face or sentence-transformers directory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np

from specrun.runtime.generate.filler import BATCH_SIZE as GENERATED_AT_ONCE
from specrun.runtime.generate.filler import Completion
from specrun.runtime.generate.generator import Generator
from specrun.runtime.predict.embedder import BATCH_SIZE, Embedder
from specrun.runtime.predict.pictures import Picture
from specrun.runtime.telling import Tell, silent
from specrun.runtime.vectors import TokenVectors, cut, gathered, maxsim, normalised
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.sides import Side

Output = Literal["dense", "multi_vector"]
"""One vector a text, or one for every token."""


class Predictor(Embedder):
    """The encoder in a folder, ready to embed texts and images. Adapters are merged into the kernels.

    ``dimension`` is the whole width; ``dimensions`` are the widths that were trained;
    ``token_dimensions`` those of the vectors of tokens, where the model gives such. InputError when
    the folder holds no usable encoder; see ``trained.open_folder``.
    """

    @overload
    def encode_text(
        self,
        texts: Sequence[str],
        *,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        side: Side | None = None,
        output: Literal["dense"] = "dense",
    ) -> np.ndarray: ...
    @overload
    def encode_text(
        self,
        texts: Sequence[str],
        *,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        side: Side | None = None,
        output: Literal["multi_vector"],
    ) -> list[np.ndarray]: ...
    def encode_text(
        self,
        texts: Sequence[str],
        *,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        side: Side | None = None,
        output: Output = "dense",
    ) -> np.ndarray | list[np.ndarray]:
        """Embeddings float32 [N, D] of a list of texts, each of length 1 in L2.

        ``dimension`` cuts to the first D numbers before normalising: to a trained width, or with a
        UserWarning to any width of a directory. ``side`` says which length limit of a run holds,
        which of its separate towers embeds, and which prompt is put before the texts: with towers
        or prompts it must be given, else it is ``positive``. With ``output`` ``multi_vector`` a list
        of N arrays [tokens, D], each row of length 1, to be compared by ``maxsim``. InputError for
        anything else.
        """
        if output == "multi_vector":
            return self._encode_tokens(texts, dimension, batch_size, side)
        _check_output(output)
        self.check_pooled()
        dimension = self.check_dimension(dimension)
        return normalised(self.embed(texts, batch_size=batch_size, side=side), dimension)

    @overload
    def encode_image(
        self,
        images: Sequence[Picture],
        *,
        texts: Sequence[str] | None = None,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        output: Literal["dense"] = "dense",
    ) -> np.ndarray: ...
    @overload
    def encode_image(
        self,
        images: Sequence[Picture],
        *,
        texts: Sequence[str] | None = None,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        output: Literal["multi_vector"],
    ) -> list[np.ndarray]: ...
    def encode_image(
        self,
        images: Sequence[Picture],
        *,
        texts: Sequence[str] | None = None,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        output: Output = "dense",
    ) -> np.ndarray | list[np.ndarray]:
        """Embeddings float32 [N, D] of images, each of length 1 in L2: paths, the bytes of files, or Pillow's images.

        With ``texts``, one for each image, of both together. With ``output`` ``multi_vector`` a list of N arrays
        [vectors, D]: the class token, where the network has one, before its patches, and a text's tokens before those.
        InputError for an image that cannot be read, and for a model without a network of images.
        """
        if output == "multi_vector":
            self._check_tokens()
            width = self._token_width(dimension)
            return _listed(
                self.embed_image_tokens(images, texts=texts, batch_size=batch_size), width
            )
        _check_output(output)
        self.check_pooled()
        dimension = self.check_dimension(dimension)
        return normalised(self.embed_images(images, texts=texts, batch_size=batch_size), dimension)

    @overload
    def encode_query(
        self,
        texts: Sequence[str],
        *,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        output: Literal["dense"] = "dense",
    ) -> np.ndarray: ...
    @overload
    def encode_query(
        self,
        texts: Sequence[str],
        *,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        output: Literal["multi_vector"],
    ) -> list[np.ndarray]: ...
    def encode_query(
        self,
        texts: Sequence[str],
        *,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        output: Output = "dense",
    ) -> np.ndarray | list[np.ndarray]:
        """``encode_text`` of queries: by the query tower, cut to the query's length."""
        return self._encode_side(texts, dimension, batch_size, "query", output)

    @overload
    def encode_document(
        self,
        texts: Sequence[str],
        *,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        output: Literal["dense"] = "dense",
    ) -> np.ndarray: ...
    @overload
    def encode_document(
        self,
        texts: Sequence[str],
        *,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        output: Literal["multi_vector"],
    ) -> list[np.ndarray]: ...
    def encode_document(
        self,
        texts: Sequence[str],
        *,
        dimension: int | None = None,
        batch_size: int = BATCH_SIZE,
        output: Output = "dense",
    ) -> np.ndarray | list[np.ndarray]:
        """``encode_text`` of what is to be found: by the positives' tower, cut to their length."""
        return self._encode_side(texts, dimension, batch_size, "positive", output)

    def _encode_side(
        self,
        texts: Sequence[str],
        dimension: int | None,
        batch_size: int,
        side: Side,
        output: Output,
    ) -> np.ndarray | list[np.ndarray]:
        if output == "multi_vector":
            return self._encode_tokens(texts, dimension, batch_size, side)
        return self.encode_text(
            texts, dimension=dimension, batch_size=batch_size, side=side, output=output
        )

    def _encode_tokens(
        self, texts: Sequence[str], dimension: int | None, batch_size: int, side: Side | None
    ) -> list[np.ndarray]:
        self._check_tokens()
        width = self._token_width(dimension)
        return _listed(self.embed_tokens(texts, batch_size=batch_size, side=side), width)

    def _token_width(self, dimension: int | None) -> int:
        """The width to cut token vectors to. InputError for one that was not trained."""
        width = self.token_dimensions[0] if dimension is None else dimension
        if width not in self.token_dimensions:
            allowed = ", ".join(map(str, self.token_dimensions))
            raise InputError(
                f"dimension must be a width of token vectors that the run trained: {allowed}; "
                f"found {dimension!r}",
                code="dimension",
                hint="add it to matryoshka.dims and train again",
            )
        return width

    def check_dimension(self, dimension: int | None) -> int:
        """The width to cut to. InputError, or a UserWarning, for one that was not trained."""
        if dimension is None or (type(dimension) is int and dimension in self.dimensions):
            return self.dimension if dimension is None else dimension
        if self.trained.plan is not None:
            allowed = ", ".join(map(str, self.dimensions))
            raise InputError(
                f"dimension must be a width that the run trained: {allowed}; found {dimension!r}",
                code="dimension",
                hint="add it to matryoshka.dims and train again",
            )
        if type(dimension) is not int or not 1 <= dimension < self.dimension:
            raise InputError(
                f"dimension must be a whole number from 1 to {self.dimension}, found {dimension!r}",
                code="dimension",
            )
        warnings.warn(
            f"the model of {self.folder.name} was not trained to be cut from {self.dimension} to "
            f"{dimension} numbers, as far as its directory says; expect less of the embeddings",
            UserWarning,
            stacklevel=3,
        )
        return dimension

    def maxsim(self, queries: Sequence[np.ndarray], documents: Sequence[np.ndarray]) -> np.ndarray:
        """MaxSim float32 [N, M] of texts as ``encode_text(…, output="multi_vector")`` gives them.

        Query tokens are folded as the run's losses folded them. InputError for arrays of other widths.
        """
        late = self._check_tokens()
        widths = {
            np.shape(text)[-1] if np.ndim(text) == 2 else None for text in (*queries, *documents)
        }
        if len(widths) > 1 or None in widths:
            raise InputError(
                "texts must be arrays [tokens, D] of one width D",
                code="bad-vectors",
                hint='make them with encode_text(texts, output="multi_vector") at one dimension',
            )
        width = widths.pop() if widths else late.width
        assert width is not None
        return maxsim(
            gathered([np.asarray(x, np.float32) for x in queries], width),
            gathered([np.asarray(x, np.float32) for x in documents], width),
            late.reduce,
        )

    @cached_property
    def generator(self) -> Generator:
        """What writes texts, compiled once. InputError where the model predicts no tokens."""
        return Generator(self.trained, self._parameters, self.folder.name)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        seed: int = 0,
        batch_size: int = GENERATED_AT_ONCE,
        tell: Tell = silent,
        **options: Any,
    ) -> list[list[str]]:
        """``num_return_sequences`` texts for each prompt, the prompt kept in each.

        A prompt without ``[MASK]`` is continued to ``max_length`` tokens; in one with, each ``[MASK]`` becomes one
        token and nothing else changes. ``options`` are settings of the spec's section ``generation`` by their names
        (``temperature``, ``steps``, ``top_k``, ...), which else are the run's. The same seed gives the same texts, and
        other prompts do not change a text. ``batch_size`` texts are written at a time. InputError for a model that
        predicts no tokens, and for prompts and options that cannot be used.
        """
        found = self.complete(prompts, seed=seed, batch_size=batch_size, tell=tell, **options)
        return [[one.text for one in texts] for texts in found]

    def complete(
        self,
        prompts: Sequence[str],
        *,
        seed: int = 0,
        batch_size: int = GENERATED_AT_ONCE,
        tell: Tell = silent,
        **options: Any,
    ) -> list[list[Completion]]:
        """As ``generate``, with the ids of each text and the steps that filled them."""
        settings = self.generator.with_options(options)
        return self.generator.write(prompts, settings, seed=seed, batch_size=batch_size, tell=tell)


def _listed(found: TokenVectors, width: int) -> list[np.ndarray]:
    """An array for each, cut to ``width`` and brought to length 1."""
    vectors = cut(found, width)
    assert isinstance(vectors, TokenVectors)
    return [vectors.text(i) for i in range(len(vectors))]


def _check_output(output: object) -> None:
    if output != "dense":
        raise InputError(f"output must be dense or multi_vector, found {output!r}", code="output")
