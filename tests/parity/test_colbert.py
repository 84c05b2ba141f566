"""MaxSim and ColBERT's loss against plain torch and sentence-transformers: values and gradients."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.embedded import Tokens
from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.colbert import colbert
from specrun.runtime.losses.dense_late import dense_late_kl
from specrun.runtime.losses.maxsim import maxsim
from specrun.runtime.predict.export import export
from specrun.runtime.predict.predictor import Predictor
from tests.parity.test_export import SHORT
from tests.parity.test_losses import TILE, WHOLE, assert_equal, given_rows, ours, theirs, unit
from tests.runtime.plans import make_colbert, make_dense_late
from tests.runtime.test_export import make_pretrained_run

torch = pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers")
late = pytest.importorskip("sentence_transformers.multi_vector_encoder.losses")
scoring = pytest.importorskip("sentence_transformers.multi_vector_encoder.scoring")
pytestmark = pytest.mark.parity

WIDTH = 16
REFERENCE = {"sum": scoring.colbert_scores, "mean": scoring.mean_colbert_scores}


def texts(rows: int, longest: int, seed: int, shortest: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Token vectors, and which of them count: each text has its own number of tokens."""
    draw = np.random.default_rng(seed)
    mask = np.arange(longest) < draw.integers(shortest, longest + 1, (rows, 1))
    return draw.normal(size=(rows, longest, WIDTH)).astype(np.float32), mask.astype(np.float32)


def identical(rows: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    vectors, mask = texts(rows, longest, 5)
    return np.broadcast_to(vectors[:1, :1], vectors.shape).copy(), mask


BATCHES = {
    "usual": (texts(12, 7, 0), texts(12, 9, 1), texts(24, 9, 2)),
    "one row": (texts(1, 7, 0), texts(1, 9, 1), texts(2, 9, 2)),
    "one token a query": (texts(6, 1, 0), texts(6, 9, 1), texts(12, 9, 2)),
    "one token a document": (texts(6, 7, 0), texts(6, 1, 1), texts(12, 1, 2)),
    "opposite": (texts(5, 4, 0), tuple(s * x for s, x in zip((-1, 1), texts(5, 4, 0), strict=True)), texts(10, 4, 1)),
}  # fmt: skip


def outputs(batch) -> Outputs:
    query, positive, negative = (Tokens(jnp.asarray(x), jnp.asarray(m)) for x, m in batch)
    rows = len(query.mask)
    spread = Tokens(*(x.reshape(rows, 2, *x.shape[1:]) for x in negative))
    none = jnp.zeros((rows, 0))
    return Outputs(none, none, None, query, positive, spread)


def slopes(found):
    """Of our value and gradients those of the token vectors."""
    value, parts = found
    return value, [x for x in parts if x.ndim > 2 and x.shape[-1] == WIDTH]


class Given(torch.nn.Module):
    """A stand-in for a MultiVectorEncoder: its features are the token vectors, which it normalises."""

    def forward(self, features, task=None):
        del task
        return {**features, "token_embeddings": unit(features["token_embeddings"])}


def reference(columns, reduce: str, temperature: float):
    """Their loss on columns of (vectors, mask)."""
    masks = [torch.tensor(mask) for _, mask in columns]
    loss = late.MultiVectorMultipleNegativesRankingLoss(
        Given(), scale=1 / temperature, similarity_fct=REFERENCE[reduce]
    )

    def value(*vectors):
        return loss(
            [
                {"token_embeddings": x, "attention_mask": m}
                for x, m in zip(vectors, masks, strict=True)
            ]
        )

    return theirs(value, *(vectors for vectors, _ in columns))


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("reduce", ["mean", "sum"])
@pytest.mark.parametrize("batch", BATCHES)
def test_maxsim_is_that_of_sentence_transformers(batch, reduce, tile):
    (query, q_mask), (document, d_mask), _ = BATCHES[batch]
    found = maxsim(
        Tokens(jnp.asarray(query), jnp.asarray(q_mask)),
        Tokens(jnp.asarray(document), jnp.asarray(d_mask)),
        reduce,
        tile,
    )
    right = REFERENCE[reduce](
        unit(torch.tensor(query)),
        unit(torch.tensor(document))[:, None],
        queries_mask=torch.tensor(q_mask),
        documents_mask=torch.tensor(d_mask)[:, None],
    )
    np.testing.assert_allclose(found, right, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("reduce", ["mean", "sum"])
@pytest.mark.parametrize("batch", BATCHES)
def test_colbert_is_the_ranking_loss_of_token_vectors(batch, reduce, tile):
    query, positive, _ = BATCHES[batch]
    term = colbert(make_colbert(reduce=reduce, temperature=0.3), tile)
    found = slopes(ours(term, outputs(BATCHES[batch]), given_rows(len(query[0]))))
    right = reference((query, positive), reduce, 0.3)
    assert_equal((found[0], found[1][:2]), right)
    assert not np.any(found[1][2])


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("batch", ["usual", "one row"])
def test_colbert_with_the_negatives_of_all_rows(batch, tile):
    query, positive, (vectors, mask) = BATCHES[batch]
    rows = len(query[0])
    term = colbert(make_colbert(negatives="all", temperature=0.3), tile)
    weight = np.ones((rows, 2), np.float32)
    found = slopes(ours(term, outputs(BATCHES[batch]), given_rows(rows, negative_weight=weight)))
    columns = [(vectors[i::2].copy(), mask[i::2]) for i in range(2)]
    value, parts = reference((query, positive, *columns), "mean", 0.3)
    spread = np.stack(parts[2:], axis=1)
    assert_equal(found, (value, [*parts[:2], spread]))


def plain(query, document, own, valid, weight, masks, *, symmetric):
    """The definition, in torch: rows of weight 0 and invalid pairs take no part."""
    q_mask, d_mask = masks
    cosines = torch.einsum("btd,csd->bcts", unit(query), unit(document))
    cosines = cosines.masked_fill(d_mask[None, :, None] == 0, -torch.inf)
    scores = (cosines.amax(-1) * q_mask[:, None]).sum(-1) / q_mask.sum(-1)[:, None] / 0.3
    kept = scores.masked_fill(~valid, -torch.inf)
    losses = torch.logsumexp(kept, 1) - scores[own, own]
    if symmetric:
        losses = 0.5 * (losses + torch.logsumexp(kept, 0) - scores[own, own])
    return (losses * weight).sum() / weight.sum()


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("symmetric", [False, True])
def test_labels_weights_and_both_directions(symmetric, tile):
    """Padding rows are nobody's negatives, nor are two rows of one label."""
    query, positive, _ = BATCHES["usual"]
    weight = np.ones(12, np.float32)
    weight[[9, 11]], weight[3] = 0.0, 0.5
    label = np.array([0, 0, 1, -1, 1, -1, 2, 3, 0, 0, 4, 1], np.int32)
    real = weight > 0
    other = (label[:, None] != label) | (label < 0)[:, None]
    valid = (np.eye(12, dtype=bool) | other)[np.ix_(real, real)]
    term = colbert(make_colbert(symmetric=symmetric, temperature=0.3), tile)
    rows = given_rows(12, weight=weight, label=label)
    value, parts = slopes(ours(term, outputs(BATCHES["usual"]), rows))
    masks = [torch.tensor(x[1][real]) for x in (query, positive)]
    own = torch.arange(int(real.sum()))
    right = theirs(
        lambda q, d: plain(
            q, d, own, torch.tensor(valid), torch.tensor(weight[real]), masks, symmetric=symmetric
        ),
        query[0][real],
        positive[0][real],
    )
    assert_equal((value, [x[real] for x in parts[:2]]), right)
    assert not any(np.any(x[~real]) for x in parts[:2])


def test_all_identical_tokens_share_the_gradient():
    query, positive = identical(5, 3), identical(5, 4)
    batch = (query, positive, texts(10, 4, 2))
    found = slopes(
        ours(colbert(make_colbert(temperature=0.3), WHOLE), outputs(batch), given_rows(5))
    )
    np.testing.assert_allclose(found[0], np.log(5), rtol=1e-6)
    valid, weight = torch.ones(5, 5, dtype=torch.bool), torch.ones(5)
    masks = [torch.tensor(query[1]), torch.tensor(positive[1])]
    right = theirs(
        lambda q, d: plain(q, d, torch.arange(5), valid, weight, masks, symmetric=False),
        query[0],
        positive[0],
    )
    assert_equal((found[0], found[1][:2]), right, floor=1.0)


@pytest.mark.parametrize("head", [None, 6])
@pytest.mark.parametrize("flavour", ["torch_safetensors", "mpnet_torch"])
def test_a_multi_vector_encoder_loads_an_export(tmp_path: Path, flavour: str, head: int | None):
    """Its token vectors and its MaxSim are those of our predictor."""
    make_pretrained_run(tmp_path, flavour=flavour, pooling="none", projection_dim=head)
    export(tmp_path / "run", tmp_path / "out")
    model = sentence_transformers.MultiVectorEncoder(str(tmp_path / "out"), device="cpu")
    predictor = Predictor(tmp_path / "run")
    documents = predictor.encode_document(SHORT, output="multi_vector")
    found = model.encode_document(SHORT, convert_to_numpy=True)
    assert [len(x) for x in found] == [len(x) for x in documents]
    for ours_, theirs_ in zip(documents, found, strict=True):
        np.testing.assert_allclose(theirs_, ours_, atol=1e-5, rtol=0)
    scores = model.similarity(found[:2], found) / torch.tensor([len(x) for x in found[:2]])[:, None]
    np.testing.assert_allclose(scores, predictor.maxsim(documents[:2], documents), atol=1e-5)


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("detach", ["none", "dense", "late"])
def test_the_divergence_is_torchs(detach: str, tile: int):
    """KL(dense ‖ late) as torch's kl_div has it: its input is the late side, its target the dense one."""
    draw = np.random.default_rng(3)
    dense = [draw.normal(size=(12, 8)).astype(np.float32) for _ in range(2)]
    given = outputs(BATCHES["usual"])._replace(query=dense[0], positive=dense[1])
    weight = np.ones(12, np.float32)
    weight[11] = 0.0
    label = np.array([0, 0, 1, -1, 1, -1, 2, 3, 0, 0, 4, 1], np.int32)
    term = dense_late_kl(make_dense_late(detach=detach, temperature=0.3), tile)
    found = ours(term, given, given_rows(12, weight=weight, label=label))
    (query, q_mask), (positive, d_mask), _ = BATCHES["usual"]
    other = (label[:, None] != label) | (label < 0)[:, None]
    kept = torch.tensor((np.eye(12, dtype=bool) | other)[:11, :11])

    def value(q, p, q_tokens, d_tokens):
        cosines = (unit(q) @ unit(p).T)[:11, :11] / 0.3
        scores = scoring.mean_colbert_scores(
            unit(q_tokens),
            unit(d_tokens)[:, None],
            queries_mask=torch.tensor(q_mask),
            documents_mask=torch.tensor(d_mask)[:, None],
        )
        scores = scores[:11, :11] / 0.3
        cosines = cosines.detach() if detach == "dense" else cosines
        scores = scores.detach() if detach == "late" else scores
        losses = [
            torch.nn.functional.kl_div(
                torch.log_softmax(scores[i][kept[i]], 0),
                torch.log_softmax(cosines[i][kept[i]], 0),
                reduction="sum",
                log_target=True,
            )
            for i in range(11)
        ]
        return sum(losses) / 11

    right = theirs(value, *dense, query, positive)
    parts = [x for x in found[1] if x.shape[-1] in (8, WIDTH)][:4]
    assert_equal((found[0], parts), right)
    if detach != "none":
        still = parts[:2] if detach == "dense" else parts[2:]
        assert not any(np.any(x) for x in still)
