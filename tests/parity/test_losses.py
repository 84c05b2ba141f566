"""Triplet, SigLIP and CoSENT against torch, transformers and sentence-transformers: values and gradients."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.losses.algebra import Outputs, divisor
from specrun.runtime.losses.cosent import cosent
from specrun.runtime.losses.siglip import siglip
from specrun.runtime.losses.triplet import triplet
from tests.runtime.plans import make_cosent, make_siglip, make_triplet

torch = pytest.importorskip("torch")
losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
pytestmark = pytest.mark.parity

WHOLE, TILE = 1 << 20, 3
TOLERANCE = 3e-6
"""Of the value, or of the largest gradient; of a floor where gradients cancel."""


def vectors(rows: int, parts: int = 3, seed: int = 0, width: int = 24) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    base = draw.normal(size=(rows, width))
    return [(base + draw.normal(size=base.shape)).astype(np.float32) for _ in range(parts)]


BATCHES = {
    "usual": vectors(16),
    "one row": vectors(1),
    "opposite": [np.eye(8, 24, dtype=np.float32), -np.eye(8, 24, dtype=np.float32), vectors(8)[0]],
    "tiny": [1e-4 * x for x in vectors(5)],
    "huge": [1e4 * x for x in vectors(5)],
}


def given_rows(count: int, **more):
    base = {"weight": np.ones(count, np.float32), "negative_weight": None, "label": None}
    return SimpleNamespace(
        **{k: None if x is None else jnp.asarray(x) for k, x in (base | more).items()}
    )


def ours(term, outputs, rows, parameters=None):
    def mean(parameters, outputs):
        return term.sum(parameters, outputs, rows) / divisor(term.weight(rows))

    compute = jax.jit(jax.value_and_grad(mean, (0, 1)))
    value, (own, slopes) = compute(parameters or {}, outputs)
    return float(value), [np.asarray(x) for x in jax.tree.leaves((slopes, own))]


def theirs(loss, *arrays):
    tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
    value = loss(*tensors)
    value.backward()
    none = [torch.zeros_like(x) if x.grad is None else x.grad for x in tensors]
    return float(value.detach()), [x.numpy() for x in none]


def assert_equal(found, right, floor=1e-3):
    np.testing.assert_allclose(found[0], right[0], rtol=TOLERANCE, atol=TOLERANCE)
    assert len(found[1]) == len(right[1])
    for a, b in zip(found[1], right[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * max(np.abs(b).max(), floor))


def unit(x):
    return torch.nn.functional.normalize(x, dim=-1)


class Given(torch.nn.Module):
    """A stand-in for a SentenceTransformer: its features are the embeddings."""

    def forward(self, features):
        return dict(features)


def call(loss, *arrays, labels=None):
    return loss([{"sentence_embedding": x} for x in arrays], labels)


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("name", BATCHES)
def test_triplet_with_its_own_negative_equals_sentence_transformers(name, tile):
    batch = BATCHES[name]
    oracle = losses.TripletLoss(Given(), losses.TripletDistanceMetric.COSINE, triplet_margin=0.5)
    rows = given_rows(len(batch[0]), negative_weight=np.ones((len(batch[0]), 1), np.float32))
    outputs = Outputs(batch[0], batch[1], batch[2][:, None])
    value, (q, p, n) = ours(triplet(make_triplet(margin=0.5), tile), outputs, rows)
    assert_equal((value, [q, p, n[:, 0]]), theirs(lambda *x: call(oracle, *x), *batch))


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("labelled", [False, True])
def test_triplet_in_the_batch_equals_torch(labelled, tile):
    """Rows with negatives look at these, the others at the batch, without padding and their own label."""
    q, p, _ = vectors(12)
    n = np.stack(vectors(12, 2, seed=3), axis=1)
    there = np.random.default_rng(0).integers(0, 2, (12, 2)).astype(np.float32)
    there[:4] = 0
    weight = np.asarray([1] * 10 + [0] * 2, np.float32)
    label = np.arange(12) % 4 if labelled else np.full(12, -1)
    rows = given_rows(
        12, weight=weight, negative_weight=there, label=label.astype(np.int32) if labelled else None
    )
    found = ours(triplet(make_triplet(margin=0.7), tile), Outputs(q, p, n), rows)

    def loss(q, p, n):
        scores = unit(q) @ unit(p).T
        same = (label[:, None] == label) & (label >= 0)[:, None]
        gone = np.eye(12, dtype=bool) | same | (weight == 0)[None]
        hardest = scores.masked_fill(torch.tensor(gone), -9).amax(1)
        own = torch.einsum("bd,bnd->bn", unit(q), unit(n)).masked_fill(torch.tensor(there == 0), -9)
        hardest = torch.where(torch.tensor(there.any(1)), own.amax(1), hardest)
        return torch.relu(hardest - scores.diagonal() + 0.7)[:10].mean()

    assert_equal(found, theirs(loss, q, p, n))


@pytest.mark.parametrize("tile", [WHOLE, TILE])
def test_triplet_divides_the_gradient_among_equally_hard_negatives(tile):
    same = [np.ones((6, 24), np.float32)] * 2
    found = ours(triplet(make_triplet(), tile), Outputs(*same), given_rows(6))

    def loss(q, p):
        scores = unit(q) @ unit(p).T
        hardest = scores.masked_fill(torch.eye(6, dtype=torch.bool), -9).amax(1)
        return torch.relu(hardest - scores.diagonal() + 0.5).mean()

    assert_equal(found, theirs(loss, *same))


def transformers_siglip(q, p, log_scale, bias):
    """The lines of transformers' SiglipModel.forward that compute its loss."""
    logits = unit(q) @ unit(p).T * log_scale.exp() + bias
    eye = torch.eye(logits.size(0))
    m1_diag1 = -torch.ones_like(logits) + 2 * eye
    loglik = torch.nn.functional.logsigmoid(m1_diag1 * logits)
    return -torch.sum(loglik, dim=-1).mean()


TRAINED = make_siglip(train_temperature=True, train_bias=True)


def siglip_parameters(log_scale: float, bias: float):
    return {"losses": {"siglip": {"bias": jnp.float32(bias), "log_scale": jnp.float32(log_scale)}}}


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("name", [*BATCHES, "identical"])
def test_siglip_equals_transformers_formula_and_its_scalars_have_its_gradients(name, tile):
    q, p = BATCHES.get(name, [np.ones((6, 24), np.float32)] * 2)[:2]
    parameters = siglip_parameters(np.log(10), -2.5)
    found = ours(siglip(TRAINED, tile), Outputs(q, p), given_rows(len(q)), parameters)
    start = np.float32(np.log(10)), np.float32(-2.5)
    value, (dq, dp, dscale, dbias) = theirs(transformers_siglip, q, p, *start)
    floor = 1 / np.linalg.norm(q, axis=1).min()
    assert_equal(found, (value, [dq, dp, dbias, dscale]), floor)


def test_siglip_equals_the_loss_of_transformers_model():
    """A model whose towers are random: its own pooled embeddings through our loss."""
    transformers = pytest.importorskip("transformers")
    small = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = small | {"vocab_size": 60, "max_position_embeddings": 8, "projection_size": 16}
    config = transformers.SiglipConfig(
        text_config=text, vision_config=small | {"image_size": 16, "patch_size": 8}
    )
    torch.manual_seed(0)
    model = transformers.SiglipModel(config).eval()
    with torch.no_grad():
        model.logit_scale.fill_(1.3)
        model.logit_bias.fill_(-0.7)
        told = model(
            input_ids=torch.randint(0, 60, (5, 8)),
            pixel_values=torch.randn(5, 3, 16, 16),
            return_loss=True,
        )
    outputs = Outputs(told.text_embeds.numpy(), told.image_embeds.numpy())
    value, _ = ours(siglip(TRAINED, WHOLE), outputs, given_rows(5), siglip_parameters(1.3, -0.7))
    np.testing.assert_allclose(value, float(told.loss), rtol=1e-5)


@pytest.mark.parametrize("tile", [WHOLE, TILE])
def test_siglip_with_explicit_negatives_labels_and_padding_equals_torch(tile):
    q, p, _ = vectors(9)
    n = np.stack(vectors(9, 2, seed=3), axis=1)
    there = np.random.default_rng(0).integers(0, 2, (9, 2)).astype(np.float32)
    weight = np.asarray([1] * 7 + [0] * 2, np.float32)
    label = np.asarray([0, 1, 0, -1, -1, 1, 2, 0, 1], np.int32)
    rows = given_rows(9, weight=weight, negative_weight=there, label=label)
    plan = make_siglip(temperature=0.2, bias=-1.5, negatives="all")
    found = ours(siglip(plan, tile), Outputs(q, p, n), rows)

    def loss(q, p, n):
        scores = unit(q) @ torch.cat([unit(p), unit(n).reshape(18, -1)]).T / 0.2 - 1.5
        own = np.zeros((9, 27), bool)
        own[:, :9] = np.eye(9)
        kept = np.tile(np.concatenate([weight, (there * weight[:, None]).ravel()]) > 0, (9, 1))
        kept[:, :9] &= ~((label[:, None] == label) & (label >= 0)[:, None])
        sign = torch.tensor(np.where(own, 1.0, -1.0), dtype=torch.float32)
        each = -torch.nn.functional.logsigmoid(sign * scores) * torch.tensor(kept | own)
        return each.sum(1)[:7].mean()

    assert_equal(found, theirs(loss, q, p, n))


SCORES = {
    "random": np.random.default_rng(5).integers(0, 4, 16) / 4,
    "continuous": np.random.default_rng(6).random(16),
    "equal": np.ones(16),
    "reversed": -np.arange(16.0),
}


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("scores", SCORES)
def test_cosent_equals_sentence_transformers(scores, tile):
    q, p, _ = BATCHES["usual"]
    score = SCORES[scores].astype(np.float32)
    found = ours(
        cosent(make_cosent(temperature=0.05), tile), Outputs(q, p), given_rows(16, score=score)
    )
    oracle = losses.CoSENTLoss(Given(), scale=20.0)
    assert_equal(found, theirs(lambda *x: call(oracle, *x, labels=torch.tensor(score)), q, p))


@pytest.mark.parametrize("name", ["one row", "opposite", "tiny", "huge"])
def test_cosent_at_the_edges_equals_sentence_transformers(name):
    q, p, _ = BATCHES[name]
    score = np.arange(len(q), dtype=np.float32)
    found = ours(
        cosent(make_cosent(temperature=0.05), WHOLE), Outputs(q, p), given_rows(len(q), score=score)
    )
    oracle = losses.CoSENTLoss(Given(), scale=20.0)
    assert_equal(found, theirs(lambda *x: call(oracle, *x, labels=torch.tensor(score)), q, p))


def test_cosent_without_padding_and_missing_scores_equals_sentence_transformers():
    q, p, _ = BATCHES["usual"]
    score = SCORES["random"].astype(np.float32)
    weight = np.ones(16, np.float32)
    score[3], weight[[7, 12]] = np.nan, 0
    kept = np.setdiff1d(np.arange(16), [3, 7, 12])
    value, slopes = ours(
        cosent(make_cosent(temperature=0.05), TILE),
        Outputs(q, p),
        given_rows(16, score=score, weight=weight),
    )
    oracle = losses.CoSENTLoss(Given(), scale=20.0)
    right = theirs(lambda *x: call(oracle, *x, labels=torch.tensor(score[kept])), q[kept], p[kept])
    assert_equal((value, [x[kept] for x in slopes]), right)
    assert not any(np.any(np.delete(x, kept, axis=0)) for x in slopes)
