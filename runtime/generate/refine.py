"""The steps of generation as one compiled loop: predict every hidden token, keep those that are sure enough, go on.

A pure function of parameters, canvas, keys and settings. What a row becomes depends on its own ids and its own key,
to the rounding of the network's arithmetic: never on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, assert_never

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime.generate.filters import keep_best, keep_nucleus, pick
from specrun.runtime.models.randomness import random_bits
from specrun.runtime.models.vocabulary import Logits
from specrun.runtime.program.masking import unit

States = Callable[[Any, jax.Array, jax.Array], jax.Array]
"""``states(parameters, ids int32 [B, S], mask bool [B, S])``: what the head scores, [B, S, D]."""

GIVEN = -1
"""In ``Canvas.filled``: a token of the prompt, or one still hidden."""


class Canvas(NamedTuple):
    """Rows of a text in the making; arrays of numpy, and of jax inside the loop."""

    ids: Any  # int32 [B, S], the mask's id where a token is hidden
    hidden: Any  # bool [B, S], what is still to be filled in
    filled: Any  # int32 [B, S], the step that filled a token, GIVEN where none has
    finite: Any  # bool [B], whether every score so far was a finite number


class Settings(NamedTuple):
    """What a compiled loop is compiled for. ``tile_rows`` rows' scores exist at a time."""

    schedule: Literal["linear", "exponential"]
    top_k: int | None
    nucleus: bool
    tile_rows: int


class Control(NamedTuple):
    """What may change without compiling again.

    ``bias`` is added to the scores of the ids, −∞ for those that are never written.
    """

    steps: Any  # int32 []
    temperature: Any  # f32 []
    top_p: Any  # f32 [], used where Settings.nucleus says so
    bias: Any  # f32 [V]


def canvas_of(ids: np.ndarray, hidden: np.ndarray) -> Canvas:
    """A canvas on which nothing is filled in yet."""
    return Canvas(
        ids.astype(np.int32),
        hidden.astype(bool),
        np.full(ids.shape, GIVEN, np.int32),
        np.ones(ids.shape[0], bool),
    )


def threshold(
    schedule: Literal["linear", "exponential"], step: jax.Array, steps: jax.Array
) -> jax.Array:
    """The probability that a token must exceed to stay at ``step`` (from 0) of ``steps``. f32 []

    ``linear``: .9 − .8 s/(N−1); ``exponential``: .9 exp(−3 s/(N−1)) + .1.
    """
    done = step.astype(jnp.float32) / jnp.maximum(steps - 1, 1).astype(jnp.float32)
    match schedule:
        case "linear":
            return 0.9 - 0.8 * done
        case "exponential":
            return 0.9 * jnp.exp(-3.0 * done) + 0.1
        case _:
            assert_never(schedule)


def refine(
    states: States,
    logits: Logits,
    settings: Settings,
    parameters: Any,
    canvas: Canvas,
    valid: jax.Array,
    keys: jax.Array,
    control: Control,
    first: jax.Array,
    stop: jax.Array,
) -> Canvas:
    """The canvas after steps ``first`` to ``stop`` (exclusive, at most ``control.steps``) of one compiled loop.

    ``valid`` bool [B, S] is False at padding; ``keys`` [B] are typed keys, one for each row. In each step every hidden
    token gets an id drawn by ``draw``; it stays where its confidence is above ``threshold``, and in the last step
    wherever it is. A step in which no confidence is above it fills nothing. The loop ends early once nothing is
    hidden: the steps left would change nothing. What is not hidden in the canvas given is never touched.
    """

    def unfinished(carried: tuple[jax.Array, Canvas]) -> jax.Array:
        step, now = carried
        return (step < jnp.minimum(stop, control.steps)) & now.hidden.any()

    def advance(carried: tuple[jax.Array, Canvas]) -> tuple[jax.Array, Canvas]:
        step, now = carried
        vectors = states(parameters, now.ids, valid)  # [B, S, D]
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, step)

        def one(row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
            return draw(settings, control, logits(parameters, row[0]), row[1])

        # A tile at a time: the scores of all rows, [B, S, V], are the largest array there would be.
        ids, confidence, finite = jax.lax.map(one, (vectors, own), batch_size=settings.tile_rows)
        last = step >= control.steps - 1
        sure = confidence > threshold(settings.schedule, step, control.steps)
        fill = now.hidden & (sure | last)
        return step + 1, Canvas(
            jnp.where(fill, ids, now.ids),
            now.hidden & ~fill,
            jnp.where(fill, step, now.filled),
            now.finite & (finite | ~now.hidden).all(axis=1),
        )

    return jax.lax.while_loop(unfinished, advance, (jnp.asarray(first, jnp.int32), canvas))[1]


def draw(
    settings: Settings, control: Control, logits: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One id for each position of a row's scores [S, V]: (ids int32 [S], confidence f32 [S], finite bool [S]).

    The bias is added first, so that a style counts in all that follows, at temperature 0 too. Then the scores are
    divided by the temperature, then top-k, then top-p; the id is drawn by one number of the row's key (0: the best id).
    The confidence is the probability that the scores with their bias give the drawn id, before temperature and
    filters: so the threshold asks how sure the model is, and means the same at every temperature.
    """
    scores = logits.astype(jnp.float32)
    finite = jnp.isfinite(scores).all(axis=-1)
    scores = scores + control.bias
    warm = control.temperature > 0
    # Differences from the best: a temperature near 0 may then make −∞ of the others, and leaves the best at 0.
    best = scores.max(axis=-1, keepdims=True)
    tempered = (scores - best) / jnp.where(warm, control.temperature, 1.0)
    if settings.top_k is not None:
        tempered = keep_best(tempered, settings.top_k)
    if settings.nucleus:
        tempered = keep_nucleus(tempered, control.top_p)
    drawn = pick(jnp.exp(tempered), unit(random_bits(key[None], scores.shape[:1])[0]))
    ids = jnp.where(warm, drawn, jnp.argmax(scores, axis=-1).astype(jnp.int32))
    chosen = jnp.take_along_axis(scores, ids[:, None], axis=-1)[:, 0]
    confidence = jnp.exp(chosen - jax.nn.logsumexp(scores, axis=-1))
    return ids, confidence, finite
