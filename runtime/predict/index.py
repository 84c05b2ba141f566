"""An index on disk over a corpus, made by one encoder and vouched for by a manifest.

A folder of three files: ``index.faiss``, ``corpus.jsonl`` with place, label and text of each entry, and
``manifest.json`` with the digests of both and of the encoder. Vectors are of length 1, so inner products
are cosines.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np

from specrun.runtime.loop.folder import write_atomic, write_json
from specrun.runtime.mining.nearest import require_faiss
from specrun.runtime.predict.collection import embed_corpus, open_corpus
from specrun.runtime.predict.corpus import Corpus
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.predict.targets import check_parent
from specrun.runtime.telling import Tell, silent
from specrun.runtime.vectors import normalised
from specrun.spec.diagnostics import InputError

FORMAT = 1
INDEX, CORPUS, MANIFEST = "index.faiss", "corpus.jsonl", "manifest.json"

Kind = Literal["flat", "ivf_pq", "hnsw"]
KINDS: tuple[Kind, ...] = ("flat", "ivf_pq", "hnsw")

POINTS_PER_LIST = 39
"""Fewest vectors for each list and each code of ``ivf_pq``: what FAISS itself asks for."""

LARGEST_CODE = 8
"""Most bits of a code."""

LINKS, BUILD_BREADTH, SEARCH_BREADTH = 32, 200, 128
"""HNSW: links of a vector, and how broadly it is searched when building and when asked."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """An index that was written."""

    folder: Path
    kind: Kind
    count: int
    dimension: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An index, read and verified. ``search`` takes float32 [N, D] and a number."""

    index: Any
    corpus: Corpus
    dimension: int


def build_index(
    folder: str | os.PathLike[str],
    corpus: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    kind: Kind = "flat",
    dimension: int | None = None,
    tell: Tell = silent,
) -> Built:
    """Embed ``corpus`` (see ``corpus.read_corpus``) by the encoder in ``folder``, and write a new folder.

    ``flat`` compares with every vector. ``ivf_pq`` compares codes of the vectors in the nearest lists; their
    numbers follow from the corpus and stand in the manifest. ``hnsw`` walks a graph of neighbours. InputError
    for input that cannot be used, and for an output that is there already.
    """
    target = Path(output)
    _check(kind, target)
    require_faiss("kind")
    predictor = Predictor(folder)
    predictor.check_pooled()
    width = predictor.check_dimension(dimension)
    texts = open_corpus(predictor, Path(corpus))
    vectors = normalised(embed_corpus(predictor, texts, tell), width)
    index, settings = _index(kind, vectors)
    files = {INDEX: _bytes_of(index), CORPUS: _lines(texts)}
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "settings": settings,
        "encoder": predictor.trained.digest,
        "dimension": width,
        "count": len(vectors),
        "corpus": str(Path(corpus).absolute()),
        "faiss": _faiss_version(),
        "files": {name: _digest(content) for name, content in files.items()},
    }
    _write(target, files, manifest)
    return Built(
        folder=target,
        kind=kind,
        count=len(vectors),
        dimension=width,
        bytes=sum(map(len, files.values())),
    )


def open_index(folder: Path, encoder: str) -> Opened:
    """The index in ``folder``, every byte of it verified first.

    ``encoder`` is the digest of the one that will embed the query. InputError when the index was made by
    another one, or is damaged.
    """
    require_faiss("index")
    manifest = _manifest(folder)
    if manifest["encoder"] != encoder:
        raise InputError(
            f"the index in {folder} was made by another encoder: its vectors mean nothing to this one",
            code="other-encoder",
            hint="make it again with `specrun index`, or name the folder that made it",
        )
    content = {name: _verified(folder / name, manifest["files"]) for name in (INDEX, CORPUS)}
    index = _parsed(content[INDEX], folder / INDEX)
    corpus = _corpus(content[CORPUS])
    if index.ntotal != len(corpus.texts) or index.d != manifest["dimension"]:
        raise _damaged(folder / MANIFEST, "it does not describe the files beside it")
    _tune(index, manifest["kind"], manifest["settings"])
    return Opened(index=index, corpus=corpus, dimension=manifest["dimension"])


def _check(kind: str, target: Path) -> None:
    if kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}; found {kind!r}", code="kind")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(
            f"{target} is there already", code="output-exists", hint="name a new directory"
        )
    check_parent(target, f"make {target.name} in")


def _index(kind: Kind, vectors: np.ndarray) -> tuple[Any, dict[str, int]]:
    """The index with all vectors in it, and the numbers it was made with."""
    import faiss

    count, width = vectors.shape
    match kind:
        case "flat":
            index, settings = faiss.IndexFlatIP(width), {}
        case "hnsw":
            settings = {
                "links": LINKS,
                "build_breadth": BUILD_BREADTH,
                "search_breadth": SEARCH_BREADTH,
            }
            index = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = BUILD_BREADTH
        case "ivf_pq":
            settings = _ivf_pq(count, width)
            coarse = faiss.IndexFlatIP(width)
            index = faiss.IndexIVFPQ(
                coarse,
                width,
                settings["lists"],
                settings["parts"],
                settings["bits"],
                faiss.METRIC_INNER_PRODUCT,
            )
            index.train(vectors)
        case _:
            assert_never(kind)
    index.add(vectors)
    return index, settings


def _ivf_pq(count: int, width: int) -> dict[str, int]:
    """Lists, parts and bits for so many vectors: 4 √N lists at most, and codes that can be trained."""
    bits = min(LARGEST_CODE, int(math.log2(max(count // POINTS_PER_LIST, 1))))
    if bits < 1:
        raise InputError(
            f"ivf_pq learns its codes from the corpus, and {count} texts are too few",
            code="too-few-texts",
            hint=f"use flat, or a corpus of {2 * POINTS_PER_LIST} texts or more",
        )
    lists = max(1, min(int(4 * math.sqrt(count)), count // POINTS_PER_LIST))
    parts = next(p for p in range(max(width // 4, 1), 0, -1) if width % p == 0)
    return {"lists": lists, "parts": parts, "bits": bits, "probed": max(1, lists // 4)}


def _tune(index: Any, kind: Kind, settings: Mapping[str, int]) -> None:
    """How broadly the index is searched."""
    match kind:
        case "flat":
            return
        case "hnsw":
            index.hnsw.efSearch = settings["search_breadth"]
        case "ivf_pq":
            index.nprobe = settings["probed"]
        case _:
            assert_never(kind)


def _bytes_of(index: Any) -> bytes:
    import faiss

    return faiss.serialize_index(index).tobytes()


def _parsed(content: bytes, path: Path) -> Any:
    import faiss

    try:
        return faiss.deserialize_index(np.frombuffer(content, np.uint8))
    except (RuntimeError, AssertionError) as error:  # FAISS's errors for what is no index
        lines = str(error).strip().splitlines() or ["it is no index"]
        raise _damaged(path, f"FAISS cannot read it: {lines[-1][:200]}") from error


def _faiss_version() -> str:
    import faiss

    return str(faiss.__version__)


def _lines(corpus: Corpus) -> bytes:
    rows = zip(corpus.places, corpus.labels, corpus.texts, strict=True)
    entries = ({"place": p, "label": label, "text": text} for p, label, text in rows)
    return "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in entries).encode()


def _corpus(content: bytes) -> Corpus:
    entries = [json.loads(line) for line in content.decode().split("\n") if line]
    return Corpus(
        texts=tuple(e["text"] for e in entries),
        places=tuple(e["place"] for e in entries),
        labels=tuple(e["label"] for e in entries),
    )


def _write(target: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """All files in a folder beside the target, which then takes its name."""
    new = target.with_name(f".{target.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for name, content in files.items():
            write_atomic(new / name, content)
        write_json(new / MANIFEST, manifest)
        if target.exists():
            target.rmdir()
        os.rename(new, target)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise InputError(f"cannot write {target}: {error.strerror}", code="unwritable") from error


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder} holds no index: there is no {MANIFEST}",
            code="no-index",
            hint="make one with `specrun index FOLDER --corpus PATH -o DIR`",
        )
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"it cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(path, f"it is no manifest of format {FORMAT}")
    types = {"encoder": str, "kind": str, "dimension": int, "settings": dict, "files": dict}
    wrong = [name for name, kind in types.items() if not isinstance(manifest.get(name), kind)]
    if wrong or manifest["kind"] not in KINDS or not _settings_fit(manifest):
        raise _damaged(path, "it is no manifest of an index")
    return manifest


def _settings_fit(manifest: Mapping[str, Any]) -> bool:
    """Whether the number that ``_tune`` takes is there."""
    name = {"flat": None, "hnsw": "search_breadth", "ivf_pq": "probed"}[manifest["kind"]]
    value = None if name is None else manifest["settings"].get(name)
    return name is None or (type(value) is int and value > 0)


def _verified(path: Path, digests: Mapping[str, Any]) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"it cannot be read: {error.strerror}") from error
    if _digest(content) != digests.get(path.name):
        raise _damaged(path, f"its {len(content)} bytes do not match the digest in {MANIFEST}")
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _damaged(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is damaged: {what}",
        code="damaged-index",
        hint="make the index again with `specrun index`",
    )
