"""Embeddings from a run's folder and from a directory: what changes them, what must not, and every fault."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from specrun.cli import main
from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.loop.parameters import read_parameters, write_parameters
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.towers import tower
from specrun.runtime.predict import trained
from specrun.runtime.predict.encode_file import encode_file
from specrun.runtime.predict.predictor import Predictor
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.file import read_plan, write_plan
from tests.runtime.folders import TEXTS, make_directory, make_parameters, make_run, tokenizer_text
from tests.runtime.plans import make_lora

SAME = 1e-6
"""Largest difference of a unit vector's number that batching or merging may make."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    make_run(path)
    return path


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_directory(tmp_path_factory.mktemp("hub") / "model")


def by_hand(folder: Path, name: str, texts: list[str], length: int) -> np.ndarray:
    """Each text alone through the plan's encoder, adapters not merged."""
    plan = read_plan(folder / "plan.json")
    parameters = read_parameters(folder / name)
    parameters.pop("losses")
    encode = jax.jit(build_encoder(plan.model).encode)
    rows = []
    for ids in Tokenizer(tokenizer_text()).encode(texts, length):
        padded = np.pad(ids, (0, length - len(ids)))[None]
        rows.append(encode(parameters, padded, np.arange(length)[None] < len(ids)))
    found = np.concatenate(rows)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_a_run_embeds_as_its_encoder_does(folder: Path):
    found = Predictor(folder).encode_text(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), 16)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=SAME)
    np.testing.assert_allclose(found, by_hand(folder, "best", TEXTS, 8), atol=SAME)


def test_sides_have_their_own_lengths(folder: Path):
    found = Predictor(folder).encode_text(TEXTS, side="query")
    np.testing.assert_allclose(found, by_hand(folder, "best", TEXTS, 6), atol=SAME)


def test_query_and_document_are_the_two_sides(folder: Path):
    predictor = Predictor(folder)
    query = predictor.encode_query(TEXTS, dimension=8, batch_size=2)
    document = predictor.encode_document(TEXTS, dimension=8)
    np.testing.assert_allclose(
        query, predictor.encode_text(TEXTS, dimension=8, side="query"), atol=SAME
    )
    np.testing.assert_array_equal(document, predictor.encode_text(TEXTS, dimension=8))


@pytest.mark.parametrize("lora", [None, make_lora(scale=1.5)])
def test_separate_towers_embed_each_side_by_its_own(tmp_path: Path, lora: Any):
    make_run(tmp_path, towers=True, lora=lora)
    predictor = Predictor(tmp_path)
    plan = read_plan(tmp_path / "plan.json")
    parameters = read_parameters(tmp_path / "best")
    found = {}
    for side, length in (("query", 6), ("positive", 8)):
        encode = jax.jit(build_encoder(tower(plan.model, side)).encode)
        rows = []
        for ids in Tokenizer(tokenizer_text()).encode(TEXTS, length):
            rows.append(encode(parameters[side], ids[None], np.ones((1, len(ids)), bool)))
        expected = np.concatenate(rows)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        found[side] = predictor.encode_text(TEXTS, side=side)
        np.testing.assert_allclose(found[side], expected, atol=2 * SAME)
    assert np.abs(found["query"] - found["positive"]).max() > 0.1
    np.testing.assert_array_equal(predictor.encode_query(TEXTS), found["query"])
    np.testing.assert_array_equal(predictor.encode_document(TEXTS), found["positive"])


def test_separate_towers_must_be_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_run(tmp_path / "run", towers=True)
    fault(lambda: Predictor(tmp_path / "run").encode_text(["a"]), "separate towers", "encode_query")
    (tmp_path / "texts.txt").write_text("open a file\n")
    arguments = ["encode", str(tmp_path / "run"), str(tmp_path / "texts.txt")]
    target = tmp_path / "out.npy"
    assert main([*arguments, "-o", str(target)]) == 2
    assert "--side query or document" in capsys.readouterr().err
    assert not target.exists()
    predictor = Predictor(tmp_path / "run")
    for side, embed in (
        ("query", predictor.encode_query),
        ("document", predictor.encode_document),
    ):
        assert main([*arguments, "-o", str(target), "--side", side]) == 0
        np.testing.assert_array_equal(np.load(target), embed(["open a file"]))


def test_final_parameters_on_request_or_where_there_are_no_best(folder: Path, tmp_path: Path):
    found = Predictor(folder, which="final").encode_text(TEXTS)
    np.testing.assert_allclose(found, by_hand(folder, "final", TEXTS, 8), atol=SAME)
    make_run(tmp_path, saved=("final",))
    found = Predictor(tmp_path).encode_text(TEXTS)
    np.testing.assert_allclose(found, by_hand(tmp_path, "final", TEXTS, 8), atol=SAME)


def test_merged_adapters_equal_unmerged_ones(tmp_path: Path):
    make_run(tmp_path, lora=make_lora())
    predictor = Predictor(tmp_path)
    assert predictor.trained.model.lora is None
    found = predictor.encode_text(TEXTS)
    np.testing.assert_allclose(found, by_hand(tmp_path, "best", TEXTS, 8), atol=SAME)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_neither_batches_nor_order_change_an_embedding(
    folder: Path, directory: Path, batch_size: int
):
    order = np.random.default_rng(0).permutation(len(TEXTS))
    for path in (folder, directory):
        predictor = Predictor(path)
        expected = predictor.encode_text(TEXTS)
        shuffled = predictor.encode_text([TEXTS[i] for i in order], batch_size=batch_size)
        np.testing.assert_allclose(shuffled, expected[order], atol=SAME)


def test_the_same_call_gives_the_same_bits(folder: Path):
    one, two = Predictor(folder).encode_text(TEXTS), Predictor(folder).encode_text(TEXTS)
    np.testing.assert_array_equal(one, two)


def test_trained_widths_are_cut_and_normalised_again(folder: Path):
    predictor = Predictor(folder)
    assert (predictor.dimension, predictor.dimensions) == (16, (16, 8, 4))
    whole = predictor.embed(TEXTS)
    for width in predictor.dimensions:
        cut = whole[:, :width] / np.linalg.norm(whole[:, :width], axis=1, keepdims=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = predictor.encode_text(TEXTS, dimension=width)
        np.testing.assert_allclose(found, cut, atol=SAME)


def test_no_texts_give_no_rows(folder: Path):
    predictor = Predictor(folder)
    assert predictor.encode_text([]).shape == (0, 16)
    assert predictor.encode_text([], dimension=4).shape == (0, 4)


def test_a_directory_keeps_its_pooling_and_length(directory: Path):
    predictor = Predictor(directory)
    assert predictor.trained.lengths == {"query": 9, "positive": 9}
    assert predictor.trained.model.config.pooling == "cls"
    found = predictor.encode_text(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=SAME)
    np.testing.assert_array_equal(found, predictor.encode_text(TEXTS, side="query"))
    (long,) = predictor.encode_text(["abcdefgh" + "x" * 90])
    np.testing.assert_allclose(long, predictor.encode_text(["abcdefgh"])[0], atol=SAME)


def test_a_directory_equals_torch(directory: Path):
    """``expected.npz`` holds torch's own hidden states of the same network, pooled by the first token."""
    golden = np.load(Path(__file__).parents[1] / "golden" / "models" / "expected.npz")
    trained = Predictor(directory).trained
    encode = jax.jit(build_encoder(trained.model).encode)
    found = encode(trained.parameters, golden["ids"], golden["mask"])
    np.testing.assert_allclose(found, golden["cls"], atol=2e-6)


def test_cutting_a_directory_warns(directory: Path):
    predictor = Predictor(directory)
    with pytest.warns(UserWarning, match="not trained to be cut from 16 to 5"):
        found = predictor.encode_text(TEXTS, dimension=5)
    assert found.shape == (len(TEXTS), 5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=SAME)


def test_shapes_compiled_stay_few(directory: Path):
    predictor = Predictor(directory)
    shapes = set()
    encode = predictor._encode
    predictor._encode = lambda ids, *more: shapes.add(ids.shape) or encode(ids, *more)
    texts = ["a" * (n % 50) for n in range(400)]
    for count in (400, 397, 133):
        predictor.encode_text(texts[:count], batch_size=16)
    assert shapes == {(16, 8), (16, 9)}


def fault(action: Any, *parts: str) -> InputError:
    with pytest.raises(InputError) as caught:
        action()
    for part in parts:
        assert part in str(caught.value)
    return caught.value


@pytest.mark.parametrize("dimension", [0, -4, 5, 17, 8.0, True, "8"])
def test_other_widths_of_a_run_are_refused(folder: Path, dimension: Any):
    predictor = Predictor(folder)
    fault(lambda: predictor.encode_text(["a"], dimension=dimension), "16, 8, 4", repr(dimension))


@pytest.mark.parametrize("dimension", [0, -4, 17, 8.0, True, "8"])
def test_impossible_widths_of_a_directory_are_refused(directory: Path, dimension: Any):
    predictor = Predictor(directory)
    fault(lambda: predictor.encode_text(["a"], dimension=dimension), "from 1 to 16")


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ("a text", "found str"),
        (None, "found NoneType"),
        ({"a"}, "found set"),
        (["a", 3], "texts[1] is int"),
        (["a", None], "texts[1] is NoneType"),
        ([b"a"], "texts[0] is bytes"),
        (["a", "\ud800"], "texts[1] is not valid Unicode"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(folder: Path, texts: Any, named: str):
    fault(lambda: Predictor(folder).encode_text(texts), named)


def test_other_arguments_are_refused(folder: Path):
    predictor = Predictor(folder)
    for size in (0, -1, 2.0, True):
        fault(lambda size=size: predictor.encode_text(["a"], batch_size=size), "batch_size")
    fault(lambda: predictor.encode_text(["a"], side="document"), "query or positive")
    fault(lambda: Predictor(folder, which="last"), "best or final")


def test_missing_and_foreign_folders(tmp_path: Path):
    fault(lambda: Predictor(tmp_path / "nothing"), "there is no folder", "nothing")
    fault(lambda: Predictor(tmp_path), "neither plan.json nor config.json")
    (tmp_path / "file").write_text("")
    fault(lambda: Predictor(tmp_path / "file"), "there is no folder")


def test_an_unfinished_run(tmp_path: Path):
    make_run(tmp_path, saved=())
    fault(lambda: Predictor(tmp_path), "no best/ or final/", "specrun run")
    make_run(tmp_path, saved=("best",))
    Predictor(tmp_path)
    fault(lambda: Predictor(tmp_path, which="final"), "no final/")


def test_a_tampered_plan(tmp_path: Path):
    make_run(tmp_path)
    path = tmp_path / "plan.json"
    path.write_text(path.read_text().replace('"layer_norm_eps": 1e-05', '"layer_norm_eps": 1e-04'))
    fault(lambda: Predictor(tmp_path), "changed after it was compiled")


@pytest.mark.parametrize("name", ["parameters.safetensors", "manifest.json"])
def test_a_damaged_snapshot(tmp_path: Path, name: str):
    make_run(tmp_path)
    path = tmp_path / "best" / name
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", flipped(whole)):
        path.unlink(missing_ok=True)
        path.write_bytes(damaged)
        fault(lambda: Predictor(tmp_path), str(tmp_path / "best"))
    path.unlink()
    fault(lambda: Predictor(tmp_path), str(path))


def flipped(content: bytes) -> bytes:
    """One bit of a digest, or of a number, is another."""
    at = content.index(b'sha256": "') + 12 if b"sha256" in content else len(content) - 3
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_run_may_replace_its_best_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = make_run(tmp_path)
    reads = iter([True, False])

    def overtaken(folder: Path) -> Any:
        if next(reads):
            write_parameters(folder, make_parameters(plan, 5), {"step": 5})
            raise InputError("the two files are of two versions")
        return read_parameters(folder)

    monkeypatch.setattr(trained, "read_parameters", overtaken)
    found = Predictor(tmp_path).encode_text(TEXTS)
    np.testing.assert_allclose(found, by_hand(tmp_path, "best", TEXTS, 8), atol=SAME)


def test_parameters_of_another_plan(tmp_path: Path):
    plan = make_run(tmp_path)
    tree = make_parameters(plan)
    tree["final_norm"]["scale"] = np.ones(17, np.float32)
    write_parameters(tmp_path / "best", tree, {})
    fault(lambda: Predictor(tmp_path), "not those of the plan", "final_norm.scale")
    del tree["final_norm"]
    write_parameters(tmp_path / "best", tree, {})
    fault(lambda: Predictor(tmp_path), "final_norm.bias, final_norm.scale")


def test_a_missing_or_other_tokenizer(tmp_path: Path):
    make_run(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer_text(20), encoding="utf-8")
    fault(lambda: Predictor(tmp_path))
    (tmp_path / "tokenizer.json").unlink()
    fault(lambda: Predictor(tmp_path), "tokenizer.json")


def test_a_directory_that_lacks_something(tmp_path: Path):
    path = make_directory(tmp_path / "model")
    (path / "tokenizer.json").rename(path / "other.json")
    fault(lambda: Predictor(path), "no tokenizer.json")
    (path / "other.json").rename(path / "tokenizer.json")
    (path / "model.safetensors").unlink()
    fault(lambda: Predictor(path), "no weights")


def test_a_tokenizer_with_more_ids_than_the_model(tmp_path: Path):
    path = make_directory(tmp_path / "model")
    text = json.loads(tokenizer_text())
    text["model"]["vocab"]["more"] = 40
    (path / "tokenizer.json").write_text(json.dumps(text), encoding="utf-8")
    fault(lambda: Predictor(path), "41 ids", "40 rows")


def test_a_plan_without_matryoshka_has_one_width(tmp_path: Path):
    plan = dataclasses.replace(make_run(tmp_path), matryoshka=None)
    write_plan(plan, tmp_path / "plan.json")
    assert Predictor(tmp_path).dimensions == (16,)


def test_lines_of_a_file_are_embedded(folder: Path, tmp_path: Path):
    source, target = tmp_path / "texts.txt", tmp_path / "out.npy"
    source.write_bytes("\ufeffopen a file\r\n\nx\u2028y\nlast".encode())
    assert encode_file(folder, source, target, column="text", dimension=None) == (4, 16)
    texts = ["open a file", "", "x\u2028y", "last"]
    np.testing.assert_array_equal(np.load(target), Predictor(folder).encode_text(texts))
    assert encode_file(folder, source, target, dimension=8) == (4, 8)
    source.write_bytes(b"")
    assert encode_file(folder, source, target) == (0, 16)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_column_of_a_jsonl_file_is_embedded(folder: Path, tmp_path: Path):
    source, target = tmp_path / "texts.jsonl", tmp_path / "out.npy"
    source.write_text('{"body": "open a file", "n": 1}\n{"body": "x"}\n')
    assert encode_file(folder, source, target, column="body") == (2, 16)
    expected = Predictor(folder).encode_text(["open a file", "x"])
    np.testing.assert_array_equal(np.load(target), expected)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("x.jsonl", b'{"text": "a"}\n{"body": "b"}\n[]\n', ("x.jsonl:2", "x.jsonl:3", "`text`")),
        ("x.jsonl", b'{"text": "a"}\n{"text": 3}', ("x.jsonl:2", "not text")),
        ("x.jsonl", b'{"text": "a"}\n\n{"text"', ("x.jsonl:3", "not JSON")),
        ("x.csv", b"text,n\na,1\nb\n\xff,1\n", ("x.csv:3", "too few", "x.csv:4", "not UTF-8")),
        ("x.tsv", b"body\tn\na\t1\n", ("x.tsv", "no column `text`", "`body`")),
        ("x.txt", b"a\nb\n\xff\xfe\n", ("x.txt:3", "not UTF-8")),
    ],
)
def test_bad_lines_are_named(
    folder: Path, tmp_path: Path, name: str, content: bytes, named: tuple[str, ...]
):
    (tmp_path / name).write_bytes(content)
    fault(lambda: encode_file(folder, tmp_path / name, tmp_path / "out.npy"), *named)
    assert not (tmp_path / "out.npy").exists()


def test_files_that_cannot_be_read_or_written(folder: Path, tmp_path: Path):
    source = tmp_path / "x.txt"
    source.write_text("a\n")
    fault(lambda: encode_file(folder, tmp_path / "none.txt", tmp_path / "o.npy"), "none.txt")
    fault(lambda: encode_file(folder, tmp_path / "none.jsonl", tmp_path / "o.npy"), "none.jsonl")
    fault(lambda: encode_file(folder, source, tmp_path / "o.bin"), ".npy")
    fault(lambda: encode_file(folder, source, tmp_path / "no" / "o.npy"), "there is no folder")
