"""An index on disk: what is found in it, by whom, and what damage does."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.cli import main
from specrun.runtime.mining import nearest
from specrun.runtime.predict.index import KINDS, build_index, open_index
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.predict.search import search
from specrun.spec.diagnostics import InputError
from tests.runtime.folders import make_run

faiss = pytest.importorskip("faiss")
WORDS = ["open", "close", "read", "write", "sort", "join", "split", "find", "copy", "move"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two runs, a corpus of 400 texts that differ in their first tokens, a folder of code, and an index of each kind."""
    there = tmp_path_factory.mktemp("index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(there / "cache"))
        make_run(there / "run")
        make_run(there / "other", saved=("final", "best"))
        texts = [f"{c}{d}{a[:2]}{b[:2]}" for a in WORDS for b in WORDS for c in "xy" for d in "uv"]
        rows = [{"text": text} for text in texts]
        (there / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (there / "code").mkdir()
        body = "".join(f"def {a}_{b}(x):\n    return x\n\n\n" for a in WORDS for b in "pqr")
        (there / "code" / "m.py").write_text(body)
        for kind in KINDS:
            build_index(there / "run", there / "rows.jsonl", there / kind, kind=kind)
        yield there


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A flat index to spoil."""
    shutil.copytree(root / "flat", tmp_path / "spoilt")
    return tmp_path / "spoilt"


QUERIES = ("open a file", "sort", "x y z", "move read")


@pytest.mark.parametrize("query", QUERIES)
def test_a_flat_index_finds_what_the_search_finds(root: Path, query: str):
    direct = search(root / "run", query, corpus=root / "rows.jsonl", top=9)
    indexed = search(root / "run", query, index=root / "flat", top=9)
    assert [h.place for h in direct] == [h.place for h in indexed]
    np.testing.assert_allclose([h.score for h in direct], [h.score for h in indexed], atol=1e-5)
    assert search(root / "run", query, index=root / "flat", top=10**6)[399:]


@pytest.mark.parametrize(("kind", "least"), [("flat", 1.0), ("hnsw", 0.95), ("ivf_pq", 0.3)])
def test_kinds_find_their_share_of_the_nearest(root: Path, kind: str, least: float):
    predictor = Predictor(root / "run")
    opened = open_index(root / kind, predictor.trained.digest)
    assert opened.index.ntotal == 400
    vectors = predictor.encode_document(list(opened.corpus.texts))
    asked = predictor.encode_query([f"{a} {b}" for a in WORDS for b in WORDS])
    want = np.argsort(-(asked @ vectors.T), axis=1)[:, :10]
    _, found = opened.index.search(asked, 10)
    share = np.mean([len(set(w) & set(f)) / 10 for w, f in zip(want, found, strict=True)])
    assert share >= least


def test_the_manifest_says_what_was_made(root: Path):
    manifest = json.loads((root / "ivf_pq/manifest.json").read_text())
    assert manifest["kind"] == "ivf_pq"
    assert manifest["encoder"] == Predictor(root / "run").trained.digest
    assert (manifest["count"], manifest["dimension"]) == (400, 16)
    assert manifest["settings"] == {"lists": 10, "parts": 4, "bits": 3, "probed": 2}
    assert set(manifest["files"]) == {"index.faiss", "corpus.jsonl"}


def test_a_folder_of_code_at_a_smaller_width_from_the_command_line(
    root: Path, tmp_path: Path, capsys: Any
):
    code, out = str(root / "code"), str(tmp_path / "code-index")
    run = str(root / "run")
    assert main(["index", run, "--corpus", code, "-o", out, "--dimension", "8", "--quiet"]) == 0
    assert "flat, 30 texts of width 8" in capsys.readouterr().out
    assert main(["search", run, "open", "--index", out, "-k", "2", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    direct = search(run, "open", corpus=code, top=2, dimension=8)
    assert [line.split()[0] for line in lines] == [f"{h.score:.3f}" for h in direct]
    assert all("m.py:" in line for line in lines)
    assert main(["search", run, "open", "--index", out, "--dimension", "16"]) == 2
    assert "has width 8" in capsys.readouterr().err


def test_another_encoders_index_is_refused(root: Path):
    with pytest.raises(InputError, match="made by another encoder"):
        search(root / "other", "open", index=root / "flat")


@pytest.mark.parametrize("name", ["index.faiss", "corpus.jsonl"])
@pytest.mark.parametrize("how", ["gone", "cut", "flipped", "empty"])
def test_damage_is_told(root: Path, copy: Path, name: str, how: str):
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if how == "gone":
        path.unlink()
    else:
        spoilt = {"cut": content[:-9], "flipped": content, "empty": b""}[how]
        path.write_bytes(bytes(spoilt))
    with pytest.raises(InputError, match=f"{name} is damaged") as error:
        search(root / "run", "open", index=copy)
    assert error.value.diagnostics[0].hint == "make the index again with `specrun index`"


@pytest.mark.parametrize(
    "change",
    [
        lambda m: "{",
        lambda m: "[]",
        lambda m: json.dumps({**m, "format": 2}),
        lambda m: json.dumps({**m, "kind": "other"}),
        lambda m: json.dumps({k: v for k, v in m.items() if k != "files"}),
        lambda m: json.dumps({**m, "dimension": 15}),
        lambda m: json.dumps({**m, "kind": "hnsw"}),
        lambda m: "[" * 100_000,
    ],
)
def test_a_damaged_manifest_is_told(root: Path, copy: Path, change: Any):
    path = copy / "manifest.json"
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        search(root / "run", "open", index=copy)


def test_bytes_that_faiss_cannot_read_are_told(root: Path, copy: Path):
    """The digest is right, and it is no index all the same."""
    import hashlib

    content = (copy / "index.faiss").read_bytes()[:40]
    (copy / "index.faiss").write_bytes(content)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["index.faiss"] = hashlib.sha256(content).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="FAISS cannot read it"):
        search(root / "run", "open", index=copy)


def test_what_cannot_be_meant_is_refused(root: Path, tmp_path: Path, monkeypatch: Any):
    run, rows = root / "run", root / "rows.jsonl"
    with pytest.raises(InputError, match="holds no index"):
        search(run, "open", index=tmp_path)
    with pytest.raises(InputError, match="an index holds its own corpus"):
        search(run, "open", index=root / "flat", corpus=rows)
    with pytest.raises(InputError, match="is there already"):
        build_index(run, rows, root / "flat")
    with pytest.raises(InputError, match="there is no folder"):
        build_index(run, rows, tmp_path / "no" / "where")
    with pytest.raises(InputError, match="kind must be one of"):
        build_index(run, rows, tmp_path / "new", kind="tree")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="30 texts are too few"):
        build_index(run, root / "code", tmp_path / "new", kind="ivf_pq")
    with pytest.raises(InputError, match="width that the run trained"):
        build_index(run, rows, tmp_path / "new", dimension=7)
    assert not (tmp_path / "new").exists()
    with monkeypatch.context() as patch:
        patch.setattr(nearest, "find_spec", lambda name: None)
        with pytest.raises(InputError, match="faiss is not installed"):
            build_index(run, rows, tmp_path / "new")
        with pytest.raises(InputError, match="faiss is not installed"):
            search(run, "open", index=root / "flat")


def test_a_full_disk_leaves_nothing(root: Path, tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(InputError, match="cannot write"):
            build_index(root / "run", root / "rows.jsonl", tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
