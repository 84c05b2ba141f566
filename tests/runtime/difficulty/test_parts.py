"""What the three parts measure: words and sentences, rarity, readability, and clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from specrun.runtime.data.difficulty import ranks
from specrun.runtime.difficulty import clusters
from specrun.runtime.difficulty.lexical import idf_of, rarity, spread
from specrun.runtime.difficulty.readability import INDICES, readabilities
from specrun.runtime.difficulty.scores import scaled
from specrun.runtime.difficulty.words import counts_of, syllables, words_of
from specrun.spec.plan.difficulty import cut


def test_words_are_runs_of_letters_and_digits():
    assert words_of("don't re-use my_map2, l’été! 3.5") == [
        *("don't", "re", "use", "my", "map2", "l’été", "3", "5")
    ]
    assert words_of("... -- !?") == []


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One.", 1),
        ("One. Two! Three?", 3),
        ('He said "stop." Then he left.', 2),
        ("No end", 1),
        ("A heading\n\nand a text below", 2),
        ("... !", 0),
        ("", 0),
        ("version 3.5 of it", 1),
    ],
)
def test_sentences(text: str, sentences: int):
    assert counts_of(text).sentences == sentences


def test_counts_are_of_the_words_alone():
    counts = counts_of("The cat's 9 lives.")
    assert (counts.words, counts.characters, counts.letters) == (4, 13, 12)
    assert counts.syllables == 1 + 1 + 1 + 1


@pytest.mark.parametrize(
    ("word", "count"),
    [
        *(("cat", 1), ("table", 2), ("made", 1), ("wanted", 2), ("jumped", 1), ("houses", 2)),
        *(("file", 1), ("files", 1), ("the", 1), ("radio", 3), ("X", 1), ("42", 1)),
        *(("Python", 2), ("dictionary", 4), ("returns", 2), ("iterable", 4), ("日本", 1)),
    ],
)
def test_syllables(word: str, count: int):
    assert syllables(word) == count


def test_rarity_is_the_mean_idf_of_the_words():
    idf = idf_of(["a b", "A c", "a"])
    assert idf("a") == 0
    assert idf("b") == pytest.approx(math.log(4 / 2))
    assert idf("never") == pytest.approx(math.log(4))
    found = rarity(["A b", "b b a", "", "?"], idf)
    assert found == pytest.approx([math.log(2) / 2, 2 * math.log(2) / 3, 0, 0])


def test_the_corpus_is_thinned_out_evenly():
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(5, 5) == [0, 1, 2, 3, 4]


def test_every_index_rises_with_the_difficulty():
    easy = "The cat sat. The dog ran. I am here."
    hard = "Notwithstanding considerable administrative complications, representatives unanimously acknowledged responsibility for deteriorating infrastructure."
    found = readabilities([easy, hard, "?!"], tuple(INDICES))
    assert (found[1] > found[0]).all()
    assert np.isnan(found[2]).all()


def test_scaling_is_by_the_training_rows_and_cuts_the_others():
    own, other = scaled(np.array([2.0, 4.0, 3.0, np.nan]), np.array([1.0, 3.5, 9.0, np.nan]))
    assert own.tolist() == [0, 1, 0.5, 0]
    assert other.tolist() == [0, 0.75, 1, 0]


def test_what_is_the_same_everywhere_scores_0():
    own, other = scaled(np.array([7.0, 7.0]), np.array([9.0]))
    assert own.tolist() == [0, 0]
    assert other.tolist() == [0]
    nothing, none = scaled(np.array([np.nan]), np.empty(0))
    assert nothing.tolist() == [0]
    assert none.tolist() == []


def test_equal_scores_are_ranked_by_row():
    assert ranks(np.array([0.5, 0.1, 0.5, 0.1])).tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize("rows", [1, 2, 3, 99, 100, 101, 5558])
def test_classes_are_exact_and_leave_no_row_out(rows: int):
    edges = [cut(p, rows) for p in (0, 33, 67, 100)]
    assert edges == sorted(edges)
    assert (edges[0], edges[-1]) == (0, rows)
    assert edges[1] == math.floor(0.33 * rows + 0.5)


def blobs(seed: int = 0) -> np.ndarray:
    """90 points of length 1 around three directions, in no order."""
    generator = np.random.default_rng(seed)
    points = np.repeat(np.eye(3, 5), 30, axis=0) + generator.normal(size=(90, 5)) * 0.05
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points[generator.permutation(90)].astype(np.float32)


def test_k_means_finds_separate_clusters():
    points = blobs()
    centres = clusters.k_means(points, 3)
    own = clusters.nearest(points, centres)
    assert sorted(np.bincount(own)) == [30, 30, 30]
    assert all(
        len({int(points[i].argmax()) for i in np.flatnonzero(own == c)}) == 1 for c in range(3)
    )
    for c in range(3):
        np.testing.assert_allclose(centres[c], points[own == c].mean(axis=0), atol=1e-7)
    assert (clusters.centrality(points, centres) > 0.9).all()


def test_k_means_is_the_same_every_time_whatever_the_block(monkeypatch: pytest.MonkeyPatch):
    points = blobs()
    once = clusters.k_means(points, 4)
    assert np.array_equal(once, clusters.k_means(points, 4))
    monkeypatch.setattr(clusters, "BLOCK", 7)
    monkeypatch.setattr(clusters, "SUMMED", 11)
    np.testing.assert_allclose(clusters.k_means(points, 4), once, atol=1e-6)


def test_fewer_different_points_than_clusters_give_fewer_centres():
    points = np.repeat(np.eye(2, dtype=np.float32), 5, axis=0)
    centres = clusters.k_means(points, 6)
    assert len(centres) == 2
    assert clusters.centrality(points, centres) == pytest.approx(np.ones(10))


def test_one_point_and_the_origin():
    point = np.array([[1.0, 0.0]], np.float32)
    assert clusters.centrality(point, clusters.k_means(point, 1)).tolist() == [1.0]
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    assert clusters.centrality(opposite, clusters.k_means(opposite, 1)).tolist() == [0.0, 0.0]
