"""The nearest documents: exact by tiles, and by FAISS, against a sort of all scores."""

from __future__ import annotations

import numpy as np
import pytest

from specrun.runtime.mining import nearest as home
from specrun.runtime.mining.nearest import by_faiss, exact, nearest, require_faiss
from specrun.spec.diagnostics import InputError, RunError


def vectors(rows: int, width: int = 16, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def sorted_all(queries: np.ndarray, documents: np.ndarray, k: int) -> np.ndarray:
    scores = queries.astype(np.float64) @ documents.astype(np.float64).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize(
    ("rows", "tile", "k"), [(50, 8192, 7), (50, 16, 50), (1, 4, 1), (33, 8, 9)]
)
def test_tiles_change_nothing(rows: int, tile: int, k: int):
    queries, documents = vectors(20, seed=1), vectors(rows)
    scores, found = exact(queries, documents, k, query_tile=8, document_tile=tile)
    want = sorted_all(queries, documents, k)
    np.testing.assert_array_equal(found, want)
    rescored = np.take_along_axis(queries @ documents.T, want, axis=1)
    np.testing.assert_allclose(scores, rescored, atol=1e-6)


def test_faiss_flat_finds_what_the_device_finds():
    pytest.importorskip("faiss")
    queries, documents = vectors(300, 32, seed=2), vectors(2000, 32, seed=3)
    ours, theirs = exact(queries, documents, 40), by_faiss(queries, documents, 40)
    np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)


def test_of_equal_documents_the_first_comes_first():
    documents = np.repeat(vectors(5), 3, axis=0)
    queries = documents[::3]
    for backend in ("exact", "faiss"):
        if backend == "faiss":
            pytest.importorskip("faiss")
        _, found = nearest(queries, documents, 15, backend)
        np.testing.assert_array_equal(found[:, :3], np.arange(15).reshape(5, 3))


def test_what_is_not_finite_is_refused():
    bad = vectors(4)
    bad[2, 3] = np.nan
    for queries, documents in ((bad, vectors(4)), (vectors(4), bad)):
        with pytest.raises(RunError, match="not finite"):
            nearest(queries, documents, 2, "exact")


def test_no_query_is_no_answer():
    for search in (exact, by_faiss):
        if search is by_faiss:
            pytest.importorskip("faiss")
        scores, found = search(np.empty((0, 16), np.float32), vectors(4), 2)
        assert scores.shape == found.shape == (0, 2)


def test_an_interrupt_ends_the_search():
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nearest(vectors(3), vectors(4), 2, "exact", between=stop)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(home, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="faiss is not installed") as error:
        require_faiss("data.negatives.backend")
    assert "specrun[faiss]" in error.value.diagnostics[0].hint
