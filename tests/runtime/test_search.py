"""Search over a run's own rows and over a corpus: what is found, where, and the faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from specrun.runtime.predict import search as module
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.predict.search import WIDTH, search
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import JsonlSource
from tests.runtime.folders import make_directory, make_run

WORDS = ["open", "close", "read", "write", "sort", "join", "split", "find", "copy", "move"]
CODE = '''"""A module."""

import functools


class Shelf:
    """A shelf."""

    @functools.cache
    def take(self, name):
        """Take a book."""
        return self.books[name]

    async def put(self, name):
        return name


def outer():
    def inner():
        """Do the inner thing."""
        return 1

    return inner
'''


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [{"question": f"how to {w}", "answer": f"{w}(x)\nmore"} for w in WORDS]
    rows += [{"question": "how to open it again", "answer": "open(x)\n  more"}]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = JsonlSource(path=str(data), query="question", positive="answer")
    make_run(tmp_path / "run", source=source)
    return tmp_path / "run"


def fault(action: Any, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        action()
    for part in parts:
        assert part in str(caught.value)


def test_the_run_s_own_rows_of_both_splits_are_found_once(run: Path):
    hits = search(run, "how to open", top=100)
    assert sorted(h.text for h in hits) == sorted(f"{w}(x)" for w in WORDS)
    lines = {int(h.place.removeprefix("pairs.jsonl:")) for h in hits}
    assert lines in ({*range(1, 11)}, {*range(2, 12)})  # of equal texts the training row's place
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)


def test_separate_towers_search_with_one_among_the_others(tmp_path: Path):
    """Queries are embedded by the query tower, rows by the other."""
    rows = [{"question": f"how to {w}", "answer": f"{w}(x)"} for w in WORDS]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = JsonlSource(path=str(tmp_path / "pairs.jsonl"), query="question", positive="answer")
    make_run(tmp_path / "run", source=source, towers=True)
    predictor = Predictor(tmp_path / "run")
    hits = search(tmp_path / "run", "how to read", top=10)
    texts = [hit.text for hit in hits]
    cosines = predictor.encode_query(["how to read"]) @ predictor.encode_document(texts).T
    np.testing.assert_allclose([hit.score for hit in hits], cosines[0], atol=1e-5)


@pytest.mark.parametrize("dimension", [None, 8])
def test_scores_are_the_cosines(run: Path, dimension: int | None):
    predictor = Predictor(run)
    texts = [f"{w}(x)\nmore" for w in WORDS]
    query = predictor.encode_text(["how to sort"], dimension=dimension, side="query")[0]
    cosines = predictor.encode_text(texts, dimension=dimension) @ query
    hits = search(run, "how to sort", top=3, dimension=dimension)
    best = np.sort(cosines)[::-1][:3]
    np.testing.assert_allclose([h.score for h in hits], best, atol=2e-6)


def test_the_second_search_embeds_only_the_query(run: Path, monkeypatch: pytest.MonkeyPatch):
    first = search(run, "how to open")
    asked: list[int] = []
    embed = Predictor.embed

    def counting(self: Predictor, texts: list[str], **options: Any) -> np.ndarray:
        asked.append(len(texts))
        return embed(self, texts, **options)

    monkeypatch.setattr(module.Predictor, "embed", counting)
    assert search(run, "how to open") == first
    assert asked == [1]
    search(run, "how to open", dimension=4)
    assert asked == [1, 1]


def test_other_parameters_are_embedded_anew(run: Path):
    before = search(run, "how to open", top=10)
    make = json.loads((run / "best" / "manifest.json").read_text())
    (run / "best").rename(run / "old")
    assert make["parameters_sha256"]
    assert search(run, "how to open", top=10) != before  # final/ is taken


def test_every_function_of_a_folder_of_code(run: Path, tmp_path: Path):
    code = tmp_path / "code"
    (code / "deep").mkdir(parents=True)
    (code / "deep" / "shelf.py").write_text(CODE)
    (code / "notes.txt").write_text("def not_code(): pass")
    hits = search(run, "take a book", corpus=code, top=10)
    assert {h.place: h.text for h in hits} == {
        "deep/shelf.py:10": "Shelf.take",
        "deep/shelf.py:14": "Shelf.put",
        "deep/shelf.py:18": "outer",
        "deep/shelf.py:19": "outer.inner",
    }
    hits = search(run, "take a book", corpus=code / "deep" / "shelf.py", top=10)
    assert {h.place for h in hits} == {f"shelf.py:{n}" for n in (10, 14, 18, 19)}


def test_code_that_cannot_be_read_is_named(run: Path, tmp_path: Path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "good.py").write_text("def f():\n    return 1\n")
    (code / "bad.py").write_text("def f(:\n")
    with pytest.warns(UserWarning, match=r"left out of the corpus: bad\.py:1 \(not Python\)"):
        hits = search(run, "f", corpus=code)
    assert [h.place for h in hits] == ["good.py:1"]


@pytest.mark.parametrize("column", ["answer", "positive", "text"])
def test_a_jsonl_corpus(run: Path, tmp_path: Path, column: str):
    path = tmp_path / "corpus.jsonl"
    rows = [{column: "sort(x)"}, {column: "x" * 100 + "\nmore"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    hits = search(run, "how to sort", corpus=path)
    assert {h.place for h in hits} == {"corpus.jsonl:1", "corpus.jsonl:2"}
    assert {h.text for h in hits} == {"sort(x)", "x" * (WIDTH - 1) + "…"}


@pytest.mark.parametrize("column", ["answer", "positive", "text"])
@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_corpus_in_another_format(run: Path, tmp_path: Path, ending: str, column: str):
    path = tmp_path / f"corpus.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table({"id": [1, 2], column: ["sort(x)", "open a file"]}), path)
    else:
        between = "," if ending == "csv" else "\t"
        path.write_text(f"id{between}{column}\n1{between}sort(x)\n2{between}open a file\n")
    hits = search(run, "how to sort", corpus=path)
    first = 1 if ending == "parquet" else 2
    assert {h.place for h in hits} == {f"corpus.{ending}:{first + i}" for i in (0, 1)}
    assert {h.text for h in hits} == {"sort(x)", "open a file"}


def test_a_directory_searches_a_corpus_only(tmp_path: Path):
    directory = make_directory(tmp_path / "model")
    fault(lambda: search(directory, "sort"), "no rows of its own")
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "sort(x)"}\n')
    assert [h.text for h in search(directory, "sort", corpus=path)] == ["sort(x)"]
    with pytest.warns(UserWarning, match="not trained to be cut"):
        search(directory, "sort", corpus=path, dimension=3)


@pytest.mark.parametrize("query", ["", " \n", None, 3])
def test_a_query_without_words_is_refused(run: Path, query: Any):
    fault(lambda: search(run, query), "query")


@pytest.mark.parametrize("top", [0, -1, 1.5, True])
def test_an_impossible_number_is_refused(run: Path, top: Any):
    fault(lambda: search(run, "sort", top=top), "top")


def test_a_corpus_that_cannot_be_searched(run: Path, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    fault(lambda: search(run, "sort", corpus=tmp_path / "none"), "none", "check the path")
    fault(lambda: search(run, "sort", corpus=tmp_path / "none.jsonl"), "none.jsonl")
    fault(lambda: search(run, "sort", corpus=empty), "nothing to search")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "a"}\n{"body": "b"}\n')
    fault(lambda: search(run, "sort", corpus=bad), "bad.jsonl:2")
    (tmp_path / "bad.csv").write_text("id,body\n1,b\n")
    fault(lambda: search(run, "sort", corpus=tmp_path / "bad.csv"), "no column `answer`", "`body`")
    (tmp_path / "bad.parquet").write_text("no such")
    fault(lambda: search(run, "sort", corpus=tmp_path / "bad.parquet"), "no whole Parquet file")
    fault(lambda: search(run, "sort", dimension=5), "16, 8, 4")


def test_rows_that_are_gone_and_cannot_be_read_again(run: Path, tmp_path: Path):
    (tmp_path / "pairs.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    assert search(run, "sort")
    shutil.rmtree(tmp_path / "cache")
    fault(lambda: search(run, "sort"), "pairs.jsonl")
