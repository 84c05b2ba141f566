"""A composed model as a directory: each network as transformers reads it, the heads, and a file that joins them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.images.processor import read_processor, settings_of
from specrun.runtime.models.stacking import unstack
from specrun.runtime.models.tables import rows
from specrun.runtime.models.towers import network_config, tower
from specrun.runtime.predict.composed_folder import (
    HEADS,
    IMAGE,
    JOINED,
    TEXT,
    Joined,
    is_head,
)
from specrun.runtime.predict.image_files import PROCESSOR, write_processor
from specrun.runtime.predict.network_files import Source, config_json, source_of, write_network
from specrun.runtime.predict.order import Order, Whole
from specrun.runtime.predict.router_files import write_router_files
from specrun.runtime.predict.saved import CARD, longest_of, merged_of, origin_of, read_saved
from specrun.runtime.predict.sentence_files import prompts_of, write_json, write_tokenizer
from specrun.runtime.predict.trained import Trained
from specrun.runtime.report.export_card import export_card
from specrun.runtime.trees import flatten
from specrun.runtime.weights import files as weight_files
from specrun.runtime.weights.names import canonical, is_unused, write_names
from specrun.runtime.weights.write import FILES, write_weights
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import TextEncoderConfig, TextImageConfig
from specrun.spec.plan.sides import Tower
from specrun.spec.plan.towers import VitConfig

_OURS = ("kind", "pooling", "final_layer_norm", "projection_dim")
"""Numbers of a ViT's configuration that its config.json does not know."""


@dataclass(frozen=True, kw_only=True)
class Composed:
    """Both networks, opened and checked, to be written with adapters merged. ``source`` is that of the texts' network."""

    order: Order
    to: Whole
    trained: Trained
    text: ModelPlan
    image: ModelPlan
    source: Source
    image_source: Path | None

    def write(self, new: Path) -> dict[str, Any]:
        """The files in ``new``, which exists. Returns the facts of the note."""
        trained, order = self.trained, self.order
        copied, weights = _write_text(new / TEXT, self)
        _write_image(new / IMAGE, self)
        heads = _write_heads(new, self)
        write_json(new / JOINED, _joined(self).plain())
        if self.to == "sentence-transformers":
            self._write_router(new, heads)
        facts = {
            "to": self.to,
            **origin_of(trained, order),
            **weights,
            "weights": ", ".join(
                [f"{name}/{FILES['safetensors']}" for name in (TEXT, IMAGE)] + [HEADS] * bool(heads)
            ),
            "class": "composed",
            "heads": sorted(heads),
            "left_out": [*weights["left_out"], *_left_out(self)],
            "max_seq_length": longest_of(trained, order),
            "files_of_the_source": copied,
            "merged": merged_of(trained, None),
        }
        card = export_card(trained.plan, read_saved(order, trained.plan), facts)
        (new / CARD).write_text(card, encoding="utf-8")
        return facts

    def _write_router(self, new: Path, heads: Mapping[str, np.ndarray]) -> None:
        text, image, trained = self.text.config, network_config(self.image), self.trained
        assert not isinstance(text, TextEncoderConfig | TextImageConfig)
        assert isinstance(image, VitConfig)
        longest, prompts = longest_of(trained, self.order), prompts_of(trained.prompts, None)
        write_router_files(new, text, image, heads, longest, self.order.dtype, prompts)


def open_composed(order: Order, to: Whole, trained: Trained) -> Composed:
    """The model of ``trained``. InputError for a library that has no such model, and for a network without a class."""
    if to == "flax":
        raise InputError(
            f"{order.folder} has a text network and an image network with heads, "
            "and transformers has no Flax class that is made of such",
            code="two-networks",
            hint=_TO_HF,
        )
    text, image = tower(trained.model, "text"), tower(trained.model, "image")
    if isinstance(text.config, TextEncoderConfig):
        raise InputError(
            "a text_encoder has no Hugging Face class, so no other library could load an export",
            code="no-class",
            hint="its weights are in best/ and final/ as safetensors; Predictor embeds with them",
        )
    config = network_config(image)
    assert isinstance(config, VitConfig)
    if not config.final_layer_norm:
        raise InputError(
            "transformers' ViTModel has a norm behind its last block, and this image_encoder has none",
            code="no-class",
            hint="train with `final_layer_norm: true`; Predictor embeds with the run as it is",
        )
    if to == "sentence-transformers" and config.pooling != "cls":
        raise InputError(
            "sentence-transformers' mean of an image counts the class token, and this network's does not",
            code="pooling",
            hint=_TO_HF,
        )
    return Composed(
        order=order,
        to=to,
        trained=trained,
        text=text,
        image=image,
        source=source_of(text, order),
        image_source=_image_source(trained.model),
    )


_TO_HF = (
    "export --to hf: a directory for each network, the heads beside them, "
    "which Predictor reads as one model"
)


def _image_source(model: ModelPlan) -> Path | None:
    """The directory of the image network, whose processor must still be the plan's; None for one from scratch."""
    if model.image_weights is None:
        return None
    directory = Path(model.image_weights.directory)
    if read_processor(directory) != model.image_processor:
        raise InputError(
            f"the image processor in {directory} is not the one that the plan was compiled with",
            code="input-changed",
            hint="put the old file back",
        )
    return directory


def _write_text(folder: Path, whole: Composed) -> tuple[list[str], dict[str, Any]]:
    """The text network's directory. Returns the files copied, and the facts of the weights."""
    folder.mkdir()
    order, trained, config = whole.order, whole.trained, whole.text.config
    assert not isinstance(config, TextEncoderConfig | TextImageConfig)
    own = {p: x for p, x in flatten(trained.parameters["text"]).items() if not is_head(p)}
    weights = write_network(folder, order, "safetensors", whole.text, own)
    write_json(folder / "config.json", config_json(whole.source.config, config, order.dtype))
    longest = longest_of(trained, order)
    copied = write_tokenizer(folder, trained.tokenizer, whole.source.directory, longest)
    return [f"{TEXT}/{name}" for name in copied], weights


def _write_image(folder: Path, whole: Composed) -> None:
    """The image network's directory. The pooler of ViTModel takes no part in an embedding and is left out."""
    folder.mkdir()
    config, processor = network_config(whole.image), whole.trained.model.image_processor
    assert isinstance(config, VitConfig)
    assert processor is not None
    leaves = unstack(whole.trained.parameters["image"], whole.image.groups)
    table = [row for row in rows(config) if not is_head(row.path)]
    tensors = write_names({p: np.asarray(x) for p, x in leaves.items()}, table, config)
    dtype = whole.order.dtype
    write_weights(folder / FILES["safetensors"], tensors, "safetensors", dtype)
    numbers = {k: v for k, v in to_plain(config).items() if k not in _OURS}
    settings = {"model_type": "vit", "architectures": ["ViTModel"], "dtype": dtype, **numbers}
    write_json(folder / "config.json", {**settings, "qkv_bias": True})
    if whole.image_source is None:
        write_json(folder / PROCESSOR, settings_of(processor))
    else:
        write_processor(folder, whole.image_source)


def _left_out(whole: Composed) -> list[str]:
    """Known tensors of the image network's source that the export lacks, such as its pooler."""
    start = None if whole.image_source is None else weight_files.find(whole.image_source)
    if start is None:
        return []
    config, found = network_config(whole.image), weight_files.read(start).tensors
    return [f"{IMAGE}: {t.name}" for t in found if is_unused(canonical(t.name, config), config)]


def _write_heads(new: Path, whole: Composed) -> dict[str, np.ndarray]:
    """The leaves of both networks that are in neither class, under our names. Returns them."""
    found: dict[str, np.ndarray] = {}
    names: tuple[Tower, ...] = ("text", "image")
    for name in names:
        leaves = flatten(whole.trained.parameters[name])
        found |= {f"{name}.{p}": np.asarray(x) for p, x in leaves.items() if is_head(p)}
    if found:
        write_weights(new / HEADS, found, "safetensors", whole.order.dtype)
    return found


def _joined(whole: Composed) -> Joined:
    trained, config = whole.trained, whole.trained.model.config
    assert isinstance(config, TextImageConfig)
    return Joined(config=config, prompts=trained.prompts, lengths=trained.lengths)
