"""Searching by an image, by a text and an image, and embedding a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.cli import main
from specrun.runtime.predict.encode_file import encode_file
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.predict.search import search
from specrun.spec.diagnostics import InputError
from tests.runtime.pictured import make_models, make_run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    return make_models(tmp_path / "here")


def best(hits: list[Any]) -> list[str]:
    return [hit.text for hit in hits]


def test_an_image_finds_itself_among_the_images_of_a_run(folder: Path):
    make_run(folder)
    run, picture = folder / "run", folder / "pics" / "7.png"
    hits = search(run, image=picture, top=12)
    assert hits[0].text == "7.png"
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert sorted(best(hits)) == sorted(f"{i}.png" for i in range(12))
    predictor = Predictor(run)
    both = predictor.encode_image([picture], texts=["a red box"])[0]
    wanted = {f"{i}.png": predictor.encode_image([folder / "pics" / f"{i}.png"])[0] @ both for i in range(12)}  # fmt: skip
    together = search(run, "a red box", image=picture, top=12)
    for hit in together:
        assert hit.score == pytest.approx(wanted[hit.text], abs=1e-5)
    scores = [[round(h.score, 4) for h in hits], [round(h.score, 4) for h in together]]
    assert scores[0] != scores[1]
    assert search(run, image=picture.read_bytes(), top=1)[0].text == "7.png"


def test_a_directory_searches_a_folder_of_images(folder: Path, capsys: Any):
    arguments = ["search", str(folder / "siglip"), "--corpus", str(folder / "pics"), "-k", "2"]
    image = ["--image", str(folder / "pics" / "3.png")]
    assert main([*arguments, *image, "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("1.000  3.png")
    assert main([*arguments, "a red box", *image, "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main([*arguments, "--quiet", "--", "a red box"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(SystemExit):
        main([*arguments, "--quiet", "a red box", "another"])
    assert "unrecognized arguments" in capsys.readouterr().err
    assert main([*arguments, "--quiet"]) == 2
    assert "--image FILE" in capsys.readouterr().err


def test_a_run_of_images_is_asked_by_an_image(folder: Path):
    """The texts of an image-to-text run; a text alone is what it was not trained on."""
    make_run(folder, mode="i2t")
    hits = search(folder / "run", image=folder / "pics" / "0.png", top=3)
    assert all(" is " in text for text in best(hits))
    with pytest.raises(InputError, match="have images, and this one lacks an image") as caught:
        search(folder / "run", "a red box")
    assert caught.value.diagnostics[0].hint == "give --image FILE"


@pytest.mark.parametrize(
    ("mode", "lengths"), [("i2t", (1, 8)), ("t2i", (8, 1)), ("m2i", (8, 1)), ("i2i", (1, 1))]
)
def test_texts_are_embedded_on_every_side_of_a_run_of_images(folder: Path, mode: str, lengths: Any):
    """Cut at the length of the side that has texts, else at the model's 12 positions: never at a single token."""
    make_run(folder, mode=mode)
    predictor = Predictor(folder / "run")
    assert tuple(predictor.trained.lengths.values()) == lengths
    kept = max(lengths) if max(lengths) > 1 else 12
    whole = ["a red box " * 9, "green"]
    words = [" ".join((whole[0]).split()[:kept]), "green"]
    for side in ("query", "positive", None):
        found = predictor.encode_text(whole, side=side)
        assert not np.allclose(found[0], found[1], atol=1e-3)
        np.testing.assert_array_equal(found, predictor.encode_text(words, side=side))
        shorter = [" ".join(whole[0].split()[: kept - 3]), "green"]
        assert np.abs(found - predictor.encode_text(shorter, side=side)).max() > 1e-4


def test_a_run_of_both_is_asked_by_both(folder: Path):
    make_run(folder, mode="m2i")
    run, picture = folder / "run", folder / "pics" / "0.png"
    assert len(search(run, "a red box", image=picture, top=12)) == 12
    with pytest.raises(InputError, match="a text and an image, and this one lacks a text"):
        search(run, image=picture)
    with pytest.raises(InputError, match="lacks an image"):
        search(run, "a red box")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gone.png", "missing image"),
        ("text.png", "broken image"),
        ("empty.png", "truncated image"),
        ("cut.png", "truncated image"),
        ("inner", "unreadable image"),
    ],
)
def test_a_bad_image_is_told(folder: Path, capsys: Any, name: str, found: str):
    (folder / "inner").mkdir()
    (folder / "text.png").write_text("no image at all")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "pics" / "0.png").read_bytes()[:60])
    arguments = ["search", str(folder / "clip"), "--corpus", str(folder / "pics"), "--quiet"]
    assert main([*arguments, "--image", str(folder / name)]) == 2
    told = capsys.readouterr().err
    assert f"{name}: {found}" in told
    assert "Traceback" not in told


def test_a_model_of_texts_alone_is_asked_by_texts(folder: Path, capsys: Any):
    (folder / "corpus.jsonl").write_text('{"text": "a red box"}\n')
    arguments = ["search", str(folder / "bert"), "--corpus", str(folder / "corpus.jsonl")]
    assert main([*arguments, "--image", str(folder / "pics" / "0.png"), "--quiet"]) == 2
    assert "embeds texts alone" in capsys.readouterr().err


def test_a_folder_of_images_is_encoded_by_its_paths(folder: Path, capsys: Any):
    target = folder / "out.npy"
    assert main(["encode", str(folder / "clip"), str(folder / "pics"), "-o", str(target)]) == 0
    assert "12 embeddings of width 6" in capsys.readouterr().out
    paths = sorted((folder / "pics").iterdir())
    expected = Predictor(folder / "clip").encode_image(paths)
    np.testing.assert_allclose(np.load(target), expected, atol=1e-6)
    (folder / "none").mkdir()
    with pytest.raises(InputError, match="there is no image below"):
        encode_file(folder / "clip", folder / "none", target)
    with pytest.raises(InputError, match="embeds texts alone"):
        encode_file(folder / "bert", folder / "pics", target)


def test_an_index_of_images_is_searched_by_an_image(folder: Path):
    pytest.importorskip("faiss")
    from specrun.runtime.predict.index import build_index

    build_index(folder / "clip", folder / "pics", folder / "index")
    hits = search(folder / "clip", image=folder / "pics" / "5.png", index=folder / "index", top=3)
    assert hits[0].text == "5.png"
    assert hits[0].score == pytest.approx(1, abs=1e-5)
