"""Every fault of a weights file: refused by name before anything is allocated, all in one error."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import msgpack
import numpy as np
import pytest

from specrun.runtime.models.directory import inspect
from specrun.runtime.models.encoder import initial_parameters
from specrun.runtime.models.stacking import unstack
from specrun.runtime.models.tables import rows
from specrun.runtime.trees import unflatten
from specrun.runtime.weights.names import write_names
from specrun.spec.diagnostics import InputError
from tests.runtime.models.tiny import bert_config, model_plan
from tests.runtime.weights.files import (
    extension,
    msgpack_bytes,
    safetensors_bytes,
    tensors,
    with_header,
    write_config,
    write_index,
)

CONFIG = bert_config(num_hidden_layers=1)


def refused(folder: Path, code: str, *parts: str) -> InputError:
    """The error of inspecting ``folder``: of ``code``, with every part, a file and a mend."""
    with pytest.raises(InputError) as caught:
        inspect(folder)
    found = caught.value
    text = str(found)
    for part in parts:
        assert part in text, text
    assert code in {d.code for d in found.diagnostics}
    for diagnostic in found.diagnostics:
        assert diagnostic.file.startswith(str(folder))
        assert diagnostic.hint
    return found


def folder_with(path: Path, name: str, content: bytes) -> Path:
    write_config(path, CONFIG)
    (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("layout", ["torch", "flax"])
@pytest.mark.parametrize("form", ["safetensors", "msgpack"])
def test_what_is_written_is_what_is_read(tmp_path: Path, layout: str, form: str):
    if (layout, form) == ("torch", "msgpack"):
        pytest.skip("msgpack is flax's own")
    given = tensors(CONFIG, layout)
    name = "model.safetensors" if form == "safetensors" else "flax_model.msgpack"
    write = safetensors_bytes if form == "safetensors" else msgpack_bytes
    found = inspect(folder_with(tmp_path, name, write(given)))
    assert found.weights
    assert found.weights.layout == layout
    model = model_plan(found.config, weights=found.weights)
    leaves = unstack(initial_parameters(model, 0), model.groups)
    again = write_names(leaves, rows(found.config), found.config, layout)
    assert again.keys() == given.keys()
    for key, tensor in given.items():
        np.testing.assert_array_equal(again[key], tensor)


def test_all_misfits_are_named_in_one_error(tmp_path: Path):
    given = tensors(CONFIG)
    del given["embeddings.LayerNorm.bias"], given["encoder.layer.0.output.dense.weight"]
    given["encoder.layer.7.output.dense.bias"] = np.zeros(3, np.float32)
    given["encoder.layer.0.intermediate.dense.bias"] = np.zeros(3, np.float32)
    query = "encoder.layer.0.attention.self.query.weight"
    given[query] = given[query].astype(np.float64)
    given["bert.embeddings.word_embeddings.weight"] = given["embeddings.word_embeddings.weight"]
    found = refused(
        folder_with(tmp_path, "model.safetensors", safetensors_bytes(given)),
        "weights-missing",
        "embeddings.LayerNorm.bias is missing",
        "encoder.layer.0.output.dense.weight is missing",
        "encoder.layer.7.output.dense.bias is unexpected",
        "encoder.layer.0.intermediate.dense.bias has shape [3], expected [24]",
        f"{query} is float64, expected one of float32, float16, bfloat16",
        "embeddings.word_embeddings.weight is doubled",
    )
    assert len(found.diagnostics) == 6


def test_a_square_matrix_of_the_other_layout_is_not_taken_for_ours(tmp_path: Path):
    """Flax names in a file that says torch are missing and unexpected, never a transposed success."""
    content = safetensors_bytes(tensors(CONFIG, "flax"), {"format": "pt"})
    refused(
        folder_with(tmp_path, "model.safetensors", content),
        "weights-unexpected",
        "encoder.layer.0.attention.self.query.kernel is unexpected",
    )


def test_tensorflows_layout_is_refused(tmp_path: Path):
    content = safetensors_bytes(tensors(CONFIG), {"format": "tf"})
    with pytest.raises(InputError, match="written by TensorFlow"):
        inspect(folder_with(tmp_path, "model.safetensors", content))


def test_prefixes_old_names_and_buffers_are_understood(tmp_path: Path):
    given = {f"bert.{k}": v for k, v in tensors(CONFIG).items()}
    for old, new in (("gamma", "weight"), ("beta", "bias")):
        key = f"bert.embeddings.LayerNorm.{new}"
        given[f"bert.embeddings.LayerNorm.{old}"] = given.pop(key)
    given["bert.embeddings.position_ids"] = np.arange(12)[None]
    given["cls.predictions.bias"] = np.zeros(50, np.float32)
    found = inspect(folder_with(tmp_path, "model.safetensors", safetensors_bytes(given)))
    assert found.unused == ("bert.embeddings.position_ids", "cls.predictions.bias")
    model = model_plan(found.config, weights=found.weights)
    leaves = unstack(initial_parameters(model, 0), model.groups)
    expected = given["bert.embeddings.LayerNorm.gamma"]
    np.testing.assert_array_equal(leaves["embeddings.LayerNorm.scale"], expected)


def test_half_precision_is_cast_exactly(tmp_path: Path):
    given = {k: v.astype(np.float16) for k, v in tensors(CONFIG).items()}
    found = inspect(folder_with(tmp_path, "model.safetensors", safetensors_bytes(given)))
    model = model_plan(found.config, weights=found.weights)
    leaves = unstack(initial_parameters(model, 0), model.groups)
    table = leaves["embeddings.word_embeddings.embedding"]
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, given["embeddings.word_embeddings.weight"])


# --- damaged files ---------------------------------------------------------------------------------------------------

GOOD = safetensors_bytes(tensors(CONFIG))


def header_of(**changes: object) -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}
    return with_header(json.dumps({"x": entry}).encode(), bytes(8))


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "8 bytes of length, found 0"),
    "cut in the length": (GOOD[:5], "8 bytes of length, found 5"),
    "cut in the header": (GOOD[:60], "the header claims"),
    "cut in the data": (GOOD[:-4], "lie outside the file"),
    "bytes behind the data": (GOOD + b"1234", "the tensors end at byte"),
    "huge header": ((1 << 62).to_bytes(8, "little") + b"{}", "the header claims"),
    "garbled header": (with_header(b"\xff\xfe{", b""), "not JSON"),
    "deep header": (with_header(b"[" * 200_000, b""), "not JSON"),
    "header is a list": (with_header(b"[]", b""), "must be a JSON object"),
    "name twice": (with_header(b'{"x": 1, "x": 2}', b""), "'x' occurs twice"),
    "entry is a number": (with_header(b'{"x": 1}', b""), "exactly dtype, shape"),
    "metadata is a list": (with_header(b'{"__metadata__": [1]}', b""), "__metadata__"),
    "dtype unknown": (header_of(dtype="F31"), "unknown dtype 'F31'"),
    "dtype a list": (header_of(dtype=[]), "unknown dtype []"),
    "negative shape": (header_of(shape=[-2]), "whole numbers"),
    "boolean shape": (header_of(shape=[True]), "whole numbers"),
    "shape too large": (header_of(shape=[2**40, 2**40]), "needs"),
    "offsets backwards": (header_of(data_offsets=[8, 0]), "outside"),
    "offsets behind the end": (header_of(data_offsets=[8, 16]), "outside"),
    "size and shape differ": (header_of(shape=[1]), "needs 4 bytes"),
    "gap before the data": (
        header_of(shape=[1], data_offsets=[4, 8]),
        "data begins at 4, expected 0",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_safetensors_file(tmp_path: Path, name: str):
    content, message = DAMAGED[name]
    refused(folder_with(tmp_path, "model.safetensors", content), "weights-damaged", message)


def test_overlapping_tensors_are_refused(tmp_path: Path):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    content = with_header(json.dumps({"x": entry, "y": entry}).encode(), bytes(8))
    folder = folder_with(tmp_path, "model.safetensors", content)
    refused(folder, "weights-damaged", "data begins at 0, expected 8")


PACKED = msgpack_bytes(tensors(CONFIG, "flax"))


def leaf(code: int, content: bytes) -> bytes:
    return msgpack.packb({"x": msgpack.ExtType(code, content)})


DAMAGED_MSGPACK: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "cut": (PACKED[:-7], "not a msgpack map of arrays"),
    "bytes behind the map": (PACKED + b"12", "not a msgpack map of arrays"),
    "garbled": (b"\xc1" * 40, "not a msgpack map of arrays"),
    "a list": (msgpack.packb([1, 2]), "must hold a map, found list"),
    "a number in the map": (msgpack.packb({"a": {"b": 3}}), "a.b: expected an array or a map"),
    "a key that is a number": (msgpack.packb({1: 2}), "not a msgpack map of arrays"),
    "key twice": (b"\x82\xa1x\xc0\xa1x\xc0", "'x' occurs twice"),
    "map of four thousand million": (b"\xdf\xff\xff\xff\xff", "not a msgpack map of arrays"),
    "deep": (b"\x81\xa1x" * 100_000 + b"\xc0", "not a msgpack map of arrays"),
    "complex extension": (leaf(2, msgpack.packb((1.0, 2.0))), "extension 2 is not an array"),
    "extension of text": (leaf(1, msgpack.packb("text")), "an array is (shape, dtype, bytes)"),
    "dtype of objects": (leaf(1, msgpack.packb(([1], "object", b"x" * 8))), "unknown dtype"),
    "content too short": (leaf(1, msgpack.packb(([9], "float32", b"1234"))), "needs 36 bytes"),
    "negative shape": (leaf(1, msgpack.packb(([-1], "float32", b""))), "whole numbers"),
    "chunks of nothing": (
        msgpack.packb({"x": {"__msgpack_chunked_array__": True}}),
        "x: chunks need their shape",
    ),
}


@pytest.mark.parametrize("name", DAMAGED_MSGPACK)
def test_a_damaged_msgpack_file(tmp_path: Path, name: str):
    content, message = DAMAGED_MSGPACK[name]
    refused(folder_with(tmp_path, "flax_model.msgpack", content), "weights-damaged", message)


def test_an_array_in_chunks_is_joined(tmp_path: Path):
    given = tensors(CONFIG, "flax")
    tree = msgpack.unpackb(msgpack_bytes(given), strict_map_key=False)
    table = given["embeddings.word_embeddings.embedding"].ravel()
    tree["embeddings"]["word_embeddings"]["embedding"] = {
        "__msgpack_chunked_array__": True,
        "shape": {"0": 50, "1": 16},
        "chunks": {"0": extension(table[:300]), "1": extension(table[300:])},
    }
    found = inspect(folder_with(tmp_path, "flax_model.msgpack", msgpack.packb(tree)))
    model = model_plan(found.config, weights=found.weights)
    leaves = unstack(initial_parameters(model, 0), model.groups)
    read = np.asarray(leaves["embeddings.word_embeddings.embedding"])
    np.testing.assert_array_equal(read.ravel(), table)


def test_the_chunks_that_flax_writes_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    serialization = pytest.importorskip("flax.serialization")
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 1000)
    given = tensors(CONFIG, "flax")
    tree = unflatten(given)
    content = serialization.msgpack_serialize(tree)
    assert b"__msgpack_chunked_array__" in content
    found = inspect(folder_with(tmp_path, "flax_model.msgpack", content))
    model = model_plan(found.config, weights=found.weights)
    leaves = unstack(initial_parameters(model, 0), model.groups)
    written = write_names(leaves, rows(CONFIG), CONFIG, "flax")
    for name, tensor in given.items():
        np.testing.assert_array_equal(written[name], tensor)


# --- shards ----------------------------------------------------------------------------------------------------------


def shards(folder: Path, form: str) -> dict[str, str]:
    """Two shards and the index's map, written."""
    given = tensors(CONFIG, "flax")
    write, stem = (
        (safetensors_bytes, "model.safetensors")
        if form == "safetensors"
        else (msgpack_bytes, "flax_model.msgpack")
    )
    write_config(folder, CONFIG)
    names = list(given)
    where = {}
    for i, part in enumerate((names[:5], names[5:])):
        file = f"part-{i}.{form}"
        (folder / file).write_bytes(write({name: given[name] for name in part}))
        separator = "." if form == "safetensors" else "/"
        where.update({name.replace(".", separator): file for name in part})
    write_index(folder, stem, where)
    return where


def spoil_index(change: Callable[[dict[str, str]], object], form: str, folder: Path) -> None:
    where = shards(folder, form)
    change(where)
    stem = "model.safetensors" if form == "safetensors" else "flax_model.msgpack"
    write_index(folder, stem, where)


@pytest.mark.parametrize("form", ["safetensors", "msgpack"])
class TestShards:
    def test_they_are_read_together(self, tmp_path: Path, form: str):
        shards(tmp_path, form)
        found = inspect(tmp_path)
        assert found.weights
        assert len(found.weights.files) == 3
        model = model_plan(found.config, weights=found.weights)
        leaves = unstack(initial_parameters(model, 0), model.groups)
        written = write_names(leaves, rows(CONFIG), CONFIG, "flax")
        for name, tensor in tensors(CONFIG, "flax").items():
            np.testing.assert_array_equal(written[name], tensor)

    def test_a_missing_shard_is_named(self, tmp_path: Path, form: str):
        shards(tmp_path, form)
        (tmp_path / f"part-1.{form}").unlink()
        refused(tmp_path, "weights-missing", f"files that are not there: part-1.{form}")

    def test_index_and_shards_must_agree(self, tmp_path: Path, form: str):
        def change(where: dict[str, str]) -> None:
            names = list(where)
            where[names[0]] = where[names[-1]]
            del where[names[1]]
            where["not.there"] = where[names[-1]]

        spoil_index(change, form, tmp_path)
        refused(tmp_path, "weights-index", "the index says", "not in the index", "not.there is not")

    def test_a_tensor_in_two_shards_is_named(self, tmp_path: Path, form: str):
        shards(tmp_path, form)
        write = safetensors_bytes if form == "safetensors" else msgpack_bytes
        (tmp_path / f"part-1.{form}").write_bytes(write(tensors(CONFIG, "flax")))
        refused(tmp_path, "weights-index", "is doubled, in part-0")

    def test_a_damaged_shard_is_named(self, tmp_path: Path, form: str):
        shards(tmp_path, form)
        path = tmp_path / f"part-1.{form}"
        path.write_bytes(path.read_bytes()[:-3])
        refused(tmp_path, "weights-damaged", f"part-1.{form}")

    @pytest.mark.parametrize("file", ["../secret.safetensors", "/etc/passwd", "", ".."])
    def test_the_index_may_not_lead_out_of_the_folder(self, tmp_path: Path, form: str, file: str):
        spoil_index(lambda where: where.update({next(iter(where)): file}), form, tmp_path)
        refused(tmp_path, "weights-unsafe", "files of the same folder")

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": {"a": 1}}', "[" * 99_999])
    def test_a_garbled_index(self, tmp_path: Path, form: str, content: str):
        shards(tmp_path, form)
        stem = "model.safetensors" if form == "safetensors" else "flax_model.msgpack"
        (tmp_path / f"{stem}.index.json").write_text(content)
        refused(tmp_path, "weights-damaged", "the index")


# --- what is not read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5"]
)
def test_files_that_execute_code_are_refused_with_the_way_to_convert(tmp_path: Path, name: str):
    folder = folder_with(tmp_path, name, b"\x80\x04.")
    refused(folder, "weights-unsafe", "loading it executes code", "safe_serialization=True")


def test_beside_safetensors_they_do_no_harm(tmp_path: Path):
    folder_with(tmp_path, "pytorch_model.bin", b"\x80\x04.")
    (tmp_path / "model.safetensors").write_bytes(GOOD)
    found = inspect(tmp_path)
    assert found.weights
    assert Path(found.weights.files[0].path).name == "model.safetensors"


def test_a_run_without_weights_says_what_is_needed(tmp_path: Path):
    write_config(tmp_path, CONFIG)
    found = inspect(tmp_path)
    assert found.weights is None
    with pytest.raises(InputError, match="the plan names no weights files"):
        initial_parameters(model_plan(found.config), 0)


@pytest.mark.parametrize("fault", ["changed", "gone"])
def test_weights_that_changed_since_compiling_are_refused(tmp_path: Path, fault: str):
    found = inspect(folder_with(tmp_path, "model.safetensors", GOOD))
    path = tmp_path / "model.safetensors"
    if fault == "gone":
        path.unlink()
    else:
        path.write_bytes(GOOD[:-1] + bytes([GOOD[-1] ^ 1]))
    with pytest.raises(InputError, match="not there" if fault == "gone" else "changed since"):
        initial_parameters(model_plan(found.config, weights=found.weights), 0)


@pytest.mark.parametrize("name", ["model.safetensors", "flax_model.msgpack", "config.json"])
def test_what_cannot_be_opened_is_refused(tmp_path: Path, name: str):
    folder_with(tmp_path, "model.safetensors", GOOD)
    if name == "flax_model.msgpack":
        (tmp_path / "model.safetensors").rename(tmp_path / name)

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes" if name == "config.json" else "open", fail)
        with pytest.raises(InputError, match="cannot be read: Permission denied"):
            inspect(tmp_path)


def test_random_bytes_never_cause_anything_but_a_refusal(tmp_path: Path):
    """Each byte of the safetensors header and of the msgpack file, changed one at a time, in turn."""
    rng = np.random.default_rng(0)
    write_config(tmp_path, CONFIG)
    for name, good in (("model.safetensors", GOOD), ("flax_model.msgpack", PACKED)):
        path = tmp_path / name
        for position in rng.integers(0, 3000, 200):
            spoiled = bytearray(good)
            spoiled[position] ^= int(rng.integers(1, 256))
            path.write_bytes(spoiled)
            with contextlib.suppress(InputError):
                inspect(tmp_path)
        os.remove(path)
