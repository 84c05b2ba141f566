"""InfoNCE and the Matryoshka combinator against torch and sentence-transformers."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.infonce import infonce
from specrun.runtime.losses.matryoshka import matryoshka
from specrun.spec.plan.losses import MatryoshkaPlan
from tests.runtime.plans import make_infonce

torch = pytest.importorskip("torch")
losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
pytestmark = pytest.mark.parity

TAU = 0.07
WHOLE, TILE = 1 << 20, 3
"""Rows of scores at a time: all, and a number that divides no batch here."""
LOSS_TOLERANCE = 2e-6
GRADIENT_TOLERANCE = 2e-6
"""Of the largest gradient, or of a fiftieth of 1 / (τ |x|), the size of what cancels in it."""


def pairs(rows: int, width: int = 24, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    base = draw.normal(size=(rows, width))
    return [(base + draw.normal(size=base.shape)).astype(np.float32) for _ in range(2)]


BATCHES = {
    "usual": pairs(32),
    "one row": pairs(1),
    "identical": [np.ones((6, 24), np.float32)] * 2,
    "opposite": [np.eye(8, 24, dtype=np.float32), -np.eye(8, 24, dtype=np.float32)],
    "tiny": [1e-4 * x for x in pairs(5)],
    "huge": [1e4 * x for x in pairs(5)],
}


def given_rows(weight, **more):
    return SimpleNamespace(**({"weight": weight, "negative_weight": None, "label": None} | more))


def ours(term, batch, weight=None, **more):
    rows = given_rows(jnp.ones(len(batch[0])) if weight is None else weight, **more)
    mean = lambda o: term.sum({}, o, rows) / term.weight(rows)  # noqa: E731
    value, slopes = jax.value_and_grad(mean)(Outputs(*map(jnp.asarray, batch)))
    return float(value), [np.asarray(x) for x in slopes if x is not None]


def theirs(loss, batch):
    tensors = [torch.tensor(x, requires_grad=True) for x in batch]
    value = loss(*tensors)
    value.backward()
    return float(value.detach()), [x.grad.numpy() for x in tensors]


def cross_entropy(symmetric: bool):
    def loss(q, p):
        normalise = torch.nn.functional.normalize
        scores = normalise(q, dim=1) @ normalise(p, dim=1).T / TAU
        labels = torch.arange(len(q))
        entropy = torch.nn.functional.cross_entropy
        value = entropy(scores, labels)
        return (value + entropy(scores.T, labels)) / 2 if symmetric else value

    return loss


class Given(torch.nn.Module):
    """A stand-in for a SentenceTransformer: its features are the embeddings."""

    def forward(self, features):
        return dict(features)

    def get_embedding_dimension(self):
        return 24


def ranking(symmetric: bool):
    if symmetric:
        return losses.MultipleNegativesSymmetricRankingLoss(Given(), scale=1 / TAU)
    return losses.MultipleNegativesRankingLoss(Given(), scale=1 / TAU)


def call(loss):
    def value(q, p):
        return loss([{"sentence_embedding": q}, {"sentence_embedding": p}], None)

    return value


def assert_equal(found, right, batch):
    np.testing.assert_allclose(found[0], right[0], rtol=LOSS_TOLERANCE, atol=LOSS_TOLERANCE)
    largest = max(np.abs(x).max() for x in right[1])
    terms = 1.0 / (TAU * np.linalg.norm(batch[0], axis=1).min())
    for a, b in zip(found[1], right[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=GRADIENT_TOLERANCE * max(largest, terms / 50))


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", BATCHES)
def test_value_and_gradient_equal_torchs_cross_entropy(name, symmetric, tile):
    term = infonce(make_infonce(temperature=TAU, symmetric=symmetric), tile)
    assert_equal(
        ours(term, BATCHES[name]), theirs(cross_entropy(symmetric), BATCHES[name]), BATCHES[name]
    )


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", ["usual", "one row", "identical"])
def test_value_and_gradient_equal_sentence_transformers(name, symmetric, tile):
    term = infonce(make_infonce(temperature=TAU, symmetric=symmetric), tile)
    assert_equal(
        ours(term, BATCHES[name]), theirs(call(ranking(symmetric)), BATCHES[name]), BATCHES[name]
    )


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("symmetric", [False, True])
def test_padded_rows_equal_torch_without_them(symmetric, tile):
    term = infonce(make_infonce(temperature=TAU, symmetric=symmetric), tile)
    weight = jnp.arange(32) < 20
    value, slopes = ours(term, BATCHES["usual"], weight.astype(jnp.float32))
    right = theirs(cross_entropy(symmetric), [x[:20] for x in BATCHES["usual"]])
    assert_equal((value, [x[:20] for x in slopes]), right, BATCHES["usual"])
    assert not any(np.any(x[20:]) for x in slopes)


def test_a_trained_temperature_has_torchs_gradient():
    plan = make_infonce(temperature=TAU, train_temperature=True, symmetric=False)
    q, p = BATCHES["usual"]
    rows = given_rows(jnp.ones(len(q)))
    start = jnp.float32(-np.log(TAU))

    def mean(value):
        parameters = {"losses": {"infonce": {"log_scale": value}}}
        return infonce(plan, WHOLE).sum(parameters, Outputs(q, p), rows) / len(q)

    scale = torch.tensor(float(start), requires_grad=True)
    normalise = torch.nn.functional.normalize
    cosines = normalise(torch.tensor(q), dim=1) @ normalise(torch.tensor(p), dim=1).T
    torch.nn.functional.cross_entropy(cosines * scale.exp(), torch.arange(len(q))).backward()
    np.testing.assert_allclose(jax.grad(mean)(start), scale.grad.numpy(), rtol=2e-5)


def test_matryoshka_equals_sentence_transformers():
    dims, weights = (24, 12, 4), (1.0, 0.5, 2.0)
    plan = MatryoshkaPlan(dims=dims, weights=weights, reduce="sum")
    term = matryoshka(infonce(make_infonce(temperature=TAU, symmetric=False), WHOLE), plan)
    given = Given()
    inner = losses.MultipleNegativesRankingLoss(given, scale=1 / TAU)
    outer = losses.MatryoshkaLoss(given, inner, list(dims), list(weights))
    assert_equal(
        ours(term, BATCHES["usual"]), theirs(call(outer), BATCHES["usual"]), BATCHES["usual"]
    )


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("symmetric", [False, True])
def test_all_negatives_equal_sentence_transformers(symmetric, tile):
    """Every row has two negatives: sentence-transformers takes them as two more columns."""
    batch = [*pairs(16), *pairs(16, seed=1)]
    term = infonce(make_infonce(temperature=TAU, symmetric=symmetric, negatives="all"), tile)
    given = [batch[0], batch[1], np.stack(batch[2:], axis=1)]
    value, (q, p, n) = ours(term, given, negative_weight=jnp.ones((16, 2)))
    tensors = [torch.tensor(x, requires_grad=True) for x in batch]
    right = ranking(symmetric)([{"sentence_embedding": x} for x in tensors], None)
    right.backward()
    slopes = [x.grad.numpy() for x in tensors]
    assert_equal((value, [q, p, n[:, 0], n[:, 1]]), (float(right.detach()), slopes), batch)


def test_own_negatives_equal_torchs_cross_entropy_over_each_row():
    q, p = pairs(9)
    n = np.stack([pairs(9, seed=i)[0] for i in (1, 2, 3)], axis=1)
    there = np.arange(27).reshape(9, 3) % 4 > 0
    there[4] = False
    term = infonce(make_infonce(temperature=TAU, negatives="own"), WHOLE)
    weight = jnp.asarray(there, jnp.float32)
    value, slopes = ours(term, [q, p, n], negative_weight=weight)
    tensors = [torch.tensor(x, requires_grad=True) for x in (q, p, n)]
    unit = [torch.nn.functional.normalize(x, dim=-1) for x in tensors]
    scores = (
        torch.cat(
            [(unit[0] * unit[1]).sum(-1)[:, None], torch.einsum("bd,bnd->bn", unit[0], unit[2])], 1
        )
        / TAU
    )
    kept = torch.tensor(np.concatenate([np.ones((9, 1), bool), there], 1))
    losses_ = torch.nn.functional.cross_entropy(
        scores.masked_fill(~kept, -torch.inf), torch.zeros(9, dtype=torch.long), reduction="none"
    )
    right = losses_[torch.arange(9) != 4].mean()
    right.backward()
    assert_equal((value, slopes), (float(right.detach()), [x.grad.numpy() for x in tensors]), [q])
    assert not np.any(slopes[0][4])


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("symmetric", [False, True])
def test_rows_of_one_label_are_not_each_others_negatives(symmetric, tile):
    label = np.array([0, 1, 0, -1, -1, 2, 1, 0])
    batch = pairs(8)
    term = infonce(make_infonce(temperature=TAU, symmetric=symmetric), tile)
    found = ours(term, batch, label=jnp.asarray(label, jnp.int32))
    same = (label[:, None] == label) & (label >= 0) & ~np.eye(8, dtype=bool)

    def loss(q, p):
        normalise = torch.nn.functional.normalize
        scores = normalise(q, dim=1) @ normalise(p, dim=1).T / TAU
        scores = scores.masked_fill(torch.tensor(same), -torch.inf)
        entropy, right = torch.nn.functional.cross_entropy, torch.arange(8)
        value = entropy(scores, right)
        return (value + entropy(scores.T, right)) / 2 if symmetric else value

    assert_equal(found, theirs(loss, batch), batch)
