"""The loop of generation: thresholds, how many tokens each step fills, and what a row depends on."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest

from specrun.runtime.generate.refine import (
    Canvas,
    Control,
    Settings,
    canvas_of,
    draw,
    refine,
    threshold,
)
from specrun.runtime.models.randomness import random_bits

VOCAB, WIDTH, MASK, PAD = 24, 8, 1, 0
LINEAR = Settings("linear", None, False, 3)


def parameters(scale: float = 4.0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(7)
    return {
        "table": draw.normal(size=(VOCAB, WIDTH)).astype(np.float32),
        "head": (scale * draw.normal(size=(WIDTH, VOCAB)) / math.sqrt(WIDTH)).astype(np.float32),
        "places": draw.normal(size=(64, WIDTH)).astype(np.float32),
    }


def states(tree: Any, ids: Any, mask: Any) -> Any:
    """Each token's own vector, its place's, and the mean of the row's: what is filled in changes all."""
    own = tree["table"][ids]
    mean = (own * mask[..., None]).sum(1, keepdims=True) / mask.sum(1)[:, None, None].clip(1)
    return own + mean + tree["places"][: ids.shape[1]]


def logits(tree: Any, vectors: Any) -> Any:
    return vectors @ tree["head"]


def control(**changes: Any) -> Control:
    bias = np.zeros(VOCAB, np.float32)
    bias[[MASK, PAD]] = -np.inf
    base = Control(np.int32(6), np.float32(0.8), np.float32(1.0), bias)
    return base._replace(**changes)


def prompts(rows: int = 4, length: int = 12, given: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(ids, valid): rows that begin with ``given`` tokens, the last one shorter than the others."""
    ids = np.random.default_rng(3).integers(2, VOCAB, (rows, length)).astype(np.int32)
    ids[:, given:] = MASK
    valid = np.ones((rows, length), bool)
    valid[-1, length - 4 :] = False
    return np.where(valid, ids, PAD), valid


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


LOOP = jax.jit(refine, static_argnums=(0, 1, 2))


def run(
    ids: np.ndarray,
    valid: np.ndarray,
    own: jax.Array,
    settings: Settings = LINEAR,
    tree: Any = None,
    first: int = 0,
    stop: int = 1000,
    canvas: Canvas | None = None,
    **changes: Any,
) -> Canvas:
    canvas = canvas or canvas_of(ids, valid & (ids == MASK))
    told = control(**changes)
    tree = tree or parameters()
    found = LOOP(
        states, logits, settings, tree, canvas, valid, own, told, np.int32(first), np.int32(stop)
    )
    return jax.tree.map(np.asarray, found)


def by_hand(
    ids: np.ndarray,
    valid: np.ndarray,
    own: jax.Array,
    settings: Settings,
    told: Control,
    tree: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The guide's rules in numpy, one token at a time. (ids, the step that filled each)"""
    ids, filled = ids.copy(), np.full(ids.shape, -1)
    steps = int(told.steps)
    for step in range(steps):
        scores = np.asarray(logits(tree, np.asarray(states(tree, ids, valid)))).astype(np.float64)
        scores = scores + np.asarray(told.bias, np.float64)
        new = ids.copy()
        for b, s in zip(*np.nonzero(valid & (ids == MASK)), strict=True):
            row = scores[b, s]
            chance = np.exp(row - row.max())
            chance /= chance.sum()
            row = row / float(told.temperature)
            if settings.top_k is not None:
                row = np.where(row >= np.sort(row)[-settings.top_k], row, -np.inf)
            if settings.nucleus:
                row = np.where(_nucleus(row, float(told.top_p)), row, -np.inf)
            bits = random_bits(jax.random.fold_in(own[b], step)[None], (ids.shape[1],))
            sums = np.cumsum(np.exp(row - row.max()))
            token = int(np.argmax(sums > (int(bits[0, s]) >> 8) * 2.0**-24 * sums[-1]))
            done = step / max(steps - 1, 1)
            least = 0.9 - 0.8 * done
            if settings.schedule == "exponential":
                least = 0.9 * math.exp(-3 * done) + 0.1
            if chance[token] > least or step == steps - 1:
                new[b, s], filled[b, s] = token, step
        ids = new
    return ids, filled


def _nucleus(row: np.ndarray, share: float) -> np.ndarray:
    chance = np.exp(row - row.max())
    chance /= chance.sum()
    order = np.argsort(-row)
    before = np.cumsum(chance[order]) - chance[order]
    kept = np.zeros(row.shape, bool)
    kept[order[before < share]] = True
    return kept


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.9, 0.7, 0.5, 0.3, 0.1]),
        ("exponential", [0.9 * math.exp(-0.75 * s) + 0.1 for s in range(5)]),
    ],
)
def test_thresholds_are_the_formulas(schedule: Any, expected: list[float]) -> None:
    found = [float(threshold(schedule, np.int32(s), np.int32(5))) for s in range(5)]
    assert found == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(threshold(schedule, np.int32(0), np.int32(1)))


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (LINEAR, {}),
        (LINEAR, {"steps": np.int32(1)}),
        (Settings("exponential", None, False, 1), {"steps": np.int32(9)}),
        (Settings("linear", 4, False, 4), {"temperature": np.float32(1.7)}),
        (Settings("linear", None, True, 2), {"top_p": np.float32(0.6)}),
        (Settings("exponential", 9, True, 2), {"top_p": np.float32(0.8)}),
    ],
    ids=["linear", "one step", "exponential", "top-k", "top-p", "both"],
)
def test_ids_and_steps_are_those_of_the_rules(settings: Settings, changes: dict[str, Any]) -> None:
    ids, valid = prompts()
    own = keys(4)
    found = run(ids, valid, own, settings, **changes)
    expected, filled = by_hand(ids, valid, own, settings, control(**changes), parameters())
    np.testing.assert_array_equal(found.ids, expected)
    np.testing.assert_array_equal(found.filled, filled)
    assert not found.hidden.any()
    if changes.get("steps") != 1:
        assert len(np.unique(filled)) > 2  # else the thresholds decided nothing


def test_the_prompt_and_padding_stay() -> None:
    ids, valid = prompts()
    found = run(ids, valid, keys(4))
    kept = ids != MASK
    np.testing.assert_array_equal(found.ids[kept], ids[kept])
    assert (found.filled[kept] == -1).all()
    assert not np.isin(found.ids[~kept], [MASK, PAD]).any()


def test_only_marks_are_filled_in() -> None:
    ids = np.random.default_rng(5).integers(2, VOCAB, (2, 10)).astype(np.int32)
    ids[0, [2, 7]] = ids[1, 5] = MASK
    found = run(ids, np.ones(ids.shape, bool), keys(2))
    assert (found.ids != ids).sum() == 3
    assert (found.ids != ids)[0, [2, 7]].all()


def test_nothing_is_sure_before_the_last_step() -> None:
    """Scores that are all alike pass no threshold, so the last step fills everything."""
    ids, valid = prompts()
    flat = {**parameters(), "head": np.zeros((WIDTH, VOCAB), np.float32)}
    found = run(ids, valid, keys(4), tree=flat)
    assert set(found.filled[valid & (ids == MASK)].tolist()) == {5}


def test_what_is_certain_is_filled_at_once() -> None:
    ids, valid = prompts()
    sure = np.zeros(VOCAB, np.float32)
    sure[9] = 100
    found = run(ids, valid, keys(4), bias=control().bias + sure)
    hidden = valid & (ids == MASK)
    assert set(found.filled[hidden].tolist()) == {0}
    assert set(found.ids[hidden].tolist()) == {9}


def test_temperature_zero_takes_the_best() -> None:
    ids, valid = prompts()
    cold = {"temperature": np.float32(0), "steps": np.int32(1)}
    found = run(ids, valid, keys(4), **cold)
    scores = np.asarray(logits(parameters(), states(parameters(), ids, valid))) + control().bias
    hidden = valid & (ids == MASK)
    np.testing.assert_array_equal(found.ids[hidden], scores.argmax(-1)[hidden])
    again = run(ids, valid, keys(4, seed=9), **cold)
    np.testing.assert_array_equal(again.ids, found.ids)


def test_a_temperature_close_to_zero_is_finite() -> None:
    ids, valid = prompts()
    cold = run(ids, valid, keys(4), temperature=np.float32(1e-38))
    zero = run(ids, valid, keys(4), temperature=np.float32(0))
    np.testing.assert_array_equal(cold.ids, zero.ids)


def test_a_row_does_not_depend_on_its_batch() -> None:
    ids, valid = prompts(8)
    own = keys(8)
    whole = run(ids, valid, own)
    for rows in ([5], [7, 0], [3, 2, 1, 5, 6]):
        part = run(ids[rows], valid[rows], own[np.array(rows)])
        np.testing.assert_array_equal(part.ids, whole.ids[rows])
        np.testing.assert_array_equal(part.filled, whole.filled[rows])


def test_another_key_is_another_text() -> None:
    ids, valid = prompts()
    flat = parameters(scale=1.0)
    first = run(ids, valid, keys(4), tree=flat).ids
    np.testing.assert_array_equal(run(ids, valid, keys(4), tree=flat).ids, first)
    assert (run(ids, valid, keys(4, seed=1), tree=flat).ids != first).any(axis=1).all()


def test_portions_of_the_loop_are_the_loop() -> None:
    ids, valid = prompts()
    whole = run(ids, valid, keys(4), steps=np.int32(11))
    canvas = None
    for first in range(0, 11, 3):
        canvas = run(
            ids, valid, keys(4), steps=np.int32(11), first=first, stop=first + 3, canvas=canvas
        )
    assert canvas is not None
    for a, b in zip(canvas, whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_calls_of_one_shape_are_one_trace() -> None:
    traced = []

    def counted(tree: Any, ids: Any, mask: Any) -> Any:
        traced.append(ids.shape)
        return states(tree, ids, mask)

    ids, valid = prompts()
    loop = jax.jit(refine, static_argnums=(0, 1, 2))
    for steps, temperature in ((3, 0.0), (50, 0.8), (7, 2.0)):
        told = control(steps=np.int32(steps), temperature=np.float32(temperature))
        canvas = canvas_of(ids, valid & (ids == MASK))
        loop(
            counted,
            logits,
            LINEAR,
            parameters(),
            canvas,
            valid,
            keys(4),
            told,
            np.int32(0),
            np.int32(99),
        )
    assert traced == [ids.shape]


def test_draws_follow_the_probabilities() -> None:
    """20,000 draws at temperature 2: every share within five standard deviations of its probability."""
    count = 20_000
    scores = np.random.default_rng(2).normal(size=VOCAB).astype(np.float32) * 2
    told = control(temperature=np.float32(2))
    rows = np.broadcast_to(scores, (count, VOCAB))
    ids, confidence, finite = jax.jit(draw, static_argnums=0)(LINEAR, told, rows, jax.random.key(4))
    allowed = np.asarray(told.bias) == 0
    expected = np.where(allowed, np.exp(scores / 2), 0)
    expected /= expected.sum()
    found = np.bincount(np.asarray(ids), minlength=VOCAB) / count
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)).all()
    cold = np.where(allowed, np.exp(scores), 0)
    np.testing.assert_allclose(confidence, (cold / cold.sum())[np.asarray(ids)], rtol=1e-5)
    assert np.asarray(finite).all()


def test_a_style_is_drawn_more_often() -> None:
    """A bias of b multiplies the odds of the favoured ids by exp(b / temperature)."""
    rows = np.zeros((20_000, VOCAB), np.float32)
    odds = []
    for strength in (0.0, 1.5):
        bias = control().bias.copy()
        bias[[4, 9]] += strength
        told = control(bias=bias, temperature=np.float32(1))
        ids = np.asarray(draw(LINEAR, told, rows, jax.random.key(1))[0])
        share = np.isin(ids, [4, 9]).mean()
        odds.append(share / (1 - share))
    assert odds[0] == pytest.approx(2 / 20, rel=0.1)
    assert odds[1] / odds[0] == pytest.approx(math.exp(1.5), rel=0.1)


def test_numbers_that_are_not_finite_are_told() -> None:
    ids, valid = prompts()
    broken = {**parameters(), "table": parameters()["table"].copy()}
    broken["table"][ids[1, 0]] = np.nan
    found = run(ids, valid, keys(4), tree=broken, steps=np.int32(1))
    assert found.finite.tolist() == [bool((ids[i] != ids[1, 0]).all()) for i in range(4)]
