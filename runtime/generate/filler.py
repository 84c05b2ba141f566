"""Rows of ids with hidden tokens, filled in by a language model: batches of few shapes, and texts of what comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from specrun.runtime.chunks import power_of_two
from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.generate.options import style_ids
from specrun.runtime.generate.prompts import Row
from specrun.runtime.generate.refine import Canvas, Control, Settings, canvas_of, refine
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.vocabulary import Logits, logits_of
from specrun.runtime.telling import Tell, silent
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.generation import GenerationPlan
from specrun.spec.plan.losses import hiding
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import TextImageConfig
from specrun.spec.plan.plan import Plan

BATCH_SIZE = 16
PORTION = 8
"""Steps between two moments at which the loop can be left, and progress is told."""

SCORES = 64 << 20
"""Bytes that the scores of all ids may take at a time."""

_SHORTEST = 8
_JOB = "generating, steps"


@dataclass(frozen=True)
class Completion:
    """A text. ``prompt`` is the index of its prompt, ``number`` counts the texts of that prompt.

    ``ids`` int32 [S] are those of the prompt and of what was filled in; ``filled`` int32 [S] is the step that filled
    each, −1 where the prompt gave it.
    """

    prompt: int
    number: int
    text: str
    ids: np.ndarray
    filled: np.ndarray


class Filler:
    """Fills in rows by the network of ``model``, whose parameters are an argument of every call."""

    def __init__(self, plan: Plan, model: ModelPlan, tokenizer: Tokenizer, name: str):
        """``name`` is the run's, for messages. InputError for a model that predicts no tokens."""
        config, mask_id = model.config, tokenizer.mask_id
        if isinstance(config, TextImageConfig) or mask_id is None or hiding(plan.losses) is None:
            raise no_tokens(name)
        logits = logits_of(config)
        if logits is None:
            raise no_tokens(name)
        self.vocab_size, self.longest = config.vocab_size, config.longest
        self.tokenizer, self.mask_id = tokenizer, mask_id
        self._name, self._traced = name, [0]
        self._refine = _compiled(plan, model, logits, self._traced)

    def traces(self) -> int:
        """How often Python traced the loop."""
        return self._traced[0]

    def fill(
        self,
        parameters: Any,
        rows: Sequence[Row],
        settings: GenerationPlan,
        *,
        seed: int,
        batch_size: int = BATCH_SIZE,
        tell: Tell = silent,
    ) -> list[Completion]:
        """A text for each row, in their order.

        A text is a function of the parameters, the settings, the seed, its row's ids and ``twin``, to the rounding of
        the network's arithmetic. InputError where the parameters give scores that are not finite numbers.
        """
        control = self._control(settings)
        parts = list(_batches(rows, self.longest, batch_size))
        texts: list[Completion | None] = [None] * len(rows)
        for done, (width, part) in enumerate(parts):
            counted = _Steps(tell, done, len(parts), settings.steps)
            own = [rows[i] for i in part]
            shape = (min(batch_size, power_of_two(len(part))), width)
            found = self._fill(parameters, own, shape, settings, control, seed, counted)
            for at, i in enumerate(part):
                texts[i] = self._completion(rows[i], found, at)
        tell(_JOB, len(parts) * settings.steps, len(parts) * settings.steps)
        return [text for text in texts if text is not None]

    def _control(self, settings: GenerationPlan) -> Control:
        bias = np.zeros(self.vocab_size, np.float32)
        if settings.style is not None:
            bias[style_ids(self.tokenizer, settings.style)] += settings.style_strength
        bias[never_written(self.tokenizer, self.mask_id, self.vocab_size)] = -np.inf
        return Control(
            np.int32(settings.steps),
            np.float32(settings.temperature),
            np.float32(1.0 if settings.top_p is None else settings.top_p),
            bias,
        )

    def _fill(
        self,
        parameters: Any,
        rows: Sequence[Row],
        shape: tuple[int, int],
        settings: GenerationPlan,
        control: Control,
        seed: int,
        counted: _Steps,
    ) -> Canvas:
        """The rows' canvas, filled in; what is lacking of the shape are rows without tokens."""
        ids = np.full(shape, self.tokenizer.pad_id, np.int32)
        valid = np.zeros(shape, bool)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)], valid[i, : len(row.ids)] = row.ids, True
        canvas = canvas_of(ids, valid & (ids == self.mask_id))
        nucleus = settings.top_p is not None and settings.top_p < 1
        tile = max(1, min(shape[0], SCORES // (shape[1] * self.vocab_size * 4)))
        fixed = Settings(settings.confidence_schedule, settings.top_k, nucleus, tile)
        keys = _keys(rows, shape[0], seed)
        for first in range(0, settings.steps, PORTION):
            counted(first)
            stop = np.int32(first + PORTION)
            canvas = self._refine(
                fixed, parameters, canvas, valid, keys, control, np.int32(first), stop
            )
            if not np.asarray(canvas.finite).all():
                raise InputError(
                    f"the parameters of {self._name} give scores that are not finite numbers",
                    code="not-finite",
                    hint="the training may have diverged: look at its losses, and lower the learning rate",
                )
            if not np.asarray(canvas.hidden).any():
                break
        return jax.tree.map(np.asarray, canvas)

    def _completion(self, row: Row, found: Canvas, i: int) -> Completion:
        ids, filled = (np.asarray(x[i, : len(row.ids)]) for x in (found.ids, found.filled))
        text = self.tokenizer.decode(ids)
        return Completion(row.prompt, row.number, text, ids, filled)


def no_tokens(name: str) -> InputError:
    """What is said of a model that cannot write."""
    return InputError(
        f"the model of {name} predicts no tokens, so it can write no text",
        code="no-vocabulary-head",
        hint="give a run that was trained with `losses: [{kind: masked_diffusion}]`",
    )


def never_written(tokenizer: Tokenizer, mask_id: int, vocab_size: int) -> list[int]:
    """The mask, padding, every special token, and rows of the table that are no token. InputError where that is all."""
    special = {mask_id, tokenizer.pad_id, *tokenizer.special_ids()}
    found = [i for i in range(vocab_size) if i in special or tokenizer.token_of(i)[0] is None]
    if len(found) == vocab_size:
        raise InputError("the tokenizer has no token but special ones", code="bad-tokenizer")
    return found


@dataclass(frozen=True)
class _Steps:
    """Tells how many steps are done, over all batches."""

    tell: Tell
    batch: int
    batches: int
    steps: int

    def __call__(self, step: int) -> None:
        self.tell(_JOB, self.batch * self.steps + step, self.batches * self.steps)


def _compiled(plan: Plan, model: ModelPlan, logits: Logits, traced: list[int]) -> Any:
    """The jitted loop; ``traced`` counts its traces."""
    encoder = build_encoder(model, compute=plan.precision.compute)

    def states(parameters: Any, ids: jax.Array, mask: jax.Array) -> jax.Array:
        tokens = encoder.embed(parameters, ids, mask).tokens
        assert tokens is not None  # a language model does not pool
        return tokens.vectors

    def run(settings: Settings, *args: Any) -> Canvas:
        traced[0] += 1
        with jax.default_matmul_precision(plan.precision.matmul):
            return refine(states, logits, settings, *args)

    return jax.jit(run, static_argnums=0)


def _batches(
    rows: Sequence[Row], longest: int | None, batch_size: int
) -> Iterator[tuple[int, list[int]]]:
    """(width, indices of rows) of one width each, so that no row is computed wider for the sake of another."""
    widths: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        widths.setdefault(width_of(row, longest), []).append(i)
    for width, own in sorted(widths.items()):
        for start in range(0, len(own), batch_size):
            yield width, own[start : start + batch_size]


def width_of(row: Row, longest: int | None) -> int:
    """What a row is padded to: its own width where it has one, else a power of two that the model has positions for."""
    length = len(row.ids)
    if row.width is not None:
        return row.width
    wide = max(_SHORTEST, power_of_two(length))
    return wide if longest is None else min(wide, max(longest, length))


def _keys(rows: Sequence[Row], count: int, seed: int) -> jax.Array:
    """Typed keys [count]: each from the seed, the row's ids and the count of its twins."""
    words = np.zeros((count, 3), np.uint32)
    for i, row in enumerate(rows):
        digest = hashlib.sha256(row.ids.astype("<i4").tobytes()).digest()
        words[i] = *np.frombuffer(digest[:8], "<u4"), row.twin
    keys = jax.vmap(lambda _: jax.random.key(seed))(np.arange(count))
    for column in words.T:
        keys = jax.vmap(jax.random.fold_in)(keys, column)
    return keys
