"""Reading a model's picture processor: every fault has its key, and nothing costly is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from specrun.runtime.images import pixels, processor
from specrun.runtime.images.faults import BadImage
from specrun.runtime.images.naflex import shape_of
from specrun.runtime.images.pixels import affine, process, resized
from specrun.runtime.images.processor import read_processor
from specrun.spec.annotations import fields_of
from specrun.spec.codec import from_plain, to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.images import ImageProcessor, Patching, Resample, uniform
from tests.runtime.images.pictures import noise

CLIP = {"image_processor_type": "CLIPImageProcessor"}


def write(folder: Path, *, name: str = "preprocessor_config.json", **config: Any) -> Path:
    (folder / name).write_text(json.dumps(config))
    return folder


def faults(folder: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_processor(folder)
    assert all(d.hint and d.file for d in caught.value.diagnostics)
    return [d.message for d in caught.value.diagnostics]


def test_defaults_are_those_of_the_class(tmp_path: Path) -> None:
    clip = read_processor(write(tmp_path, **CLIP))
    assert (clip.shortest_edge, clip.size, clip.crop) == (224, None, (224, 224))
    assert (clip.resample, clip.mean) == ("bicubic", processor.CLIP_MEAN)
    vit = read_processor(write(tmp_path, image_processor_type="ViTImageProcessorFast", size=384))
    assert (vit.height, vit.width, vit.resample, vit.crop) == (384, 384, "bilinear", None)


def test_null_is_the_default(tmp_path: Path) -> None:
    nulls = dict.fromkeys(
        ("size", "crop_size", "resample", "image_mean", "do_resize", "do_center_crop", "unknown")
    )
    assert read_processor(write(tmp_path, **CLIP, **nulls)) == read_processor(
        write(tmp_path, **CLIP)
    )


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("image_processor_type", "Siglip3ImageProcessor", "found 'Siglip3ImageProcessor'"),
        ("image_processor_type", "CLIP", "found 'CLIP'"),
        ("image_processor_type", 3, "found 3"),
        ("do_resize", 1, "do_resize must be true or false, found 1"),
        ("do_convert_rgb", "yes", "do_convert_rgb must be true or false, found 'yes'"),
        ("do_pad", True, "do_pad is not implemented, found True"),
        ("pad_size", {"height": 3}, "pad_size is not implemented"),
        ("use_square_size", True, "use_square_size is not implemented"),
        ("crop_pct", 0.9, "crop_pct is not implemented, found 0.9"),
        ("auto_map", {"AutoImageProcessor": "x.Y"}, "auto_map is not implemented"),
        ("size", {"longest_edge": 3}, "size must hold shortest_edge, or height and width"),
        ("size", {"shortest_edge": 3, "longest_edge": 9}, "size must hold"),
        ("size", {"height": 3}, "size must hold"),
        ("size", "large", "size must hold"),
        ("size", {"shortest_edge": 0}, "size.shortest_edge must be a whole number from 1 to 16384"),
        ("size", {"height": 2.5, "width": 3}, "size's height and width must be a whole number"),
        ("size", True, "size's height and width must be a whole number"),
        ("crop_size", {"shortest_edge": 3}, "crop_size must hold height and width"),
        ("crop_size", -1, "crop_size's height and width must be"),
        ("crop_size", 10**9, "crop_size's height and width must be"),
        ("resample", 6, "resample must be one of Pillow's filters 0 to 5, found 6"),
        ("resample", "bicubic", "resample must be one of"),
        ("rescale_factor", 0, "rescale_factor must be a number above 0, found 0"),
        ("rescale_factor", float("nan"), "rescale_factor must be a number above 0, found nan"),
        ("image_mean", [0.5, 0.5], "image_mean must be three numbers, found [0.5, 0.5]"),
        ("image_mean", [0.5, 0.5, "x"], "image_mean must be three numbers"),
        ("image_mean", [0.5, 0.5, float("inf")], "image_mean must be three numbers"),
        ("image_std", [0.5, 0.0, 0.5], "image_std must be above 0, found [0.5, 0.0, 0.5]"),
        ("do_center_crop", False, "pictures of one size are needed"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(
    tmp_path: Path, key: str, value: object, said: str
) -> None:
    (found,) = faults(write(tmp_path, **{**CLIP, key: value}))
    assert said in found


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    found = faults(write(tmp_path, **CLIP, resample=9, image_std=0, do_pad=True))
    assert len(found) == 3


NAFLEX = {"image_processor_type": "Siglip2ImageProcessor"}


def test_pictures_that_keep_their_shape_are_patches(tmp_path: Path) -> None:
    found = read_processor(write(tmp_path, **NAFLEX))
    assert found.patches == Patching(size=16, most=256)
    assert (found.size, found.crop, found.resample) == (None, None, "bilinear")
    assert (found.height, found.width) == (257, 256)
    found = read_processor(write(tmp_path, **NAFLEX, patch_size=14, max_num_patches=1024))
    assert found.patches == Patching(size=14, most=1024)
    packed = process(noise(90, 40), found)
    assert packed.shape == (1025, 196, 3)
    height, width = shape_of(90, 40, found.patches)
    assert packed[-1].reshape(-1)[:4].tolist() == [0, height // 14, 0, width // 14]
    assert (height // 14) * (width // 14) <= 1024
    assert not packed[(height // 14) * (width // 14) : -1].any()


def test_a_picture_of_256_patches_in_a_row_says_so(tmp_path: Path) -> None:
    """More than a byte holds."""
    packed = process(noise(4000, 1), read_processor(write(tmp_path, **NAFLEX, patch_size=2)))
    assert packed[-1].reshape(-1)[:4].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("size", {"height": 3, "width": 3}, "size is not implemented"),
        ("crop_size", 3, "crop_size is not implemented"),
        ("do_resize", False, "do_resize must be true for pictures that keep their shape"),
        ("do_center_crop", True, "do_center_crop must be false for pictures that keep their shape"),
        ("patch_size", 1, "patch_size must be a whole number from 2 to 256, found 1"),
        ("patch_size", [16, 16], "patch_size must be a whole number"),
        ("max_num_patches", 0, "max_num_patches must be a whole number from 1 to 65535, found 0"),
        ("max_num_patches", 256.0, "max_num_patches must be a whole number"),
        ("max_num_patches", 70_000, "max_num_patches must be a whole number"),
    ],
)
def test_patches_that_cannot_be_made_are_refused(
    tmp_path: Path, key: str, value: object, said: str
) -> None:
    (found,) = faults(write(tmp_path, **NAFLEX, **{key: value}))
    assert said in found


def test_a_processor_of_one_size_has_no_patches(tmp_path: Path) -> None:
    (found,) = faults(write(tmp_path, **CLIP, max_num_patches=3))
    assert "max_num_patches is not implemented, found 3" in found


def test_values_of_a_step_that_is_off_do_not_matter(tmp_path: Path) -> None:
    off = {"do_center_crop": False, "do_rescale": False, "do_normalize": False}
    given = {"crop_size": 3, "rescale_factor": 5.0, "image_mean": 0.1, "image_std": 0.3}
    size = {"size": {"height": 8, "width": 9}}
    found = read_processor(write(tmp_path, **CLIP, **size, **off, **given))
    assert found == read_processor(write(tmp_path, **CLIP, **size, **off))
    scale, shift = affine(found)
    np.testing.assert_array_equal(scale, np.ones(3, np.float32))
    np.testing.assert_array_equal(shift, np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the picture processor's configuration is needed, found none"),
        ("", "the file is not JSON"),
        ('{"image_processor_type": "CLIPIm', "the file is not JSON"),
        ("[]", "a JSON object is needed, found list"),
        ("null", "the file holds nothing but null"),
        ("{}", "image_processor_type must be one of: CLIPImageProcessor"),
    ],
)
def test_a_faulty_file_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(content)
    assert said in faults(tmp_path)[0]


def test_no_directory_and_a_faulty_combined_file(tmp_path: Path) -> None:
    assert faults(tmp_path / "none") == ["a model directory is needed, found nothing there"]
    write(tmp_path, name="processor_config.json", image_processor=[3])
    assert faults(tmp_path) == ["image_processor must be an object, found [3]"]


def test_a_combined_file_without_a_picture_processor_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, name="processor_config.json", processor_class="CLIPProcessor")
    assert read_processor(write(tmp_path, **CLIP)).crop == (224, 224)


def test_a_processor_survives_the_plan(tmp_path: Path) -> None:
    made = [read_processor(write(tmp_path, **kind)) for kind in (CLIP, NAFLEX)]
    for one in (uniform(48, 64), *made):
        assert from_plain(ImageProcessor, json.loads(json.dumps(to_plain(one)))) == one
    assert all(info.fact.doc for info in fields_of(ImageProcessor))
    assert [f.name for f in fields(ImageProcessor)] == [i.name for i in fields_of(ImageProcessor)]


def test_every_filter_is_known_to_the_reader_and_to_pillow() -> None:
    assert set(processor._FILTERS) == set(pixels._FILTERS) == set(get_args(Resample))
    for number, name in enumerate(processor._FILTERS):
        assert pixels._FILTERS[name] == number


def test_from_scratch_bytes_become_numbers_between_minus_one_and_one() -> None:
    made = uniform(20, 30)
    out = process(noise(7, 300), made)
    assert out.shape == (20, 30, 3)
    scale, shift = affine(made)
    np.testing.assert_allclose(np.float32([0, 255]) * scale[0] + shift[0], [-1, 1], atol=1e-6)


def test_a_processor_that_converts_nothing_takes_only_rgb(tmp_path: Path) -> None:
    strict = read_processor(write(tmp_path, **CLIP, do_convert_rgb=False))
    assert process(noise(30, 40), strict).shape == (224, 224, 3)
    with pytest.raises(BadImage, match=r"unsupported image: its mode is L, .*do_convert_rgb"):
        process(noise(30, 40, "L"), strict)


def test_the_shorter_edge_keeps_the_shape(tmp_path: Path) -> None:
    clip = read_processor(write(tmp_path, **CLIP, size=10, crop_size=4))
    assert resized(30, 45, clip) == (10, 15)
    assert resized(45, 30, clip) == (15, 10)
    assert resized(1, 1, clip) == (10, 10)
    assert resized(100, 1, clip) == (1000, 10)


def test_reading_imports_neither_numpy_nor_pillow() -> None:
    script = (
        "import sys, specrun.runtime.images.processor\n"
        "print([m for m in ('numpy', 'PIL', 'jax') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
