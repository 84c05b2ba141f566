"""Unigrams and bigrams: against counts by hand, on the very tokens that the evaluation hides."""

from __future__ import annotations

import math
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.data.tokens import Ragged, Tokens, TokenSplit
from specrun.runtime.loop.evaluate_texts import TextEvaluator
from specrun.runtime.loop.ngrams import Bigram, Unigram, hidden_tokens, score_plan, score_tokens
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.program.program import assemble
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.evaluation import EvaluationPlan
from specrun.spec.plan.plan import Plan
from tests.runtime.plans import make_text_plan

RATES = (0.25, 0.8)
VOCAB = 64


def split_of(seed: int, lengths: tuple[int, ...]) -> TokenSplit:
    ids = np.random.default_rng(seed).integers(2, 12, sum(lengths)).astype(np.int32)
    texts = Ragged(ids, np.cumsum([0, *lengths]).astype(np.int64))
    return TokenSplit(texts, texts)


TOKENS = Tokens(split_of(1, (7, 12, 1, 9, 4) * 6), split_of(2, (9, 3, 12, 1, 6)), 0)


def planned(batch_size: int = 4, rates: tuple[float, ...] = RATES) -> Plan:
    policy = EvaluationPlan(
        after=(4,),
        batch_size=batch_size,
        metrics=("loss", "perplexity"),
        dims=(),
        select_best="loss",
        masking_rates=rates,
        early_stopping=None,
    )
    return make_text_plan(evaluation=policy)


def rows_of(split: TokenSplit) -> list[list[int]]:
    return [split.queries[i].tolist() for i in range(len(split.queries))]


def by_hand(plan: Plan, rate: float) -> dict[str, float]:
    """Mean cross-entropies of the hidden tokens, from counts in dictionaries."""
    single, pairs, before = Counter[int](), Counter[tuple[int, int]](), Counter[int]()
    follow: dict[int, set[int]] = {}
    for row in rows_of(TOKENS.training):
        for left, token in zip([-1, *row], row, strict=False):
            single[token] += 1
            pairs[left, token] += 1
            before[left] += 1
            follow.setdefault(left, set()).add(token)
    size = plan.tokenizer.vocab_size
    total = sum(single.values())
    losses: dict[str, list[float]] = {"unigram": [], "bigram": [], "seen bigram": []}
    for asked in hidden_tokens(plan, TOKENS, rate):
        for _, left, token, seen in zip(*(x.tolist() for x in asked), strict=True):
            one = (single[token] + 1) / (total + size)
            kinds = len(follow.get(left, ()))
            two = one
            if kinds:
                share = before[left] / (before[left] + kinds)
                two = share * pairs[left, token] / before[left] + (1 - share) * one
            losses["unigram"].append(-math.log(one))
            losses["bigram"].append(-math.log(two))
            losses["seen bigram"].append(-math.log(two if seen else one))
    return {name: float(np.mean(found)) for name, found in losses.items()}


def test_against_counts_by_hand() -> None:
    plan = planned()
    found = score_tokens(plan, TOKENS)
    assert set(found) == {"unigram", "bigram", "seen bigram"}
    for name in found:
        losses = [by_hand(plan, rate)[name] for rate in RATES]
        expected = {"loss@0.25": losses[0], "loss@0.8": losses[1], "loss": float(np.mean(losses))}
        expected |= {k.replace("loss", "perplexity"): math.exp(v) for k, v in expected.items()}
        assert found[name] == pytest.approx(expected, rel=1e-12)
    one = score_tokens(planned(rates=(0.25,)), TOKENS)["bigram"]
    assert one["loss"] == pytest.approx(found["bigram"]["loss@0.25"], rel=1e-12)
    assert set(one) == {"loss", "perplexity"}


@pytest.mark.parametrize("batch_size", [2, 4, 5])
def test_the_evaluation_hides_the_same_tokens(batch_size: int) -> None:
    """A network that scores every id by the unigram's logarithms has the unigram's loss, at every rate."""
    plan = planned(batch_size)
    assert plan.evaluation is not None
    texts = TOKENS.training.queries
    assert isinstance(texts, Ragged)
    scores = jnp.log(jnp.asarray(Unigram(texts.ids, plan.tokenizer.vocab_size).probability, jnp.float32))  # fmt: skip
    encoder = build_encoder(plan.model, compute="float32", remat=False, unroll=1)
    program = assemble(
        plan,
        encoder.embed if plan.model.multi_vector else encoder.encode,
        lambda seed: initial_arrays(plan.model, seed),
        lambda parameters, states: jnp.broadcast_to(scores, (*states.shape[:-1], len(scores))),
    )
    told = TextEvaluator(plan, plan.evaluation, TOKENS, program).measure(program.init(7))
    found = score_tokens(plan, TOKENS)["unigram"]
    assert found == pytest.approx(told.values, rel=1e-5)
    hidden = np.zeros(5)
    for rate in RATES:
        for asked in hidden_tokens(plan, TOKENS, rate):
            np.add.at(hidden, asked.rows, 1)
    np.testing.assert_array_equal(hidden, told.count)


def test_hidden_tokens_are_those_of_the_texts_with_their_true_neighbours() -> None:
    for batch_size in (2, 5):
        count = 0
        for asked in hidden_tokens(planned(batch_size), TOKENS, 0.8):
            for row, left, token, _ in zip(*(x.tolist() for x in asked), strict=True):
                text = rows_of(TOKENS.validation)[row]
                assert (left, token) in zip([-1, *text], text, strict=False)
                count += 1
        assert count == sum(max(1, math.floor(n * 0.8)) for n in (9, 3, 12, 1, 6))


def test_a_neighbour_is_seen_unless_it_is_hidden_itself() -> None:
    """All of a row hidden: only the begin of it is seen. One token of each hidden: every neighbour is."""
    for rate, expected in ((1.0, 5), (0.01, 5)):
        found = list(hidden_tokens(planned(), TOKENS, rate))
        assert sum(int(asked.seen.sum()) for asked in found) == expected
        assert sum(len(asked.ids) for asked in found) == (31 if rate == 1.0 else 5)


def test_probabilities_sum_to_one() -> None:
    ids = np.array([3, 4, 3, 5], np.int32)
    unigram = Unigram(ids, 8)
    bigram = Bigram(np.array([-1, 3, 4, 3]), ids, unigram)
    every = np.arange(8)
    assert unigram.probability.sum() == pytest.approx(1)
    for left in (-1, 3, 4, 5, 7):
        chances = np.exp(bigram.log(np.full(8, left), every))
        assert chances.sum() == pytest.approx(1)
    unseen = bigram.log(np.full(8, 7), every)
    np.testing.assert_allclose(unseen, unigram.log(np.full(8, 7), every))


def test_a_plan_without_held_out_rows_or_evaluation_is_refused() -> None:
    with pytest.raises(InputError, match="evaluates nothing"):
        score_plan(make_text_plan(evaluation=None))
