"""Token vectors from the encoder to the predictor: what they are, what compares them, what refuses them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.cli import main
from specrun.runtime.data.relevance import Relevance
from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.embedded import Embedded, Tokens
from specrun.runtime.loop.evaluate import Evaluator
from specrun.runtime.loop.parameters import read_parameters
from specrun.runtime.loop.worst import worst_of
from specrun.runtime.losses import maxsim as on_device
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.predict.search import search
from specrun.runtime.program.gradients import Objective, loss_and_gradient, step_key
from specrun.runtime.trees import flatten
from specrun.runtime.vectors import TokenVectors, by_maxsim, cut, gathered, maxsim, turned
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.file import read_plan
from tests.runtime.folders import TEXTS, make_parameters, make_run, tokenizer_text
from tests.runtime.plans import make_batch, make_colbert, make_config, make_model, make_plan

ALONE = make_config(pooling="none", hidden_size=16, projection_dim=None)
BOTH = make_config(multi_vector_dim=16)
NEAR = 2e-6


@pytest.fixture(scope="module", params=["alone", "both"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    make_run(path, late=(make_colbert(reduce="sum"), ALONE if request.param == "alone" else BOTH))
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alone")
    make_run(path, late=(make_colbert(), ALONE))
    return path


def ragged(lengths: list[int], width: int = 6, seed: int = 0) -> TokenVectors:
    draw = np.random.default_rng(seed)
    return gathered([draw.normal(size=(n, width)).astype(np.float32) for n in lengths], width)


def one_by_one(queries: TokenVectors, documents: TokenVectors, reduce: str) -> np.ndarray:
    """The definition: each token of a query with each of a document."""
    found = np.zeros((len(queries), len(documents)), np.float64)
    for i in range(len(queries)):
        for j in range(len(documents)):
            scores = queries.text(i).astype(np.float64) @ documents.text(j).T
            if scores.size:
                nearest = scores.max(axis=1)
                found[i, j] = nearest.mean() if reduce == "mean" else nearest.sum()
    return found


@pytest.mark.parametrize("tile", [1, 5, 2048])
@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_maxsim_in_tiles_is_the_definition(
    reduce: Any, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts without tokens, at the ends and in the middle, have 0 with every other."""
    monkeypatch.setattr("specrun.runtime.vectors.TILE", tile)
    queries, documents = ragged([0, 3, 1, 0, 7, 2, 0]), ragged([4, 0, 0, 1, 9, 0], seed=1)
    found = maxsim(queries, documents, reduce)
    np.testing.assert_allclose(found, one_by_one(queries, documents, reduce), atol=NEAR)
    assert maxsim(ragged([]), documents, reduce).shape == (0, 6)
    assert maxsim(queries, ragged([]), reduce).shape == (7, 0)
    np.testing.assert_array_equal(turned(by_maxsim(reduce))(documents, queries), found.T)


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_the_host_and_the_device_have_one_maxsim(reduce: Any) -> None:
    queries, documents = ragged([3, 0, 5, 1]), ragged([2, 6, 0], seed=1)
    padded = [_padded(x) for x in (queries, documents)]
    found = on_device.maxsim(*padded, reduce, 2)
    right = maxsim(*(cut(x, 6) for x in (queries, documents)), reduce)
    np.testing.assert_allclose(found, right, atol=NEAR)


def _padded(texts: TokenVectors) -> Tokens:
    """Padding of other numbers, which the mask hides."""
    longest = int(texts.lengths.max()) + 2
    vectors = np.full((len(texts), longest, 6), 9.0, np.float32)
    for i in range(len(texts)):
        vectors[i, : texts.lengths[i]] = texts.text(i)
    mask = np.arange(longest) < texts.lengths[:, None]
    return Tokens(jnp.asarray(vectors), jnp.asarray(mask, jnp.float32))


def test_texts_are_taken_by_slices_and_by_numbers() -> None:
    texts = ragged([2, 0, 3, 1])
    np.testing.assert_array_equal(texts[1:3].vectors, texts.text(2))
    assert list(texts[1:3].lengths) == [0, 3]
    picked = texts[[3, 0]]
    np.testing.assert_array_equal(picked.text(0), texts.text(3))
    np.testing.assert_array_equal(picked.text(1), texts.text(0))
    assert len(texts[2:2]) == 0


# --- the encoder and its gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["none", "mean"])
def test_the_encoders_outputs(pooling: Any) -> None:
    """Token vectors keep the padded length, and padding moves none of them."""
    config = make_config(pooling=pooling, multi_vector_dim=None if pooling == "none" else 12)
    plan = make_plan(model=make_model(config, losses=(make_colbert(),)))
    encoder = build_encoder(plan.model)
    parameters = make_parameters(plan)
    ids = np.arange(1, 7, dtype=np.int32).reshape(2, 3)
    mask = np.array([[True] * 3, [True, True, False]])
    found = encoder.embed(parameters, ids, mask)
    assert found.dense.shape == (2, 0 if pooling == "none" else 16)
    assert found.tokens is not None
    assert found.tokens.vectors.shape == (2, 3, 16 if pooling == "none" else 12)
    np.testing.assert_array_equal(found.tokens.mask, mask)
    longer = encoder.embed(
        parameters, np.pad(ids, ((0, 0), (0, 4))), np.pad(mask, ((0, 0), (0, 4)))
    )
    assert longer.tokens is not None
    np.testing.assert_allclose(
        np.asarray(longer.tokens.vectors[:, :3])[mask],
        np.asarray(found.tokens.vectors)[mask],
        atol=1e-5,
    )


def test_chunks_have_the_gradient_of_the_whole_without_a_pooled_vector() -> None:
    """Chunks are trees now, one branch of which has no width."""
    from specrun.runtime.losses import table

    losses = (make_colbert(negatives="all", symmetric=True),)
    model = make_model(make_config(pooling="none", num_hidden_layers=1), losses=losses)
    plan = make_plan(model=model, losses=losses)
    scan = SimpleNamespace(negatives=2, labels=0, scores=0, negative_scores=0)
    batch = make_batch(SimpleNamespace(**{**vars(plan), "data": SimpleNamespace(scan=scan)}))  # type: ignore[arg-type]
    encoder = build_encoder(model)

    def slopes(chunks: int) -> Any:
        objective = Objective(encoder.embed, table.terms(plan), chunks)
        key = step_key(0, np.uint32(0), np.uint32(0))
        return jax.jit(lambda p: loss_and_gradient(objective, p, {}, batch, {"colbert": 1.0}, key))(
            make_parameters(plan)
        )

    (value, whole), (again, chunked) = slopes(1), slopes(4)
    assert float(value.loss) > 0
    np.testing.assert_allclose(again.loss, value.loss, rtol=2e-6)
    found = flatten(chunked)
    for path, right in flatten(whole).items():
        np.testing.assert_allclose(found[path], right, atol=5e-6 * 10, err_msg=path)


# --- evaluation ------------------------------------------------------------------------------------------------------


def evaluator(config: Any, dims: tuple[int, ...], token_dims: tuple[int, ...]) -> Any:
    draw = np.random.default_rng(4)
    queries = [draw.integers(1, 64, n).astype(np.int32) for n in draw.integers(1, 6, 20)]
    offers = [draw.integers(1, 64, n).astype(np.int32) for n in draw.integers(1, 8, 20)]
    table = draw.normal(size=(64, 16)).astype(np.float32)
    places = draw.normal(size=(8, 16)).astype(np.float32)  # so that no two scores are equal

    def tokens_of(ids: np.ndarray) -> np.ndarray:
        return table[ids] + places[: ids.shape[-1]]

    loss = make_colbert(reduce="sum")
    plan = make_plan(
        model=make_model(config, losses=(loss,)),
        losses=(loss,),
        evaluation={"dims": dims, "token_dims": token_dims, "metrics": ("mrr@10", "recall@1")},
    )

    def encode(state: Any, ids: np.ndarray, mask: np.ndarray, side: str) -> Embedded:
        dense = np.zeros((len(ids), 0)) if config.pooling == "none" else table[ids[:, 0]]
        return Embedded(jnp.asarray(dense), Tokens(jnp.asarray(tokens_of(ids)), jnp.asarray(mask)))

    pairs = Relevance(
        queries=np.arange(20), candidates=np.arange(20), relevant=tuple((i,) for i in range(20))
    )
    held = SimpleNamespace(queries=queries, positives=offers, negatives=None)
    tokens = SimpleNamespace(validation=held, pad_id=0)
    program = SimpleNamespace(encode=encode)
    assert plan.evaluation
    made = Evaluator(plan, plan.evaluation, pairs, tokens, program)  # type: ignore[arg-type]
    vectors = [gathered([tokens_of(ids) for ids in side], 16) for side in (queries, offers)]
    return made, vectors


def by_definition(queries: TokenVectors, offers: TokenVectors, dim: int) -> dict[str, float]:
    scores = one_by_one(cut(queries, dim), cut(offers, dim), "sum")  # type: ignore[arg-type]
    ranks = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
    return {
        "mrr@10": float(np.where(ranks <= 10, 1 / ranks, 0).mean()),
        "recall@1": float((ranks == 1).mean()),
    }


def test_a_model_of_token_vectors_is_measured_by_maxsim() -> None:
    measure, (queries, offers) = evaluator(ALONE, (16, 4), ())
    right = by_definition(queries, offers, 16)
    right |= {f"{k} at 4": v for k, v in by_definition(queries, offers, 4).items()}
    measured = measure.measure(None)
    assert measured.values == pytest.approx(right)
    assert 0 < right["mrr@10"] < 1
    split = SimpleNamespace(
        images=None, queries=["q"] * 20, positives=["p"] * 20, places=["x"] * 20, names=["n"] * 20
    )
    worst = json.loads(worst_of(measured, split, 3))["worst"]  # type: ignore[arg-type]
    scores = one_by_one(cut(queries, 16), cut(offers, 16), "sum")  # type: ignore[arg-type]
    ranks = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert [w["rank"] for w in worst] == sorted(ranks.tolist(), reverse=True)[:10]


def test_both_outputs_are_measured_under_their_own_names() -> None:
    measure, (queries, offers) = evaluator(make_config(multi_vector_dim=16), (16,), (16, 4))
    found = measure(None)
    right = {f"multi_vector/{k}": v for k, v in by_definition(queries, offers, 16).items()}
    right |= {f"multi_vector/{k} at 4": v for k, v in by_definition(queries, offers, 4).items()}
    assert {k: v for k, v in found.items() if k.startswith("multi_vector/")} == pytest.approx(right)
    assert {"mrr@10", "recall@1"} < set(found)


# --- the predictor ---------------------------------------------------------------------------------------------------


def by_hand(folder: Path, text: str, length: int, width: int) -> np.ndarray:
    """One text alone through the plan's encoder: unit vectors of its valid tokens."""
    plan = read_plan(folder / "plan.json")
    parameters = read_parameters(folder / "best")
    parameters.pop("losses")
    [ids] = Tokenizer(tokenizer_text()).encode([text], length)
    found = build_encoder(plan.model).embed(parameters, ids[None], np.ones((1, len(ids)), bool))
    assert found.tokens is not None
    vectors = np.asarray(found.tokens.vectors)[0, :, :width]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_list_of_unit_vectors_for_every_text(folder: Path) -> None:
    predictor = Predictor(folder)
    found = predictor.encode_text(TEXTS, output="multi_vector", batch_size=3)
    assert len(found) == len(TEXTS)
    for text, vectors in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(vectors, by_hand(folder, text, 8, 16), atol=NEAR)
    short = predictor.encode_query(TEXTS, output="multi_vector", dimension=4)
    np.testing.assert_allclose(short[1], by_hand(folder, TEXTS[1], 6, 4), atol=NEAR)
    assert predictor.encode_document([], output="multi_vector") == []


def test_maxsim_of_what_was_encoded(folder: Path) -> None:
    predictor = Predictor(folder)
    queries = predictor.encode_query(TEXTS[:2], output="multi_vector")
    documents = predictor.encode_document(TEXTS, output="multi_vector")
    found = predictor.maxsim(queries, documents)
    right = [[(q @ d.T).max(axis=1).sum() for d in documents] for q in queries]
    np.testing.assert_allclose(found, right, atol=1e-5)
    assert predictor.maxsim([], documents).shape == (0, len(TEXTS))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda p: p.encode_text(["x"], output="sparse"), "output"),
        (lambda p: p.encode_text(["x"], output="multi_vector", dimension=5), "dimension"),
        (lambda p: p.encode_text("x", output="multi_vector"), "bad-text"),
        (lambda p: p.maxsim([np.ones((2, 3))], [np.ones((2, 4))]), "bad-vectors"),
        (lambda p: p.maxsim([np.ones(3)], [np.ones((2, 3))]), "bad-vectors"),
    ],
)
def test_what_cannot_be_encoded_or_compared_is_refused(folder: Path, call: Any, code: str) -> None:
    with pytest.raises(InputError) as caught:
        call(Predictor(folder))
    assert caught.value.diagnostics[0].code == code


def test_a_model_of_one_vector_a_text_gives_no_tokens(tmp_path: Path) -> None:
    make_run(tmp_path)
    with pytest.raises(InputError) as caught:
        Predictor(tmp_path).encode_text(["x"], output="multi_vector")
    assert caught.value.diagnostics[0].code == "no-token-vectors"
    assert "pooling: none" in caught.value.diagnostics[0].hint


def test_a_model_without_pooling_refuses_what_needs_one_vector(
    alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as caught:
        Predictor(alone).encode_text(["x"])
    assert caught.value.diagnostics[0].code == "no-pooled-vector"
    texts = tmp_path / "texts.txt"
    texts.write_text("open a file\n")
    code = main(["encode", str(alone), str(texts), "-o", str(tmp_path / "out.npy")])
    told = capsys.readouterr()
    assert code == 2
    assert "none for a whole text" in told.err + told.out
    assert not (tmp_path / "out.npy").exists()


def test_search_ranks_by_maxsim(alone: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "rows.jsonl"
    texts = [
        f"{verb} the {noun}" for verb in ("open", "read", "close") for noun in ("file", "tree")
    ]
    corpus.write_text("".join(json.dumps({"positive": text}) + "\n" for text in texts))
    hits = search(alone, "read a tree", corpus=corpus, top=6)
    predictor = Predictor(alone)
    queries = predictor.encode_query(["read a tree"], output="multi_vector")
    scores = predictor.maxsim(queries, predictor.encode_document(texts, output="multi_vector"))[0]
    order = sorted(range(6), key=lambda i: (-scores[i], -i))
    assert [hit.text for hit in hits] == [texts[i] for i in order]
    assert [hit.score for hit in hits] == pytest.approx([float(scores[i]) for i in order], abs=1e-6)
