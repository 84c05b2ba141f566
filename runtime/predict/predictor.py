"""Embeddings of texts and images from a trained run, or from a Hugging Face or sentence-transformers directory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import jax
import numpy as np

from specrun.runtime.chunks import power_of_two
from specrun.runtime.generate.filler import BATCH_SIZE as GENERATED_AT_ONCE
from specrun.runtime.generate.filler import Completion
from specrun.runtime.generate.generator import Generator
from specrun.runtime.loop.embed import embed, embed_tokens, normalised
from specrun.runtime.predict.compiled import compiled
from specrun.runtime.predict.pictures import MAX_PIXELS, Opened, Paired, Picture
from specrun.runtime.predict.saved import longest_text
from specrun.runtime.predict.texts import check_texts
from specrun.runtime.predict.trained import Which, open_folder
from specrun.runtime.telling import Counted, Tell, silent
from specrun.runtime.vectors import TokenVectors, cut, gathered, maxsim
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import TableSource
from specrun.spec.plan.model import SIDES, MultiVectorPlan, Side, is_language_model

BATCH_SIZE = 64

Output = Literal["dense", "multi_vector"]
"""One vector a text, or one for every token."""


class Predictor:
    """The encoder in a folder, ready to embed texts. Adapters are merged into the kernels.

    ``dimension`` is the whole width; ``dimensions`` are the widths that were trained;
    ``token_dimensions`` those of the vectors of tokens, where the model gives such. InputError when
    the folder holds no usable encoder; see ``trained.open_folder``.
    """

    def __init__(self, folder: str | os.PathLike[str], *, which: Which = "best"):
        self.folder = Path(folder)
        self.trained = open_folder(self.folder, which)
        self.dimensions = self.trained.dimensions
        self.dimension = self.dimensions[0]
        self.token_dimensions = self.trained.token_dimensions
        self._parameters = jax.device_put(self.trained.parameters)
        self._encode = compiled(self.trained, self._parameters)

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

    def embed_images(
        self,
        images: Sequence[Picture],
        *,
        texts: Sequence[str] | None = None,
        batch_size: int = BATCH_SIZE,
        tell: Tell = silent,
    ) -> np.ndarray:
        """Embeddings float32 [N, whole width] as the encoder gives them, not normalised."""
        self.check_pooled()
        return self._dense(*self._pictures(images, texts, batch_size, tell))

    def embed_image_tokens(
        self,
        images: Sequence[Picture],
        *,
        texts: Sequence[str] | None = None,
        batch_size: int = BATCH_SIZE,
        tell: Tell = silent,
    ) -> TokenVectors:
        """The vectors of the images' patches as the encoder gives them, not normalised."""
        late = self._check_tokens()
        return self._tokens(late, *self._pictures(images, texts, batch_size, tell))

    def _pictures(
        self,
        images: Sequence[Picture],
        texts: Sequence[str] | None,
        batch_size: int,
        tell: Tell,
    ) -> tuple[dict[str, Any], Counted]:
        """What ``embed`` and ``embed_tokens`` take of images, or of images and texts together."""
        processor = self.trained.model.image_processor
        if processor is None:
            raise InputError(
                f"the model in {self.folder} embeds texts alone",
                code="no-image-network",
                hint="train one of the kind clip, siglip or composed",
            )
        pixels: Sequence[Any] = Opened(images, processor, self._max_pixels)
        if texts is not None:
            check_texts(texts)
            if len(texts) != len(images):
                raise InputError(
                    f"there must be a text for each image: {len(texts)} texts, {len(images)} images"
                )
            pixels = Paired(self._ids(texts, "query"), pixels)
        count = Counted("encoding, images", len(images), tell)
        return self._given(pixels, batch_size, "query", count)

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

    def embed_tokens(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = BATCH_SIZE,
        side: Side | None = None,
        tell: Tell = silent,
    ) -> TokenVectors:
        """The vectors of the texts' tokens as the encoder gives them, not normalised."""
        late = self._check_tokens()
        return self._tokens(late, *self._batches(texts, batch_size, side, tell))

    def _tokens(self, late: MultiVectorPlan, given: dict[str, Any], count: Counted) -> TokenVectors:
        _, found = embed_tokens(
            **given, width=0 if late.alone else self.dimension, token_width=late.width
        )
        count.finish()
        return found

    def _check_tokens(self) -> MultiVectorPlan:
        """How texts are compared by the vectors of their tokens. InputError where there are none."""
        self._check_embeds()
        late = self.trained.model.multi_vector
        if late is None:
            raise InputError(
                f"the model of {self.folder.name} gives one vector a text, and none for each token",
                code="no-token-vectors",
                hint="train with `model: {pooling: none}` or `model: {multi_vector: {dim: 128}}`",
            )
        return late

    def _check_embeds(self) -> None:
        """InputError for a language model, whose states no loss has made comparable."""
        if is_language_model(self.trained.model.config):
            raise InputError(
                f"the model of {self.folder.name} is a language model: it writes texts, and embeds none",
                code="language-model",
                hint="`specrun generate` writes; to embed, train an encoder of the same shape with `init_from` this run",
            )

    def check_pooled(self) -> None:
        """InputError where the model has no vector for a whole text."""
        self._check_embeds()
        late = self.trained.model.multi_vector
        if late is not None and late.alone:
            raise InputError(
                f"the model of {self.folder.name} gives a vector for each token, and none for a whole text",
                code="no-pooled-vector",
                hint='in Python, encode_text(texts, output="multi_vector") gives them, and maxsim compares; '
                "for files and indexes of one vector a text train with `model: {multi_vector: {dim: 128}}`",
            )

    def embed(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = BATCH_SIZE,
        side: Side | None = None,
        tell: Tell = silent,
    ) -> np.ndarray:
        """Embeddings float32 [N, whole width] as the encoder gives them, not normalised."""
        self.check_pooled()
        return self._dense(*self._batches(texts, batch_size, side, tell))

    def _ids(self, texts: Sequence[str], side: Side) -> Sequence[np.ndarray]:
        """Ids of texts, the side's prompt before each."""
        prompts = self.trained.prompts
        prompt = prompts.query if side == "query" else prompts.positive
        tokenizer, longest = self.trained.tokenizer, self._longest(side)
        return tokenizer.encode(texts, longest, prompt) if len(texts) else []

    def _dense(self, given: dict[str, Any], count: Counted) -> np.ndarray:
        encode = given.pop("encode")
        found = embed(
            **given, encode=lambda ids, mask: encode(ids, mask).dense, width=self.dimension
        )
        count.finish()
        return found

    def _batches(
        self, texts: Sequence[str], batch_size: int, side: Side | None, tell: Tell
    ) -> tuple[dict[str, Any], Counted]:
        """What ``embed`` and ``embed_tokens`` take of texts that have been checked."""
        side = self._side(side)
        check_texts(texts)
        ids = self._ids(texts, side)
        return self._given(ids, batch_size, side, Counted("encoding, texts", len(texts), tell))

    def _given(
        self, items: Sequence[Any], batch_size: int, side: Side, count: Counted
    ) -> tuple[dict[str, Any], Counted]:
        if type(batch_size) is not int or batch_size < 1:
            raise InputError(f"batch_size must be a whole number above 0, found {batch_size!r}")
        size = min(batch_size, power_of_two(len(items)))
        given = {
            "sequences": items,
            "encode": lambda content, mask: self._encode(content, mask, side),
            "batch_size": size,
            "longest": self._longest(side),
            "pad_id": self.trained.tokenizer.pad_id,
            "between": lambda: count.batch(size),
        }
        return given, count

    @property
    def _max_pixels(self) -> int:
        """Most pixels of an image; a run's own limit where that is higher."""
        plan = self.trained.plan
        source = plan.data.source if plan else None
        images = source.images if isinstance(source, TableSource) else None
        return max(MAX_PIXELS, images.max_pixels) if images else MAX_PIXELS

    def _longest(self, side: Side) -> int:
        """Tokens kept of a text. Of a run whose side is images, those of the other side."""
        return longest_text(self.trained.lengths, self.trained.model, side)

    def _side(self, side: Side | None) -> Side:
        """The side given, or the positive's where one network embeds both."""
        if side is None and self.trained.model.towers == "separate":
            raise InputError(
                f"the run in {self.folder} has separate towers, so it must be said which one embeds",
                code="side",
                hint="use encode_query or encode_document, or give the side; "
                "on the command line, --side query or document",
            )
        if side is None and self.trained.prompts.any:
            raise InputError(
                f"the encoder in {self.folder} puts a prompt before its texts, so it must be said "
                "whether they are queries or documents",
                code="side",
                hint="use encode_query or encode_document, or give the side; "
                "on the command line, --side query or document",
            )
        if side is not None and side not in SIDES:
            raise InputError(f"side must be query or positive, found {side!r}", code="side")
        return side or "positive"

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


def _listed(found: TokenVectors, width: int) -> list[np.ndarray]:
    """An array for each, cut to ``width`` and brought to length 1."""
    vectors = cut(found, width)
    assert isinstance(vectors, TokenVectors)
    return [vectors.text(i) for i in range(len(vectors))]


def _check_output(output: object) -> None:
    if output != "dense":
        raise InputError(f"output must be dense or multi_vector, found {output!r}", code="output")
