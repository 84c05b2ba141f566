"""What is taken for a false negative, against torch's formulas: values and gradients, whole and in tiles."""

from __future__ import annotations

import numpy as np
import pytest

from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.infonce import infonce
from specrun.runtime.losses.siglip import siglip
from specrun.runtime.losses.triplet import triplet
from tests.parity.test_losses import (
    TILE,
    WHOLE,
    Given,
    assert_equal,
    call,
    given_rows,
    ours,
    theirs,
    unit,
    vectors,
)
from tests.runtime.plans import make_false, make_infonce, make_siglip, make_triplet

torch = pytest.importorskip("torch")
losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
pytestmark = pytest.mark.parity

COUNT, WIDTH = 12, 24
MARGINS = [(None, "relative"), (0.1, "relative"), (0.1, "absolute"), (0.0, "absolute")]


def batch(seed: int = 0):
    """Rows of few topics, so that some negatives are more similar than the positive."""
    draw = np.random.default_rng(seed)
    topics = draw.normal(size=(3, WIDTH))[draw.integers(0, 3, COUNT)]
    query, positive = (
        (topics + 0.8 * draw.normal(size=(COUNT, WIDTH))).astype(np.float32) for _ in range(2)
    )
    others = draw.normal(size=(COUNT, 2, WIDTH)) + topics[:, None]
    rows = {
        "weight": np.array([1] * 10 + [0] * 2, np.float32),
        "negative_weight": (draw.random((COUNT, 2)) < 0.7).astype(np.float32),
        "label": draw.integers(-1, 3, COUNT).astype(np.int32),
        "query_text": draw.integers(0, 8, COUNT).astype(np.int32),
        "positive_text": draw.integers(0, 8, COUNT).astype(np.int32),
        "negative_text": draw.integers(0, 8, (COUNT, 2)).astype(np.int32),
    }
    return query, positive, others.astype(np.float32), rows


def limits(cosines, false):
    right = cosines.diagonal().detach()
    if false.margin is None:
        return torch.full_like(right, 9.0)
    relative = false.margin_strategy == "relative"
    return right - false.margin * (right.abs() if relative else 1.0)


def same(false, rows, explicit: bool):
    """Pairs of a row and a candidate that share a label, an answer or a query."""
    label, texts, queries = rows["label"], rows["positive_text"], rows["query_text"]
    found = (label[:, None] == label) & (label >= 0)[:, None]
    if false.identical:
        found |= (texts[:, None] == texts) | (queries[:, None] == queries)
    if not explicit:
        return found
    more = np.zeros((COUNT, 2 * COUNT), bool)
    if false.identical:
        more = texts[:, None] == rows["negative_text"].reshape(-1)
    return np.concatenate([found, more], axis=1)


def kept(cosines, false, rows, explicit: bool):
    valid = rows["weight"] > 0
    there = (rows["negative_weight"] * rows["weight"][:, None]).reshape(-1) > 0
    valid = np.concatenate([valid, there]) if explicit else valid
    own = np.eye(COUNT, cosines.shape[1], dtype=bool)
    near = (cosines > limits(cosines, false)[:, None]).numpy()
    return torch.tensor(own | (valid & ~same(false, rows, explicit) & ~near))


def candidates(p, n, explicit):
    return torch.cat([unit(p), unit(n).reshape(-1, WIDTH)]) if explicit else unit(p)


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("negatives", ["in_batch", "all"])
@pytest.mark.parametrize("identical", [False, True])
@pytest.mark.parametrize(("margin", "strategy"), MARGINS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_infonce(symmetric, margin, strategy, identical, negatives, tile):
    query, positive, others, rows = batch()
    false = make_false(identical=identical, margin=margin, margin_strategy=strategy)
    plan = make_infonce(negatives=negatives, symmetric=symmetric, false_negatives=false)
    found = ours(infonce(plan, tile), Outputs(query, positive, others), given_rows(COUNT, **rows))
    explicit = negatives == "all"

    def right(q, p, n):
        cosines = unit(q) @ candidates(p, n, explicit).T
        scores = cosines / plan.temperature
        keep = kept(cosines.detach(), false, rows, explicit)
        across = torch.logsumexp(scores.masked_fill(~keep, -torch.inf), 1) - scores.diagonal()
        square = scores[:, :COUNT]
        down = kept(cosines.detach()[:, :COUNT].T, false, rows, False)
        columns = torch.logsumexp(square.T.masked_fill(~down, -torch.inf), 1) - scores.diagonal()
        return (0.5 * (across + columns) if symmetric else across)[:10].mean()

    assert_equal(found, theirs(right, query, positive, others))
    plain = ours(
        infonce(make_infonce(negatives=negatives, symmetric=symmetric), tile),
        Outputs(query, positive, others),
        given_rows(COUNT, **rows),
    )
    assert (found[0] < plain[0] - 1e-3) == (identical or margin is not None)


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("negatives", ["in_batch", "all"])
@pytest.mark.parametrize(("margin", "strategy"), MARGINS)
def test_siglip(margin, strategy, negatives, tile):
    query, positive, others, rows = batch(1)
    false = make_false(margin=margin, margin_strategy=strategy)
    plan = make_siglip(negatives=negatives, bias=-2.0, false_negatives=false)
    found = ours(siglip(plan, tile), Outputs(query, positive, others), given_rows(COUNT, **rows))
    explicit = negatives == "all"

    def right(q, p, n):
        cosines = unit(q) @ candidates(p, n, explicit).T
        scores = cosines / plan.temperature + plan.bias
        keep = kept(cosines.detach(), false, rows, explicit)
        signs = 2 * torch.eye(*scores.shape) - 1
        losses = -torch.nn.functional.logsigmoid(signs * scores)
        return losses.masked_fill(~keep, 0.0).sum(1)[:10].mean()

    assert_equal(found, theirs(right, query, positive, others))


@pytest.mark.parametrize(("margin", "strategy"), MARGINS[1:])
def test_infonce_with_the_rows_own_negatives(margin, strategy):
    query, positive, others, rows = batch(2)
    false = make_false(identical=False, margin=margin, margin_strategy=strategy)
    plan = make_infonce(negatives="own", false_negatives=false)
    found = ours(infonce(plan, WHOLE), Outputs(query, positive, others), given_rows(COUNT, **rows))
    there = torch.tensor(rows["negative_weight"] > 0)
    counts = (rows["weight"] > 0) & (rows["negative_weight"] > 0).any(1)

    def right(q, p, n):
        own = (unit(q) * unit(p)).sum(-1)
        wrong = torch.einsum("bd,bnd->bn", unit(q), unit(n))
        limit = limits(torch.diag(own), false)
        wrong = wrong.masked_fill(~(there & (wrong.detach() <= limit[:, None])), -torch.inf)
        scores = torch.cat([own[:, None], wrong], 1) / plan.temperature
        return (torch.logsumexp(scores, 1) - scores[:, 0])[counts].mean()

    assert_equal(found, theirs(right, query, positive, others))


@pytest.mark.parametrize("strategy", ["relative", "absolute"])
def test_all_masked_is_no_loss(strategy):
    """Every candidate is near: nothing is told apart, and no gradient is NaN."""
    same_ = np.ones((6, WIDTH), np.float32) + 1e-3 * np.eye(6, WIDTH, dtype=np.float32)
    false = make_false(identical=False, margin=0.1, margin_strategy=strategy)
    for tile in (WHOLE, TILE):
        plan = make_infonce(false_negatives=false)
        value, slopes = ours(infonce(plan, tile), Outputs(same_, same_), given_rows(6))
        assert value == pytest.approx(0, abs=1e-6)
        assert all(np.isfinite(x).all() and np.abs(x).max() < 1e-4 for x in slopes)


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("identical", [False, True])
@pytest.mark.parametrize(("margin", "strategy"), MARGINS)
def test_triplet(margin, strategy, identical, explicit, tile):
    """The hardest of what is left; who has nothing by label and text has no weight, by the margin no loss."""
    query, positive, others, rows = batch(3)
    rows["negative_weight"][:6] = 0
    if not explicit:
        rows["negative_weight"] = None
    false = make_false(identical=identical, margin=margin, margin_strategy=strategy)
    plan = make_triplet(margin=0.9, false_negatives=false)
    given = Outputs(query, positive, others) if explicit else Outputs(query, positive)
    found = ours(triplet(plan, tile), given, given_rows(COUNT, **rows))
    none = np.zeros((COUNT, 2), np.float32)
    there = none if rows["negative_weight"] is None else rows["negative_weight"]
    has = there.any(1)

    def right(q, p, n=None):
        cosines = unit(q) @ unit(p).T
        limit = limits(cosines, false)[:, None]
        apart = torch.tensor((rows["weight"] > 0) & ~same(false, rows, False))
        apart &= ~torch.eye(COUNT, dtype=torch.bool)
        counts = (apart.any(1).numpy() | has) & (rows["weight"] > 0)
        kept_ = apart & (cosines.detach() <= limit)
        hardest, some = cosines.masked_fill(~kept_, -9).amax(1), kept_.any(1)
        if n is not None:
            own = torch.einsum("bd,bnd->bn", unit(q), unit(n))
            left = torch.tensor(there > 0) & (own.detach() <= limit)
            chosen = torch.tensor(has)
            hardest = torch.where(chosen, own.masked_fill(~left, -9).amax(1), hardest)
            some = torch.where(chosen, left.any(1), some)
        each = torch.relu(hardest - cosines.diagonal() + 0.9) * some
        return each[counts].mean()

    assert_equal(found, theirs(right, *(x for x in given if x is not None)))
    plain = ours(triplet(make_triplet(margin=0.9), tile), given, given_rows(COUNT, **rows))
    assert (found[0] < plain[0] - 1e-3) == (identical or margin is not None)


class Guided(Given):
    """A model that is its own guide; GIST asks it for a tokenizer, only to compare the two."""

    max_seq_length = 8

    def __init__(self):
        super().__init__()
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast

        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel()))

    def __getitem__(self, index):
        """The cached loss looks whether the first module is a table of embeddings."""
        return [self][index]


GIST = {
    "usual": lambda: (*batch(4)[:2], batch(4)[2][:, 0]),
    "positives apart": lambda: _opposite(),
    "one row": lambda: vectors(1),
    "all identical": lambda: [np.ones((6, WIDTH), np.float32)] * 3,
}


def _opposite():
    """Half of the positives are less than orthogonal to their queries."""
    query, positive, negative = (x.copy() for x in vectors(12, seed=9))
    positive[::2] -= 2 * query[::2]
    return query, positive, negative


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("name", GIST)
@pytest.mark.parametrize(("margin", "strategy"), MARGINS[1:])
def test_the_margin_is_that_of_gist_with_the_model_as_its_own_guide(
    margin, strategy, name, explicit, cached
):
    columns = list(GIST[name]())[: 3 if explicit else 2]
    settings = {"temperature": 0.1, "margin_strategy": strategy, "margin": margin}
    settings |= {"contrast_anchors": False, "contrast_positives": False}
    model = Guided()
    oracle = (
        losses.CachedGISTEmbedLoss(model, model, mini_batch_size=4, **settings)
        if cached
        else losses.GISTEmbedLoss(model, model, **settings)
    )
    false = make_false(identical=False, margin=margin, margin_strategy=strategy)
    plan = make_infonce(
        negatives="all" if explicit else "in_batch",
        symmetric=False,
        temperature=0.1,
        false_negatives=false,
    )
    count = len(columns[0])
    rows = given_rows(count, negative_weight=np.ones((count, 1), np.float32))
    given = Outputs(*columns[:2], columns[2][:, None] if explicit else None)
    value, slopes = ours(infonce(plan, WHOLE), given, rows)
    slopes = [x.reshape(count, -1) for x in slopes]
    floor = 1.0 if name == "all identical" else 1e-3  # where terms of order 1 cancel
    assert_equal((value, slopes), theirs(lambda *x: call(oracle, *x), *columns), floor)


@pytest.mark.parametrize("strategy", ["relative", "absolute"])
def test_a_triplet_of_which_all_is_masked_is_no_loss(strategy):
    same_ = np.ones((6, WIDTH), np.float32) + 1e-3 * np.eye(6, WIDTH, dtype=np.float32)
    false = make_false(identical=False, margin=0.1, margin_strategy=strategy)
    for tile in (WHOLE, TILE):
        term = triplet(make_triplet(false_negatives=false), tile)
        value, slopes = ours(term, Outputs(same_, same_), given_rows(6))
        assert value == 0
        assert not any(np.any(x) for x in slopes)
