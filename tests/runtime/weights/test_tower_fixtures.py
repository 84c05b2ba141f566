"""CLIP's, SigLIP's, SigLIP 2's and ViT's files as transformers 4.57 writes them, torch's and Flax's (tests/golden/make_towers.py)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from specrun.runtime.models.clip import table as clip
from specrun.runtime.models.clip.config import clip_config
from specrun.runtime.models.siglip import table as siglip
from specrun.runtime.models.siglip.config import siglip_config
from specrun.runtime.models.siglip2.config import siglip2_config
from specrun.runtime.models.siglip2.model import Patches, valid
from specrun.runtime.models.vit.config import vit_config
from specrun.runtime.weights.files import digest, read
from specrun.runtime.weights.load import load_beside, match_weights
from specrun.runtime.weights.names import write_names
from specrun.runtime.weights.write import FILES, LAYOUTS, Form, write_weights
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import WeightsPlan
from tests.runtime.models.one_tower import OneTower, tower

GOLDEN = Path(__file__).parents[2] / "golden" / "towers"
FILE: dict[str, Form] = {"torch": "safetensors", "flax": "msgpack"}
FLAVOURS = sorted(p.name for p in GOLDEN.iterdir() if p.is_dir())
OUTPUT = 5e-6
"""Largest difference from torch in f32."""
BESIDE = {
    "clip": clip.logit_rows(),
    "siglip": siglip.logit_rows(),
    "siglip2": siglip.logit_rows(),
    "vit": (),
}
"""What the loss has of a file."""


def networks(flavour: str) -> tuple[OneTower, ...]:
    raw = json.loads((GOLDEN / flavour / "config.json").read_text("utf-8"))
    match flavour.partition("_")[0]:
        case "clip":
            return tuple(tower(c) for c in clip_config(raw))
        case "siglip":
            return tuple(tower(c) for c in siglip_config(raw))
        case "siglip2":
            text, image = siglip2_config(raw)
            return tower(text), tower(replace(image, max_num_patches=12))
        case _:
            return (tower(vit_config(raw)),)


def images(golden: Any) -> tuple[Any, np.ndarray | None]:
    """What the network of images is given, and its mask."""
    if "shape" not in golden:
        return golden["pixels"], None
    shape = golden["shape"].astype(np.int32)
    return Patches(golden["patches"], shape), np.asarray(valid(shape, 12))


def form(flavour: str) -> Form:
    return FILE[flavour.split("_")[1]]


def file(flavour: str) -> Path:
    return GOLDEN / flavour / FILES[form(flavour)]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_genuine_file_loads_equal_to_torch(flavour: str):
    *text, image = networks(flavour)
    name = FILES[form(flavour)]
    with np.load(GOLDEN / f"expected_{flavour.partition('_')[0]}.npz") as golden:
        given, mask = images(golden)
        out = image.encode(image.read(GOLDEN / flavour, name), given, mask)
        np.testing.assert_allclose(out, golden["image"], atol=OUTPUT, rtol=0)
        for one in text:
            out = one.encode(one.read(GOLDEN / flavour, name), golden["ids"], golden["mask"])
            np.testing.assert_allclose(out, golden["text"], atol=OUTPUT, rtol=0)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_tensor_is_written_as_it_was_read(flavour: str, tmp_path: Path):
    """In the other layout, too, and back."""
    form_, family = form(flavour), flavour.partition("_")[0]
    written: dict[str, np.ndarray] = {}
    for one in networks(flavour):
        leaves = one.unstacked(one.read(GOLDEN / flavour, FILES[form_]))
        own = write_names(leaves, one.rows, one.config, LAYOUTS[form_])
        assert not own.keys() & written.keys()
        written |= own
        if one.config.kind.endswith("_text"):
            table = BESIDE[family]
            kept = load_beside(plan(flavour), one.config, table)
            assert [kept[row.path].shape for row in table] == [() for _ in table]
            written |= write_names(kept, table, one.config, LAYOUTS[form_])
        for other in FILE.values():
            tensors = write_names(leaves, one.rows, one.config, LAYOUTS[other])
            write_weights(tmp_path / FILES[other], tensors, other)
            again = one.unstacked(one.read(tmp_path, FILES[other]))
            for path, leaf in leaves.items():
                np.testing.assert_array_equal(again[path], leaf, err_msg=path)
    write_weights(tmp_path / FILES[form_], written, form_)
    before, after = raw(file(flavour)), raw(tmp_path / FILES[form_])
    if flavour.endswith("head"):
        before = {name.removeprefix("vit."): found for name, found in before.items()}
    for name in before.keys() - after.keys():  # only ViT's
        assert name.startswith(("pooler.dense.", "classifier.")), name
    for name, found in after.items():
        assert found == before[name], name
    if flavour in (
        "clip_torch",
        "siglip_torch",
        "siglip2_torch",
    ):  # nothing is left out: the same file, header and all
        assert (tmp_path / FILES[form_]).read_bytes() == file(flavour).read_bytes()


def plan(flavour: str) -> WeightsPlan:
    found = digest(file(flavour), "weights")
    return WeightsPlan(directory="", layout=LAYOUTS[form(flavour)], files=(found,))


def raw(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Name → (dtype, shape, bytes)."""
    contents = read(path)
    assert not contents.faults
    return {
        t.name: (t.dtype, t.shape, np.ascontiguousarray(t.view()).tobytes())
        for t in contents.tensors
    }


@pytest.mark.parametrize("family", ["clip", "vit"])
def test_both_layouts_hold_the_same_numbers(family: str):
    for torch, flax in zip(networks(f"{family}_torch"), networks(f"{family}_flax"), strict=True):
        first = torch.unstacked(torch.read(GOLDEN / f"{family}_torch"))
        second = flax.unstacked(flax.read(GOLDEN / f"{family}_flax", FILES["msgpack"]))
        assert first.keys() == second.keys()
        for path, leaf in first.items():
            np.testing.assert_array_equal(second[path], leaf, err_msg=path)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "patches of another size": (
        {"vision_model.embeddings.patch_embedding.weight": np.zeros((16, 3, 4, 4), np.float32)},
        r"patch_embedding\.weight has shape \[16, 3, 4, 4\], expected \[16, 3, 5, 5\]",
    ),
    "a kernel as Flax has it": (
        {"vision_model.embeddings.patch_embedding.weight": np.zeros((5, 5, 3, 16), np.float32)},
        r"has shape \[5, 5, 3, 16\], expected \[16, 3, 5, 5\]",
    ),
    "a class token with axes of one": (
        {"vision_model.embeddings.class_embedding": np.zeros((1, 1, 16), np.float32)},
        r"class_embedding has shape \[1, 1, 16\], expected \[16\]",
    ),
    "no class token": (
        {"vision_model.embeddings.class_embedding": None},
        r"vision_model\.embeddings\.class_embedding is missing \(for embeddings\.class_embedding",
    ),
    "whole numbers": (
        {"visual_projection.weight": np.zeros((6, 16), np.int64)},
        r"visual_projection\.weight is int64, expected one of",
    ),
    "another network": (
        {"image_model.weight": np.zeros(3, np.float32)},
        r"image_model\.weight is unexpected",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_refused_by_name(fault: str, tmp_path: Path):
    changes, message = FAULTS[fault]
    tensors = {**load_file(file("clip_torch")), **changes}
    target = tmp_path / "model.safetensors"
    save_file({k: v for k, v in tensors.items() if v is not None}, target, {"format": "pt"})
    image = networks("clip_torch")[1]
    with pytest.raises(InputError, match=message):
        match_weights(target, image.config, image.rows)


def test_what_belongs_to_the_other_network_is_listed_and_not_read():
    text, image = networks("clip_torch")
    found = match_weights(file("clip_torch"), text.config, text.rows)
    other = match_weights(file("clip_torch"), image.config, image.rows)
    read_ = {tensor.name for _, tensor in (*found.pairs, *other.pairs)}
    assert set(found.unused) & set(other.unused) == {"logit_scale"}
    assert read_ == set(found.unused) ^ set(other.unused)
