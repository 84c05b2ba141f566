"""A Hugging Face directory of an image network, or of a model of texts and images, as facts. Imports no jax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from specrun.runtime.images.processor import read_processor
from specrun.runtime.models.clip.config import clip_config
from specrun.runtime.models.pieces import Folder
from specrun.runtime.models.siglip.config import siglip_config
from specrun.runtime.models.siglip.texts import text_rules
from specrun.runtime.models.siglip2.config import siglip2_config
from specrun.runtime.models.tables import rows
from specrun.runtime.models.vit.config import vit_config
from specrun.runtime.weights.files import digest, find
from specrun.runtime.weights.load import match_weights
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import Input
from specrun.spec.plan.images import ImageProcessor
from specrun.spec.plan.model import WeightsPlan
from specrun.spec.plan.networks import NetworkConfig, TextImageConfig
from specrun.spec.plan.towers import ImageTower, Siglip2VisionConfig, SiglipTextConfig, TextTower

Pair = Callable[[Mapping[str, Any]], tuple[TextTower, ImageTower]]

PAIRS: Mapping[str, Pair] = {
    "clip": clip_config,
    "siglip": siglip_config,
    "siglip2": siglip2_config,
}
"""Values of ``model_type`` that stand for a network of texts and one of images, and how config.json is read."""


@dataclass(frozen=True, kw_only=True)
class ImageDirectory:
    """The image network; ``weights`` is None when the directory holds only a configuration."""

    config: ImageTower
    processor: ImageProcessor
    weights: WeightsPlan | None
    config_input: Input


def inspect_image(directory: Path, *, weights: bool = True) -> ImageDirectory:
    """Read the directory of a network of images alone. Raises InputError as ``directory.inspect`` does."""
    folder = Folder(Path(directory))
    folder.require_directory()
    raw = folder.require("config.json", "the model's config.json", "name a directory of a ViT")
    folder.finish()
    assert raw is not None  # finish raises when it is missing
    if raw.get("model_type") != "vit":
        found = repr(raw.get("model_type"))[:80]
        raise InputError(
            f"model_type must be vit, found {found} in {folder.path / 'config.json'}",
            code="bad-model",
            hint="images are embedded by a ViT, or by the image network of `kind: clip` or `siglip`",
        )
    return _image(folder, vit_config(raw), weights)


def inspect_pair(
    folder: Folder, raw: Mapping[str, Any], model_type: str, weights: bool
) -> tuple[TextImageConfig, WeightsPlan | None, ImageDirectory, bool]:
    """The two networks of a directory, where the weights of the texts' one come from, and whether texts are lower-cased."""
    text, image = PAIRS[model_type](raw)
    lowercase = False
    if isinstance(text, SiglipTextConfig):
        rules = text_rules(folder, model_type, text.pad_token_id)
        folder.finish()
        text, lowercase = replace(text, pad_token_id=rules.pad_id), rules.lowercase
    found = _image(folder, image, weights)
    config = TextImageConfig(text=text, image=found.config, head_dim=None)
    return config, weights_of(folder.path, text) if weights else None, found, lowercase


def weights_of(directory: Path, config: NetworkConfig) -> WeightsPlan | None:
    """The files that hold a network; None when there are none."""
    start = find(directory)
    if start is None:
        return None
    match = match_weights(start, config, rows(config))
    files = tuple(digest(path, "weights") for path in match.files)
    return WeightsPlan(directory=str(directory), layout=match.layout, files=files)


def _image(folder: Folder, config: ImageTower, weights: bool) -> ImageDirectory:
    processor = read_processor(folder.path)
    if isinstance(config, Siglip2VisionConfig):
        config = _of_any_shape(folder, config, processor)
    elif processor.patches is not None:
        raise _unlike(folder, "keeps the shape of images", "takes them of one size")
    elif (processor.height, processor.width) != (config.image_size, config.image_size):
        made = f"makes images of {processor.height} × {processor.width}"
        raise _unlike(folder, made, f"takes {config.image_size} × {config.image_size}")
    return ImageDirectory(
        config=config,
        processor=processor,
        weights=weights_of(folder.path, config) if weights else None,
        config_input=folder.digest("config"),
    )


def _of_any_shape(
    folder: Folder, config: Siglip2VisionConfig, processor: ImageProcessor
) -> Siglip2VisionConfig:
    """The network with as many patches as the processor makes, which config.json does not say."""
    patches = processor.patches
    if patches is None:
        raise _unlike(folder, "makes images of one size", "takes patches of any shape")
    if patches.size != config.patch_size:
        made = f"makes patches of {patches.size} pixels"
        raise _unlike(folder, made, f"takes {config.patch_size}")
    return replace(config, max_num_patches=patches.most)


def _unlike(folder: Folder, makes: str, takes: str) -> InputError:
    return InputError(
        f"the processor of {folder.path} {makes}, and the network {takes}",
        code="bad-model",
        hint="are preprocessor_config.json and config.json of one model?",
    )
