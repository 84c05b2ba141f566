"""Every loss on the batches at the edges, against torch: no positive, one row, all identical, all masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.embedded import Tokens
from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.colbert import colbert
from specrun.runtime.losses.cosent import cosent
from specrun.runtime.losses.dense_late import dense_late_kl
from specrun.runtime.losses.distillation import distillation
from specrun.runtime.losses.infonce import infonce
from specrun.runtime.losses.siglip import siglip
from specrun.runtime.losses.triplet import triplet
from tests.parity.test_losses import TOLERANCE, given_rows, ours, theirs, unit
from tests.runtime.plans import (
    make_colbert,
    make_cosent,
    make_dense_late,
    make_distillation,
    make_infonce,
    make_siglip,
    make_triplet,
)
from tests.runtime.plans import unit as numpy_unit

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

WIDTH, TOKENS, TAU = 8, 3, 0.5


class Batch(NamedTuple):
    """Vectors and token vectors of both sides, which tokens of the documents count, and the rows' weights."""

    vectors: list[np.ndarray]
    valid: np.ndarray
    weight: np.ndarray


def batch(count: int, *, same: bool = False, positives: bool = True, weight: float = 1.0) -> Batch:
    draw = np.random.default_rng(count)
    shapes = [(count, WIDTH)] * 2 + [(count, TOKENS, WIDTH)] * 2
    vectors = [draw.normal(size=x).astype(np.float32) for x in shapes]
    if same:
        vectors = [np.ones(x, np.float32) for x in shapes]
    if not positives:  # nothing was embedded: a zero vector, and a document without tokens
        vectors[1][:] = 0
    valid = np.full((count, TOKENS), positives)
    return Batch(vectors, valid, np.full(count, weight, np.float32))


EDGES = {
    "no positive": batch(5, positives=False),
    "one row": batch(1),
    "all identical": batch(5, same=True),
    "all masked": batch(5, weight=0.0),
}


def cosines(q: Any, p: Any) -> Any:
    return unit(q) @ unit(p).T


def maxsim(q: Any, d: Any, valid: np.ndarray) -> Any:
    """Means over the query's tokens; a document without tokens has 0."""
    found = torch.einsum("btd,csd->bcts", unit(q), unit(d))
    mask = torch.tensor(valid)
    best = found.masked_fill(~mask[None, :, None], -9).amax(-1)
    return (best * mask.any(1)[None, :, None]).mean(-1)


def told(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(7)
    return tuple(numpy_unit(draw.normal(size=(count, 5)).astype(np.float32)) for _ in range(2))


def of_infonce(q: Any, p: Any, qt: Any, pt: Any, valid: Any) -> Any:
    scores, right = cosines(q, p) / TAU, torch.arange(len(q))
    both = [torch.nn.functional.cross_entropy(x, right) for x in (scores, scores.T)]
    return sum(both) / 2


def of_triplet(q: Any, p: Any, qt: Any, pt: Any, valid: Any) -> Any:
    found = cosines(q, p)
    if len(q) == 1:  # nothing to be told from
        return 0 * found.sum()
    hardest = found.masked_fill(torch.eye(len(q), dtype=torch.bool), -9).amax(1)
    return torch.relu(hardest - found.diagonal() + 0.5).mean()


def of_siglip(q: Any, p: Any, qt: Any, pt: Any, valid: Any) -> Any:
    sign = 2 * torch.eye(len(q)) - 1
    each = -torch.nn.functional.logsigmoid(sign * (cosines(q, p) / TAU - 1.0))
    return each.sum(1).mean()


def of_cosent(q: Any, p: Any, qt: Any, pt: Any, valid: Any) -> Any:
    """Row i has the score i."""
    own = cosines(q, p).diagonal() / TAU
    pairs = [own[j] - own[i] for i in range(len(q)) for j in range(i)]
    return torch.logsumexp(torch.stack([torch.zeros(()), *pairs]), 0) + 0 * own.sum()


def of_colbert(q: Any, p: Any, qt: Any, pt: Any, valid: Any) -> Any:
    return torch.nn.functional.cross_entropy(maxsim(qt, pt, valid) / TAU, torch.arange(len(q)))


def of_divergence(q: Any, p: Any, qt: Any, pt: Any, valid: Any) -> Any:
    dense = torch.log_softmax(cosines(q, p) / TAU, 1)
    late = torch.log_softmax(maxsim(qt, pt, valid) / TAU, 1)
    return (dense.exp() * (dense - late)).sum(1).mean()


def of_distillation(q: Any, p: Any, qt: Any, pt: Any, valid: Any) -> Any:
    teacher = torch.tensor(np.matmul(told(len(q))[0], told(len(q))[1].T)) / TAU / 2
    student = torch.log_softmax(cosines(q, p) / TAU / 2, 1)
    target = torch.softmax(teacher, 1)
    return torch.nn.functional.kl_div(student, target, reduction="batchmean") * 4


LOSSES: dict[str, tuple[Any, Callable[..., Any]]] = {
    "infonce": (infonce(make_infonce(temperature=TAU, symmetric=True), 64), of_infonce),
    "triplet": (triplet(make_triplet(margin=0.5), 64), of_triplet),
    "siglip": (siglip(make_siglip(temperature=TAU, bias=-1.0), 64), of_siglip),
    "cosent": (cosent(make_cosent(temperature=TAU), 64), of_cosent),
    "colbert": (colbert(make_colbert(temperature=TAU), 64), of_colbert),
    "dense_late_kl": (dense_late_kl(make_dense_late(temperature=TAU), 64), of_divergence),
    "distillation": (
        distillation(make_distillation(temperature=TAU, distillation_temperature=2.0), 64),
        of_distillation,
    ),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_at_the_edge(name: str, edge: str) -> None:
    """The gradient of a positive that is not there is 0; torch's divides by a length of 1e-12, and is not compared."""
    given, (term, oracle) = EDGES[edge], LOSSES[name]
    count = len(given.weight)
    teacher_query, teacher_positive = told(count)
    rows = given_rows(
        count,
        weight=given.weight,
        score=np.arange(count, dtype=np.float32),
        teacher_query=teacher_query,
        teacher_positive=teacher_positive,
    )
    found = Outputs(
        given.vectors[0],
        given.vectors[1],
        None,
        Tokens(given.vectors[2], jnp.ones((count, TOKENS))),
        Tokens(given.vectors[3], jnp.asarray(given.valid, jnp.float32)),
    )
    value, slopes = ours(term, found, rows)
    own = [x for x in slopes if x.shape[-1] == WIDTH]
    if edge == "all masked":
        assert value == 0
        assert not any(np.any(x) for x in own)
        return
    right, grads = theirs(lambda *x: oracle(*x, given.valid), *given.vectors)
    np.testing.assert_allclose(value, right, rtol=TOLERANCE, atol=TOLERANCE)
    assert len(own) == len(grads) == 4
    for i, (a, b) in enumerate(zip(own, grads, strict=True)):
        if i == 1 and edge == "no positive":
            assert not np.any(a)
            continue
        np.testing.assert_allclose(a, b, atol=TOLERANCE * max(float(np.abs(b).max()), 1.0))
