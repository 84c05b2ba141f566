"""Distillation against torch's formulas and sentence-transformers' losses: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.distillation import distillation
from specrun.runtime.losses.matryoshka import matryoshka
from specrun.spec.plan.losses import MatryoshkaPlan
from tests.parity.test_losses import (
    TILE,
    WHOLE,
    Given,
    assert_equal,
    given_rows,
    ours,
    theirs,
    unit,
    vectors,
)
from tests.runtime.plans import make_distillation
from tests.runtime.plans import unit as numpy_unit

torch = pytest.importorskip("torch")
losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
pytestmark = pytest.mark.parity

OBJECTIVES = ("kl", "mse", "margin_mse")
SOFT, TAU = 3.0, 0.2


def row_losses(objective, student, teacher, kept, own):
    """Of each row, by torch, over the candidates kept."""
    found = []
    for s, t, keep, positive in zip(student, teacher, kept, own, strict=True):
        others = [j for j in keep if j != positive]
        if objective == "kl":
            log_s, p = torch.log_softmax(s[keep] / SOFT, 0), torch.softmax(t[keep] / SOFT, 0)
            found.append(torch.nn.functional.kl_div(log_s, p, reduction="sum") * SOFT**2)
        elif objective == "mse":
            found.append(torch.nn.functional.mse_loss(s[keep], t[keep]))
        elif others:
            margins = (s[positive] - s[others]) - (t[positive] - t[others])
            found.append((margins**2).mean())
        else:
            found.append(0 * s.sum())
    return torch.stack(found)


def teacher_of(rows: int, negatives: int = 0, seed: int = 5, width: int = 40):
    draw = np.random.default_rng(seed)
    shapes = [(rows, width), (rows, width), (rows, negatives, width)]
    return [numpy_unit(draw.normal(size=shape).astype(np.float32)) for shape in shapes]


SAME = [np.ones((6, 24), np.float32)] * 2
BATCHES = {
    "usual": (vectors(16, 2), np.ones(16)),
    "padded": (vectors(10, 2, seed=1), np.array([1, 1, 1, 0, 1, 1, 1, 0, 0, 0])),
    "one row": (vectors(1, 2), np.ones(1)),
    "one row of four": (vectors(4, 2), np.array([0, 0, 1, 0])),
    "identical": (SAME, np.ones(6)),
    "all masked": (vectors(5, 2), np.zeros(5)),
    "tiny": ([1e-4 * x for x in vectors(5, 2)], np.ones(5)),
}


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", BATCHES)
def test_in_batch_candidates_against_torch(name, objective, tile):
    (query, positive), weight = BATCHES[name]
    told_query, told_positive, _ = teacher_of(len(query))
    plan = make_distillation(objective=objective, temperature=TAU, distillation_temperature=SOFT)
    rows = given_rows(
        len(query),
        weight=weight.astype(np.float32),
        teacher_query=told_query,
        teacher_positive=told_positive,
    )
    found = ours(distillation(plan, tile), Outputs(query, positive), rows)
    valid = np.flatnonzero(weight)

    def right(q, p):
        student = unit(q) @ unit(p).T / TAU
        teacher = torch.tensor(told_query @ told_positive.T / TAU)
        if not len(valid):
            return 0 * student.sum()
        kept = [list(valid)] * len(valid)
        return row_losses(objective, student[valid], teacher[valid], kept, list(valid)).mean()

    floor = 1.0 if name == "identical" else 1e-2  # where terms of order 1 cancel
    assert_equal(found, theirs(right, query, positive), floor)
    assert (found[0] == 0) == (len(valid) == 0 or (len(valid) == 1 and objective != "mse"))


@pytest.mark.parametrize("tile", [WHOLE, TILE])
@pytest.mark.parametrize("negatives", ["own", "all"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_explicit_negatives_against_torch(objective, negatives, tile):
    query, positive = vectors(9, 2)
    draw = np.random.default_rng(2)
    others = draw.normal(size=(9, 3, 24)).astype(np.float32)
    there = (draw.random((9, 3)) < 0.6).astype(np.float32)
    there[4] = 0  # a row without any
    weight = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0], np.float32)
    told_query, told_positive, told_others = teacher_of(9, 3)
    plan = make_distillation(
        objective=objective, negatives=negatives, temperature=TAU, distillation_temperature=SOFT
    )
    rows = given_rows(
        9,
        weight=weight,
        negative_weight=there,
        teacher_query=told_query,
        teacher_positive=told_positive,
        teacher_negatives=told_others,
    )
    found = ours(distillation(plan, tile), Outputs(query, positive, others), rows)

    def scores(q, p, n):
        if negatives == "all":
            return q @ torch.cat([p, n.reshape(27, -1)]).T / TAU
        return torch.cat([(q * p).sum(-1)[:, None], torch.einsum("bd,bnd->bn", q, n)], 1) / TAU

    def kept(i):
        if negatives == "own":
            return [0, *(1 + np.flatnonzero(there[i]))]
        flat = np.flatnonzero(there.reshape(-1) * np.repeat(weight, 3))
        return [*np.flatnonzero(weight), *(9 + flat)]

    def right(q, p, n):
        student = scores(unit(q), unit(p), unit(n))
        teacher = scores(*map(torch.tensor, (told_query, told_positive, told_others)))
        chosen = [i for i in range(7) if len(kept(i)) > 1 or objective == "mse"]
        own = [0 if negatives == "own" else i for i in chosen]
        return row_losses(
            objective, student[chosen], teacher[chosen], [kept(i) for i in chosen], own
        ).mean()

    assert_equal(found, theirs(right, query, positive, others))


@pytest.mark.parametrize("count", [1, 4])
def test_scores_in_the_rows_against_sentence_transformers(count):
    query, positive = vectors(8, 2)
    draw = np.random.default_rng(3)
    others = draw.normal(size=(8, count, 24)).astype(np.float32)
    scores = draw.normal(size=(8, 1 + count)).astype(np.float32)
    rows = given_rows(
        8,
        negative_weight=np.ones((8, count), np.float32),
        score=scores[:, 0],
        negative_score=scores[:, 1:],
    )
    cosine = torch.nn.functional.cosine_similarity
    named = {
        "kl": losses.DistillKLDivLoss(
            Given(), cosine, student_temperature=SOFT, teacher_temperature=SOFT
        ),
        "margin_mse": losses.MarginMSELoss(Given(), cosine),
    }
    for objective, theirs_loss in named.items():
        plan = make_distillation(
            teacher=None,
            objective=objective,
            negatives="own",
            temperature=1.0,
            distillation_temperature=SOFT,
        )
        found = ours(distillation(plan, WHOLE), Outputs(query, positive, others), rows)

        def right(q, p, n, loss=theirs_loss):
            return loss.compute_loss_from_embeddings([q, p, *n.unbind(1)], torch.tensor(scores))

        assert_equal(found, theirs(right, query, positive, others))


def test_a_pair_with_a_score_against_sentence_transformers():
    query, positive = vectors(8, 2)
    scores = np.random.default_rng(3).random(8).astype(np.float32)
    missing = np.array([0, 0, 1, 0, 0, 0, 1, 0], bool)
    rows = given_rows(8, score=np.where(missing, np.float32(np.nan), scores))
    plan = make_distillation(teacher=None, objective="mse", negatives="own", temperature=1.0)
    found = ours(distillation(plan, WHOLE), Outputs(query, positive), rows)

    def right(q, p):
        cosine = torch.nn.functional.cosine_similarity(q[~missing], p[~missing])
        return torch.nn.functional.mse_loss(cosine, torch.tensor(scores[~missing]))

    assert_equal(found, theirs(right, query, positive))


def test_negatives_without_a_score_do_not_count():
    query, positive = vectors(6, 2)
    draw = np.random.default_rng(4)
    others = draw.normal(size=(6, 2, 24)).astype(np.float32)
    score = draw.normal(size=6).astype(np.float32)
    other_scores = draw.normal(size=(6, 2)).astype(np.float32)
    other_scores[1, 0] = score[2] = np.nan
    other_scores[3] = np.nan  # nothing to compare with
    rows = given_rows(
        6,
        negative_weight=np.ones((6, 2), np.float32),
        score=score,
        negative_score=other_scores,
    )
    plan = make_distillation(
        teacher=None, negatives="own", temperature=TAU, distillation_temperature=SOFT
    )
    found = ours(distillation(plan, WHOLE), Outputs(query, positive, others), rows)
    told = np.concatenate([score[:, None], other_scores], 1)

    def right(q, p, n):
        q, p, n = unit(q), unit(p), unit(n)
        student = torch.cat([(q * p).sum(-1)[:, None], torch.einsum("bd,bnd->bn", q, n)], 1) / TAU
        chosen = [0, 1, 4, 5]
        kept = [[0, 1, 2], [0, 2], [0, 1, 2], [0, 1, 2]]
        return row_losses("kl", student[chosen], torch.tensor(told)[chosen], kept, [0] * 4).mean()

    assert_equal(found, theirs(right, query, positive, others))


def test_matryoshka_cuts_the_student_and_not_the_teacher():
    query, positive = vectors(7, 2)
    told_query, told_positive, _ = teacher_of(7)
    rows = given_rows(7, teacher_query=told_query, teacher_positive=told_positive)
    plan = make_distillation(temperature=TAU, distillation_temperature=SOFT)
    cut = MatryoshkaPlan(dims=(24, 6), weights=(1.0, 0.5), reduce="sum")
    term = matryoshka(distillation(plan, WHOLE), cut)
    found = ours(term, Outputs(query, positive), rows)

    def right(q, p):
        teacher = torch.tensor(told_query @ told_positive.T / TAU)
        value = 0.0
        for dim, factor in ((24, 1.0), (6, 0.5)):
            student = unit(q[:, :dim]) @ unit(p[:, :dim]).T / TAU
            each = row_losses("kl", student, teacher, [list(range(7))] * 7, list(range(7)))
            value = value + factor * each.mean()
        return value

    assert_equal(found, theirs(right, query, positive))
