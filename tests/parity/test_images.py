"""Pictures through our processor and through transformers' with Pillow, from the same directory.

transformers' Fast processors resize by torchvision and differ from these by a unit here and there; the Pillow
backend is what is compared with.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from specrun.runtime.images.decode import decode, load, pixels_of
from specrun.runtime.images.naflex import shape_of
from specrun.runtime.images.pixels import affine, process
from specrun.runtime.images.processor import read_processor
from specrun.spec.plan.images import ImageProcessor, Patching
from tests.runtime.images.pictures import MODES, SIZES, noise, oriented

transformers = pytest.importorskip("transformers")
pytest.importorskip("torch")
pytestmark = pytest.mark.parity

NORMALISED = 1e-6
MANY = 10**8

DINO = {
    "do_convert_rgb": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {"image_processor_type": "CLIPImageProcessor"},
    "clip_fast": {"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 96}},
    "clip_of_old": {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "size": 224,
        "crop_size": 224,
        "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    },
    "clip_odd": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 61},
        "crop_size": {"height": 75, "width": 50},
    },
    "clip_nothing_on": {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": False,
        "do_rescale": False,
        "do_normalize": False,
    },
    "siglip": {"image_processor_type": "SiglipImageProcessor"},
    "siglip2": {
        "image_processor_type": "SiglipImageProcessorFast",
        "processor_class": "Siglip2Processor",
        "size": {"height": 256, "width": 256},
        "resample": 2,
        "do_convert_rgb": None,
        "data_format": "channels_first",
    },
    "siglip_wide": {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": 33, "width": 120},
        "image_mean": 0.25,
        "rescale_factor": 0.01,
    },
    "vit": {"image_processor_type": "ViTImageProcessor", "size": 224, "do_convert_rgb": True},
    "dinov2": {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, **DINO},
}
for number in range(6):
    CONFIGS[f"filter_{number}"] = {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": 50, "width": 40},
        "resample": number,
    }


def both(folder: Path, config: dict[str, Any]) -> tuple[ImageProcessor, Any]:
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    theirs = transformers.AutoImageProcessor.from_pretrained(str(folder), backend="pil")
    return read_processor(folder), theirs


def compare(ours: ImageProcessor, theirs: Any, picture: Image.Image) -> None:
    """The bytes after resizing and crop exactly, the numbers after all steps to ``NORMALISED``."""
    raw = theirs(picture, do_rescale=False, do_normalize=False, return_tensors="np")
    expected = raw["pixel_values"][0].transpose(1, 2, 0)
    pixels = process(picture, ours)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (ours.height, ours.width, 3)
    np.testing.assert_array_equal(pixels, expected)
    scale, shift = affine(ours)
    numbers = theirs(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    got = pixels.astype(np.float32) * scale + shift
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, numbers, atol=NORMALISED, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_size(tmp_path: Path, name: str) -> None:
    ours, theirs = both(tmp_path, CONFIGS[name])
    for size in SIZES:
        compare(ours, theirs, noise(*size))


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_as_the_file_holds_it(tmp_path: Path, name: str, mode: str) -> None:
    ours, theirs = both(tmp_path, CONFIGS[name])
    data = MODES[mode]()
    picture = load(data, MANY)
    assert picture.mode == Image.open(io.BytesIO(data)).mode
    compare(ours, theirs, picture)
    expected = theirs(
        Image.open(io.BytesIO(data)), do_rescale=False, do_normalize=False, return_tensors="np"
    )["pixel_values"][0].transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels_of(data, ours, MANY), expected)
    np.testing.assert_array_equal(process(decode(data, MANY), ours), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_left_to_the_picture(
    tmp_path: Path, orientation: int
) -> None:
    ours, theirs = both(tmp_path, CONFIGS["clip"])
    data = oriented(orientation)
    assert Image.open(io.BytesIO(data)).getexif()[0x112] == orientation
    compare(ours, theirs, Image.open(io.BytesIO(data)))
    raw = theirs(
        Image.open(io.BytesIO(data)), do_rescale=False, do_normalize=False, return_tensors="np"
    )["pixel_values"][0]
    np.testing.assert_array_equal(pixels_of(data, ours, MANY), raw.transpose(1, 2, 0))


NAFLEX: dict[str, dict[str, Any]] = {
    "silent": {"image_processor_type": "Siglip2ImageProcessor"},
    "few large patches": {
        "image_processor_type": "Siglip2ImageProcessorFast",
        "patch_size": 14,
        "max_num_patches": 20,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
    },
    "many small ones": {
        "image_processor_type": "Siglip2ImageProcessorPil",
        "patch_size": 3,
        "max_num_patches": 1024,
    },
}
LONG = ((1, 1), (1, 3000), (3000, 1), (7, 2048), (2048, 7), (16, 16), (256, 256), (255, 257))


def naflex(pixels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The patches, and what the last row says of height and width."""
    said = [int(x) for x in pixels[-1].reshape(-1)[:4]]
    assert not pixels[-1].reshape(-1)[4:].any()
    return pixels[:-1], [said[0] * 256 + said[1], said[2] * 256 + said[3]]


@pytest.mark.parametrize("name", NAFLEX)
def test_pictures_that_keep_their_shape(tmp_path: Path, name: str) -> None:
    """Shapes, mask and bytes exactly, padding too; the numbers of the patches there are to ``NORMALISED``."""
    ours, theirs = both(tmp_path, NAFLEX[name])
    scale, shift = affine(ours)
    for size in (*SIZES, *LONG):
        picture = noise(*size)
        raw = theirs(picture, do_rescale=False, do_normalize=False, return_tensors="np")
        patches, shape = naflex(process(picture, ours))
        assert shape == raw["spatial_shapes"][0].tolist(), size
        count = math.prod(shape)
        assert raw["pixel_attention_mask"][0].tolist() == [
            int(i < count) for i in range(len(patches))
        ]
        flat = patches.reshape(len(patches), -1)
        np.testing.assert_array_equal(flat, raw["pixel_values"][0], err_msg=str(size))
        numbers = theirs(picture, return_tensors="np")["pixel_values"][0][:count]
        got = (patches.astype(np.float32) * scale + shift).reshape(len(patches), -1)[:count]
        np.testing.assert_allclose(got, numbers, atol=NORMALISED, rtol=0)


def test_the_search_for_a_size_ends_where_theirs_does() -> None:
    from transformers.models.siglip2.image_processing_pil_siglip2 import (
        get_image_size_for_max_num_patches as search,
    )

    rng = np.random.default_rng(0)
    sizes = [tuple(map(int, 10 ** rng.uniform(0, 4.2, 2))) for _ in range(1500)]
    for (height, width), size, most in zip(
        sizes, rng.choice([2, 14, 16, 32], 1500), rng.choice([1, 7, 256, 1024], 1500), strict=True
    ):
        patching = Patching(size=int(size), most=int(most))
        expected = search(height, width, int(size), int(most))
        assert shape_of(height, width, patching) == expected, (height, width, patching)
        assert expected[0] * expected[1] <= size * size * most


@pytest.mark.parametrize("kind", ["CLIP", "Siglip", "ViT", "Bit"])
def test_what_transformers_writes_is_read(tmp_path: Path, kind: str) -> None:
    theirs = getattr(transformers, f"{kind}ImageProcessorPil")(do_convert_rgb=True)
    theirs.save_pretrained(tmp_path)
    compare(read_processor(tmp_path), theirs, noise(300, 70))


def test_the_processor_inside_another_counts_first(tmp_path: Path) -> None:
    inner = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 20, "width": 30}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    ours, theirs = both(tmp_path, CONFIGS["clip"])
    assert (ours.height, ours.width) == (20, 30)
    compare(ours, theirs, noise(64, 31))
