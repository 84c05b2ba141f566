"""Texts for prompts, by the language model of a trained run: rows made, filled in by ``refine``, and decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.generate.options import style_ids, with_options
from specrun.runtime.generate.prompts import Row, rows_of
from specrun.runtime.generate.refine import Canvas, Control, Settings, canvas_of, refine
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.vocabulary import logits_of
from specrun.runtime.predict.trained import Trained
from specrun.runtime.telling import Tell, silent
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.generation import GenerationPlan
from specrun.spec.plan.model import TextEncoderConfig
from specrun.spec.plan.training import hiding

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


class Generator:
    """Writes texts with a trained run's parameters. InputError for a model that predicts no tokens."""

    def __init__(self, trained: Trained, parameters: Any, name: str):
        """``parameters`` are ``trained``'s, wherever they lie; ``name`` is the run's, for messages."""
        plan, config = trained.plan, trained.model.config
        mask_id = None if plan is None or hiding(plan.losses) is None else plan.tokenizer.mask_id
        if plan is None or mask_id is None or not isinstance(config, TextEncoderConfig):
            raise InputError(
                f"the model of {name} predicts no tokens, so it can write no text",
                code="no-vocabulary-head",
                hint="give a run that was trained with `losses: [{kind: masked_diffusion}]`",
            )
        if plan.generation is None:
            raise InputError(
                f"the plan of {name} says nothing of how texts are written",
                code="plan-format",
                hint="compile the spec again with this version",
            )
        self.settings = plan.generation
        self.vocab_size, self.longest = config.vocab_size, config.longest
        self._tokenizer, self._mask_id = trained.tokenizer, mask_id
        self._parameters = parameters
        self._name, self._traced = name, [0]
        self._refine = _compiled(trained, config, self._traced)

    def traces(self) -> int:
        """How often Python traced the loop."""
        return self._traced[0]

    def with_options(self, options: Mapping[str, Any]) -> GenerationPlan:
        """The run's settings with ``options`` over them. InputError as ``options.with_options``."""
        return with_options(self.settings, options, self.vocab_size, self.longest)

    def write(
        self,
        prompts: Sequence[str],
        settings: GenerationPlan,
        *,
        seed: int,
        batch_size: int = BATCH_SIZE,
        tell: Tell = silent,
    ) -> list[list[Completion]]:
        """``num_return_sequences`` texts for each prompt.

        A text is a function of the parameters, the settings, the seed, its prompt and its number, to the rounding of
        the network's arithmetic: other prompts do not change it. Prompts of the list that are equal count as one
        prompt of which more texts are wanted. InputError as ``prompts.rows_of``, and where the parameters are not
        finite numbers.
        """
        _check_count("seed", seed, 0, 2**32 - 1)
        _check_count("batch_size", batch_size, 1, 1 << 20)
        rows = rows_of(
            self._tokenizer,
            prompts,
            self._mask_id,
            settings.max_length,
            settings.num_return_sequences,
        )
        control = self._control(settings)
        texts: dict[tuple[int, int], Completion] = {}
        parts = list(_batches(rows, settings.max_length, batch_size))
        for done, (width, part) in enumerate(parts):
            size = min(batch_size, _power_of_two(len(part)))
            counted = _Steps(tell, done, len(parts), settings.steps)
            found = self._fill(part, (size, width), settings, control, seed, counted)
            for i, row in enumerate(part):
                texts[row.prompt, row.number] = self._completion(row, found, i)
        tell(_JOB, len(parts) * settings.steps, len(parts) * settings.steps)
        each = range(settings.num_return_sequences)
        return [[texts[i, number] for number in each] for i in range(len(prompts))]

    def _control(self, settings: GenerationPlan) -> Control:
        bias = np.zeros(self.vocab_size, np.float32)
        if settings.style is not None:
            bias[style_ids(self._tokenizer, settings.style)] += settings.style_strength
        bias[never_written(self._tokenizer, self._mask_id, self.vocab_size)] = -np.inf
        return Control(
            np.int32(settings.steps),
            np.float32(settings.temperature),
            np.float32(1.0 if settings.top_p is None else settings.top_p),
            bias,
        )

    def _fill(
        self,
        rows: Sequence[Row],
        shape: tuple[int, int],
        settings: GenerationPlan,
        control: Control,
        seed: int,
        counted: _Steps,
    ) -> Canvas:
        """The rows' canvas, filled in; what is lacking of the shape are rows without tokens."""
        ids = np.full(shape, self._tokenizer.pad_id, np.int32)
        valid = np.zeros(shape, bool)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)], valid[i, : len(row.ids)] = row.ids, True
        canvas = canvas_of(ids, valid & (ids == self._mask_id))
        nucleus = settings.top_p is not None and settings.top_p < 1
        tile = max(1, min(shape[0], SCORES // (shape[1] * self.vocab_size * 4)))
        fixed = Settings(settings.confidence_schedule, settings.top_k, nucleus, tile)
        keys = _keys(rows, shape[0], seed)
        for first in range(0, settings.steps, PORTION):
            counted(first)
            stop = np.int32(first + PORTION)
            canvas = self._refine(
                fixed, self._parameters, canvas, valid, keys, control, np.int32(first), stop
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
        text = self._tokenizer.decode(ids)
        return Completion(row.prompt, row.number, text, ids, filled)


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


def _compiled(trained: Trained, config: TextEncoderConfig, traced: list[int]) -> Any:
    """The jitted loop; ``traced`` counts its traces."""
    assert trained.plan is not None
    encoder = build_encoder(trained.model, compute=trained.plan.precision.compute)
    logits = logits_of(config)

    def states(parameters: Any, ids: jax.Array, mask: jax.Array) -> jax.Array:
        tokens = encoder.embed(parameters, ids, mask).tokens
        assert tokens is not None  # a language model does not pool
        return tokens.vectors

    def run(settings: Settings, *args: Any) -> Canvas:
        traced[0] += 1
        with jax.default_matmul_precision(trained.matmul):
            return refine(states, logits, settings, *args)

    return jax.jit(run, static_argnums=0)


def _batches(
    rows: Sequence[Row], max_length: int, batch_size: int
) -> Iterator[tuple[int, list[Row]]]:
    """(width, rows) of one width each, so that no row is computed wider for the sake of another."""
    widths: dict[int, list[Row]] = {}
    for row in rows:
        width = min(max_length, max(_SHORTEST, _power_of_two(len(row.ids))))
        widths.setdefault(width, []).append(row)
    for width, own in sorted(widths.items()):
        for start in range(0, len(own), batch_size):
            yield width, own[start : start + batch_size]


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


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise InputError(
            f"{name} must be a whole number from {low} to {high}, found {value!r}",
            code="bad-option",
        )


def _power_of_two(count: int) -> int:
    return 1 << max(count - 1, 0).bit_length()
