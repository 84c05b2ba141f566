"""Written files: the same bytes in every tensor as were read, in either format, and readable by flax and safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from flax.serialization import msgpack_restore
from safetensors.numpy import load_file

from specrun.runtime.models.directory import inspect
from specrun.runtime.models.tables import pooler_rows, rows
from specrun.runtime.trees import flatten
from specrun.runtime.weights import write
from specrun.runtime.weights.files import find, read
from specrun.runtime.weights.load import load_beside, load_weights
from specrun.runtime.weights.names import canonical, write_names
from specrun.runtime.weights.write import FILES, LAYOUTS, Dtype, Form, cast_bytes, write_weights
from specrun.spec.diagnostics import InputError

GOLDEN = Path(__file__).parents[2] / "golden" / "models"
FLAVOURS = sorted(p.name for p in GOLDEN.iterdir() if p.is_dir())
FORMS: tuple[Form, ...] = ("safetensors", "msgpack")


def loaded(flavour: str) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """(configuration, rows, leaves) of a fixture, its pooler included where it has one."""
    found = inspect(GOLDEN / flavour)
    assert found.weights
    config = found.config
    leaves = load_weights(found.weights, config, rows(config))
    leaves |= load_beside(found.weights, config, pooler_rows(config))
    table = [r for r in (*rows(config), *pooler_rows(config)) if r.path in leaves]
    return config, table, leaves


def raw(folder: Path, config: Any) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Name → (dtype, shape, bytes) of a directory's tensors, names without the head model's prefix."""
    start = find(folder)
    assert start
    contents = read(start)
    assert not contents.faults
    return {
        canonical(t.name, config): (t.dtype, t.shape, np.ascontiguousarray(t.view()).tobytes())
        for t in contents.tensors
    }


NOT_OURS = ("cls.", "lm_head", "classif", "decoder.", "head.")
"""How the names of heads begin."""


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_tensor_is_written_as_it_was_read(flavour: str, tmp_path: Path):
    config, table, leaves = loaded(flavour)
    form: Form = "msgpack" if "flax" in flavour else "safetensors"
    dtype: Dtype = "bfloat16" if flavour == "torch_bfloat16" else "float32"
    tensors = write_names(leaves, table, config, LAYOUTS[form])
    write_weights(tmp_path / FILES[form], tensors, form, dtype)
    before, after = raw(GOLDEN / flavour, config), raw(tmp_path, config)
    assert after.keys() == {n for n in before if not n.startswith(NOT_OURS)}
    for name, found in after.items():
        assert found == before[name], name


@pytest.mark.parametrize(
    "flavour",
    [
        "torch_safetensors",
        "roberta_torch",
        "xlmr_torch",
        "mpnet_torch",
        "qwen3_torch",
        "modernbert_torch",
    ],
)
def test_a_torch_file_is_the_same_file(flavour: str, tmp_path: Path):
    """Header and all, as the library of the format writes it."""
    config, table, leaves = loaded(flavour)
    target = tmp_path / "model.safetensors"
    write_weights(target, write_names(leaves, table, config), "safetensors")
    assert target.read_bytes() == (GOLDEN / flavour / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "flavour",
    ["torch_safetensors", "roberta_torch", "mpnet_torch", "qwen3_torch", "modernbert_torch"],
)
def test_one_layout_after_the_other_changes_nothing(flavour: str, tmp_path: Path):
    config, table, leaves = loaded(flavour)
    tensors = write_names(leaves, table, config, "flax")
    write_weights(tmp_path / FILES["msgpack"], tensors, "msgpack")
    (tmp_path / "config.json").write_bytes((GOLDEN / flavour / "config.json").read_bytes())
    found = inspect(tmp_path)
    assert found.weights
    assert found.weights.layout == "flax"
    again = load_weights(found.weights, config, rows(config))
    for row in rows(config):
        np.testing.assert_array_equal(again[row.path], leaves[row.path], err_msg=row.path)


@pytest.mark.parametrize("chunk", [2**30, 100])
def test_flax_reads_our_msgpack(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Arrays above the limit come in chunks, as flax's own do."""
    monkeypatch.setattr(write, "CHUNK_BYTES", chunk)
    config, table, leaves = loaded("flax_msgpack")
    tensors = write_names(leaves, table, config, "flax")
    target = tmp_path / FILES["msgpack"]
    write_weights(target, tensors, "msgpack")
    theirs = flatten(msgpack_restore(target.read_bytes()))
    assert theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(theirs[name], tensor, err_msg=name)
    assert (b"__msgpack_chunked_array__" in target.read_bytes()) == (chunk == 100)
    ours = raw(tmp_path, config)
    assert {name: x[2] for name, x in ours.items()} == {
        name: np.ascontiguousarray(x).tobytes() for name, x in tensors.items()
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_each_dtype_is_read_back_as_rounded(form: Form, dtype: Dtype, tmp_path: Path):
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    write_weights(tmp_path / FILES[form], {"a.b": x, "a.c": np.array(x[0, 0])}, form, dtype)
    contents = read(tmp_path / FILES[form])
    found = {t.name: (t.dtype, t.float32()) for t in contents.tensors}
    assert found["a.b"][0] == dtype
    tolerance = {"float32": 0.0, "float16": 2**-11, "bfloat16": 2**-8}[dtype]
    np.testing.assert_allclose(found["a.b"][1], x, rtol=tolerance, atol=0)
    assert found["a.c"][1].shape == ()


def test_bfloat16_is_rounded_as_ml_dtypes_rounds():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    x = np.concatenate([bits.view(np.float32), np.float32([0, -0.0, np.inf, -np.inf, 3e38, 1.5])])
    x = x[~np.isnan(x)]
    with np.errstate(all="ignore"):
        expected = x.astype(ml_dtypes.bfloat16).tobytes()
    assert cast_bytes(x, "bfloat16") == expected
    assert cast_bytes(np.float32([np.nan]), "bfloat16") == b"\xc0\x7f"


def test_safetensors_own_library_reads_ours(tmp_path: Path):
    config, table, leaves = loaded("roberta_torch")
    tensors = write_names(leaves, table, config)
    write_weights(tmp_path / "model.safetensors", tensors, "safetensors")
    theirs = load_file(tmp_path / "model.safetensors")
    assert theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(theirs[name], tensor)


def test_numbers_beyond_float16_are_refused_before_the_file_is_made(tmp_path: Path):
    target = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match=r"up to 65504, and larger ones are in a\.b"):
        write_weights(target, {"a.b": np.float32([1e6])}, "safetensors", "float16")
    assert not target.exists()


def test_a_scalar_and_an_empty_array_are_written(tmp_path: Path):
    x = {"e": np.zeros((0, 3), np.float32), "s": np.float32([2.0])}
    for form in FORMS:
        write_weights(tmp_path / FILES[form], x, form)
        contents = read(tmp_path / FILES[form])
        assert not contents.faults
        assert {t.name: t.shape for t in contents.tensors} == {"e": (0, 3), "s": (1,)}
    assert set(msgpack.unpackb((tmp_path / FILES["msgpack"]).read_bytes())) == {"e", "s"}
