"""Embeddings of texts and images as the encoder in a folder gives them: whole and not normalised."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from specrun.runtime.chunks import power_of_two
from specrun.runtime.loop.embed import embed, embed_tokens
from specrun.runtime.predict.compiled import compiled
from specrun.runtime.predict.pictures import MAX_PIXELS, Opened, Paired, Picture
from specrun.runtime.predict.saved import longest_text
from specrun.runtime.predict.texts import check_texts
from specrun.runtime.predict.trained import Which, open_folder
from specrun.runtime.telling import Counted, Tell, silent
from specrun.runtime.vectors import TokenVectors
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import TableSource
from specrun.spec.plan.model import MultiVectorPlan
from specrun.spec.plan.networks import is_language_model
from specrun.spec.plan.sides import SIDES, Side

BATCH_SIZE = 64


class Embedder:
    """What ``Predictor`` stands on: the encoder in a folder, and its vectors before they are cut."""

    def __init__(self, folder: str | os.PathLike[str], *, which: Which = "best"):
        self.folder = Path(folder)
        self.trained = open_folder(self.folder, which)
        self.dimensions = self.trained.dimensions
        self.dimension = self.dimensions[0]
        self.token_dimensions = self.trained.token_dimensions
        self._parameters = jax.device_put(self.trained.parameters)
        self._encode = compiled(self.trained, self._parameters)

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

    def _batches(
        self, texts: Sequence[str], batch_size: int, side: Side | None, tell: Tell
    ) -> tuple[dict[str, Any], Counted]:
        """What ``embed`` and ``embed_tokens`` take of texts that have been checked."""
        side = self._side(side)
        check_texts(texts)
        ids = self._ids(texts, side)
        return self._given(ids, batch_size, side, Counted("encoding, texts", len(texts), tell))

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

    def _ids(self, texts: Sequence[str], side: Side) -> Sequence[np.ndarray]:
        """Ids of texts, the side's prompt before each."""
        prompts = self.trained.prompts
        prompt = prompts.query if side == "query" else prompts.positive
        tokenizer, longest = self.trained.tokenizer, self._longest(side)
        return tokenizer.encode(texts, longest, prompt) if len(texts) else []

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

    def _dense(self, given: dict[str, Any], count: Counted) -> np.ndarray:
        encode = given.pop("encode")
        found = embed(
            **given, encode=lambda ids, mask: encode(ids, mask).dense, width=self.dimension
        )
        count.finish()
        return found

    def _tokens(self, late: MultiVectorPlan, given: dict[str, Any], count: Counted) -> TokenVectors:
        _, found = embed_tokens(
            **given, width=0 if late.alone else self.dimension, token_width=late.width
        )
        count.finish()
        return found

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
