"""The picture processor of a model directory, and of a model from scratch. Imports no numpy and no Pillow.

Read are CLIPImageProcessor, SiglipImageProcessor, Siglip2ImageProcessor, ViTImageProcessor and
BitImageProcessor, the older names of the same (CLIPFeatureExtractor) and the Fast variants. The Fast variants resize by torchvision, which differs
from Pillow by a unit here and there; what is done here is what transformers does with Pillow
(``backend="pil"``, or where torchvision is not installed). What is not implemented is refused by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.runtime.models.pieces import Folder
from specrun.runtime.models.values import short
from specrun.spec.plan.images import HALF, ImageProcessor, Patching, Resample

MAX_EDGE = 16_384
"""Longest edge of a processed picture, in pixels."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_CONFIG = "preprocessor_config.json"
_COMBINED = "processor_config.json"
_FILTERS: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's numbers, which the configurations hold."""

_SWITCHES = ("do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize")
_VALUES = ("size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std")
_READ = frozenset((*_SWITCHES, *_VALUES, "default_to_square"))
_PATCHES = ("patch_size", "max_num_patches")
_ONE_SIZE = ("size", "crop_size", "default_to_square")
_NAMES = ("image_processor_type", "feature_extractor_type")
_WITHOUT_EFFECT = frozenset(
    (*_NAMES, "processor_class", "data_format", "_valid_processor_keys", "disable_grouping")
)
_TYPE = f"{_CONFIG} must be the model's own, as transformers writes it"
_UNKNOWN = "only resizing, centre crop, rescaling and normalising are implemented"


@dataclass(frozen=True)
class _Family:
    """What a processor does where its configuration is silent, as its class in transformers says."""

    size: dict[str, int]
    resample: int = 3
    image_mean: tuple[float, ...] = HALF
    image_std: tuple[float, ...] = HALF
    do_center_crop: bool = False
    square: bool = False  # whether a size of one number is a square or the shorter edge
    patches: Patching | None = None  # of pictures that keep their shape


_CLIP = _Family({"shortest_edge": 224}, 3, CLIP_MEAN, CLIP_STD, do_center_crop=True)
_SQUARE = {"height": 224, "width": 224}

_FAMILIES = {
    "CLIP": _CLIP,
    "Siglip": _Family(_SQUARE),
    "Siglip2": _Family({}, 2, patches=Patching(size=16, most=256)),
    "ViT": _Family(_SQUARE, 2, square=True),
    "Bit": _CLIP,
}


def read_processor(directory: Path) -> ImageProcessor:
    """The processor that ``directory`` names. InputError with every fault, each with its key.

    As in transformers, ``image_processor`` of processor_config.json counts before preprocessor_config.json,
    and null means the default of the processor's class.
    """
    folder = Folder(Path(directory))
    folder.require_directory()
    name, raw = _raw(folder)
    processor = None if raw is None else _Reading(folder, name, raw).processor()
    folder.finish()
    assert processor is not None  # finish raises when a fault was found
    return processor


def settings_of(processor: ImageProcessor) -> dict[str, Any]:
    """preprocessor_config.json of a model from scratch: what ``read_processor`` reads as ``processor``.

    ViTImageProcessor resizes to height and width, rescales and normalises; it crops nothing.
    """
    if processor.size is None or processor.crop is not None:
        raise ValueError("internal error: ViTImageProcessor resizes to a size, and crops nothing")
    height, width = processor.size
    return {
        "image_processor_type": "ViTImageProcessor",
        **{key: getattr(processor, key) for key in _SWITCHES},
        "size": {"height": height, "width": width},
        "resample": _FILTERS.index(processor.resample),
        "rescale_factor": processor.rescale_factor,
        "image_mean": list(processor.mean),
        "image_std": list(processor.std),
    }


def _raw(folder: Folder) -> tuple[str, dict[str, Any] | None]:
    """Name of the file that counts and its object; None after a fault."""
    combined = folder.json(_COMBINED)
    inner = None if combined is None else combined.get("image_processor")
    if inner is not None and not isinstance(inner, dict):
        folder.fault(_COMBINED, f"image_processor must be an object, found {short(inner)}", _TYPE)
        return _COMBINED, None
    if inner is not None:
        return _COMBINED, inner
    hint = "it comes with every model that reads pictures"
    return _CONFIG, folder.require(_CONFIG, "the picture processor's configuration", hint)


class _Reading:
    """One configuration being read; faults go to its folder."""

    def __init__(self, folder: Folder, name: str, raw: dict[str, Any]):
        self._folder, self._name = folder, name
        self._raw = {key: value for key, value in raw.items() if value is not None}

    def processor(self) -> ImageProcessor | None:
        """The record; None after a fault."""
        before = self._folder.faults_found
        family = self._family()
        if family is None:
            return None
        self._refuse_others(family)
        on = {key: self._switch(key, family) for key in _SWITCHES}
        patches = None if family.patches is None else self._patches(family.patches, on)
        one_size = on["do_resize"] and patches is None
        shortest_edge, size = self._size(family) if one_size else (None, None)
        crop = self._crop() if on["do_center_crop"] else None
        factor = self._factor() if on["do_rescale"] else 1.0
        mean = self._channels("image_mean", family.image_mean, on["do_normalize"], 0.0)
        std = self._channels("image_std", family.image_std, on["do_normalize"], 1.0)
        resample = self._resample(family) if on["do_resize"] else _FILTERS[family.resample]
        if (
            crop is None
            and size is None
            and patches is None
            and self._folder.faults_found == before
        ):
            message = "pictures of one size are needed, and these settings give each its own"
            self._fault(message, "a size of height and width, or a centre crop, makes them equal")
        if self._folder.faults_found > before:
            return None
        return ImageProcessor(
            **on,
            shortest_edge=shortest_edge,
            size=size,
            resample=resample,
            crop=crop,
            patches=patches,
            rescale_factor=factor,
            mean=mean,
            std=std,
        )

    def _family(self) -> _Family | None:
        kind = next((self._raw[key] for key in _NAMES if key in self._raw), None)
        name = kind if isinstance(kind, str) else ""
        for ending in ("Fast", "Pil"):
            name = name.removesuffix(ending)
        for ending in ("ImageProcessor", "FeatureExtractor"):
            if name.endswith(ending) and (family := _FAMILIES.get(name.removesuffix(ending))):
                return family
        known = ", ".join(f"{name}ImageProcessor" for name in _FAMILIES)
        message = f"image_processor_type must be one of: {known}; found {short(kind)}"
        self._fault(message, "only these picture processors are implemented")
        return None

    def _refuse_others(self, family: _Family) -> None:
        """Keys that would change the numbers and are not implemented."""
        read = _READ if family.patches is None else (_READ | {*_PATCHES}) - {*_ONE_SIZE}
        for key, value in self._raw.items():
            if key not in read and key not in _WITHOUT_EFFECT and value is not False:
                self._fault(f"{key} is not implemented, found {short(value)}", _UNKNOWN)

    def _switch(self, key: str, family: _Family) -> bool:
        value = self._raw.get(key, family.do_center_crop if key == "do_center_crop" else True)
        if type(value) is not bool:
            self._fault(f"{key} must be true or false, found {short(value)}", _TYPE)
        return value is True

    def _size(self, family: _Family) -> tuple[int | None, tuple[int, int] | None]:
        """The shorter edge, or height and width."""
        value = self._raw.get("size", family.size)
        square = self._raw.get("default_to_square", family.square)
        if type(value) is int and square is False:
            value = {"shortest_edge": value}
        if isinstance(value, dict) and value.keys() == {"shortest_edge"}:
            edge = value["shortest_edge"]
            if self._is_edge(edge):
                return edge, None
            self._fault(f"size.shortest_edge {_EDGE}, found {short(edge)}", _TYPE)
            return None, None
        return None, self._rectangle("size", value)

    def _patches(self, default: Patching, on: dict[str, bool]) -> Patching:
        """Pictures that keep their shape are always resized, to whole patches, and never cropped."""
        if not on["do_resize"] or on["do_center_crop"]:
            key = "do_center_crop" if on["do_resize"] else "do_resize"
            message = f"{key} must be {str(not on[key]).lower()} for pictures that keep their shape"
            self._fault(message, _UNKNOWN)
        size = self._whole("patch_size", default.size, 2, 256)
        return Patching(size=size, most=self._whole("max_num_patches", default.most, 1, 65_535))

    def _whole(self, key: str, default: int, least: int, most: int) -> int:
        value = self._raw.get(key, default)
        if type(value) is int and least <= value <= most:
            return value
        rule = f"must be a whole number from {least} to {most}"
        self._fault(f"{key} {rule}, found {short(value)}", _TYPE)
        return default

    def _crop(self) -> tuple[int, int] | None:
        return self._rectangle("crop_size", self._raw.get("crop_size", _SQUARE))

    def _rectangle(self, key: str, value: Any) -> tuple[int, int] | None:
        """Height and width from an object, a list of the two, or one number for both."""
        match value:
            case {"height": height, "width": width} if len(value) == 2:
                pass
            case [height, width]:
                pass
            case int():
                height = width = value
            case _:
                either = "" if key == "crop_size" else "shortest_edge, or "
                message = f"{key} must hold {either}height and width, found {short(value)}"
                self._fault(message, "no other way to give a size is implemented")
                return None
        if self._is_edge(height) and self._is_edge(width):
            return height, width
        self._fault(f"{key}'s height and width {_EDGE}, found {short(value)}", _TYPE)
        return None

    @staticmethod
    def _is_edge(value: Any) -> bool:
        return type(value) is int and 1 <= value <= MAX_EDGE

    def _resample(self, family: _Family) -> Resample:
        value = self._raw.get("resample", family.resample)
        if type(value) is int and 0 <= value < len(_FILTERS):
            return _FILTERS[value]
        self._fault(f"resample must be one of Pillow's filters 0 to 5, found {short(value)}", _TYPE)
        return _FILTERS[family.resample]

    def _factor(self) -> float:
        value = self._raw.get("rescale_factor", 1 / 255)
        if _is_number(value) and value > 0:
            return float(value)
        self._fault(f"rescale_factor must be a number above 0, found {short(value)}", _TYPE)
        return 1.0

    def _channels(
        self, key: str, default: tuple[float, ...], normalized: bool, neutral: float
    ) -> tuple[float, float, float]:
        """Three numbers, from a list of them or from one for all; ``neutral`` where nothing is normalised."""
        if not normalized:
            return neutral, neutral, neutral
        value = self._raw.get(key, default)
        values = [value] * 3 if _is_number(value) else value
        if (
            not isinstance(values, list | tuple)
            or len(values) != 3
            or not all(map(_is_number, values))
        ):
            self._fault(f"{key} must be three numbers, found {short(value)}", _TYPE)
            return neutral, neutral, neutral
        if key == "image_std" and min(values) <= 0:
            self._fault(f"{key} must be above 0, found {short(value)}", _TYPE)
        red, green, blue = map(float, values)
        return red, green, blue

    def _fault(self, message: str, hint: str) -> None:
        self._folder.fault(self._name, message, hint)


_EDGE = f"must be a whole number from 1 to {MAX_EDGE}"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e6
