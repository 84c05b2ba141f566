"""A trained CLIP or SigLIP as one directory that transformers and sentence-transformers load."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.models.clip.model import LEGACY_EOS
from specrun.runtime.models.directory import inspect
from specrun.runtime.models.stacking import unstack
from specrun.runtime.models.tables import logit_rows, rows
from specrun.runtime.models.towers import network_config, tower
from specrun.runtime.predict.image_files import (
    class_of,
    named_otherwise,
    padded_to,
    tokenizer_settings,
    write_processor,
)
from specrun.runtime.predict.logits import Logits, read_logits
from specrun.runtime.predict.lowercase import check_siglip2_tokenizer
from specrun.runtime.predict.order import FORMS, Order, Whole
from specrun.runtime.predict.saved import CARD, longest_of, merged_of, origin_of, read_saved
from specrun.runtime.predict.sentence_files import (
    write_json,
    write_pair_files,
    write_tokenizer,
)
from specrun.runtime.predict.trained import Trained
from specrun.runtime.report.export_card import export_card
from specrun.runtime.weights import files as weight_files
from specrun.runtime.weights.names import canonical, is_unused, write_names
from specrun.runtime.weights.write import FILES, LAYOUTS, Dtype, write_weights
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import WeightsPlan
from specrun.spec.plan.networks import TextImageConfig
from specrun.spec.plan.sides import Tower
from specrun.spec.plan.towers import (
    ClipTextConfig,
    Siglip2VisionConfig,
    SiglipTextConfig,
    TextTower,
)

TOWERS: tuple[Tower, ...] = ("text", "image")

_STALE = ("_name_or_path", "auto_map", "torch_dtype", "dtype", "transformers_version")
"""What a config.json says of the file that it once belonged to."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both networks, opened and checked, to be written with adapters merged."""

    order: Order
    to: Whole
    trained: Trained
    config: TextImageConfig
    text: TextTower
    weights: WeightsPlan
    raw: Mapping[str, Any]
    longest: int
    logits: Logits

    @property
    def source(self) -> Path:
        """The directory that the networks were read from."""
        return Path(self.weights.directory)

    def write(self, new: Path) -> dict[str, Any]:
        """The files in ``new``, which exists. Returns the facts of the note."""
        trained, order = self.trained, self.order
        weights = _write_weights(new, self)
        write_json(new / "config.json", _config(self.raw, self.config, order.dtype))
        copied = write_tokenizer(
            new,
            trained.tokenizer,
            self.source,
            self.longest,
            tokenizer_settings(self.text, trained.tokenizer),
            anew=named_otherwise(self.config),
        )
        copied = (*copied, *write_processor(new, self.source))
        if self.to == "sentence-transformers":
            processor = trained.model.image_processor
            assert processor is not None
            write_pair_files(new, self.longest, padded_to(self.text), processor.patches)
        facts = {
            "to": self.to,
            **origin_of(trained, order),
            **weights,
            "class": class_of(self.config),
            "max_seq_length": self.longest,
            "padded_to": padded_to(self.text),
            "files_of_the_source": list(copied),
            "merged": merged_of(trained, None),
        }
        card = export_card(trained.plan, read_saved(order, trained.plan), facts)
        (new / CARD).write_text(card, encoding="utf-8")
        return facts


def open_pair(order: Order, to: Whole, trained: Trained) -> Pair:
    """The model of ``trained``. InputError when its source is gone or another, or ``to`` cannot say what it does."""
    config, weights = trained.model.config, trained.model.weights
    assert isinstance(config, TextImageConfig)
    assert isinstance(config.text, TextTower)
    if weights is None:
        raise InputError(
            f"the plan of {order.folder} names no directory that its weights were read from",
            code="source",
            hint="compile with the model's weights in place",
        )
    longest = longest_of(trained, order)
    _check_length(config.text, to, longest)
    _check_end(config.text, trained, longest)
    if isinstance(config.image, Siglip2VisionConfig):
        check_siglip2_tokenizer(trained.tokenizer, to)
    return Pair(
        order=order,
        to=to,
        trained=trained,
        config=config,
        text=config.text,
        weights=weights,
        raw=_source(weights, trained, config),
        longest=longest,
        logits=read_logits(order, trained.plan, config.text, weights),
    )


def _check_length(config: TextTower, to: Whole, longest: int) -> None:
    """sentence-transformers cuts and pads a text to one and the same length."""
    whole = padded_to(config)
    if to == "sentence-transformers" and whole is not None and longest < whole:
        raise InputError(
            f"texts are cut at {longest} tokens and padded to {whole}, and sentence-transformers "
            "pads them to where it cuts them",
            code="length",
            hint=f"export --to hf, or train with a data.max_length of {whole}",
        )


def _check_end(config: TextTower, trained: Trained, longest: int) -> None:
    """transformers looks for the end of a text among its padding too, so the text must have one of its own."""
    if not isinstance(config, ClipTextConfig):
        return
    [ids] = trained.tokenizer.encode(["a"], longest)
    end, pad = config.eos_token_id, trained.tokenizer.pad_id
    found = pad > max(ids, default=-1) if end == LEGACY_EOS else pad == end and end not in ids
    if found:
        raise InputError(
            f"the tokenizer does not end a text, and pads it with id {pad}, at which transformers would pool it",
            code="no-end-of-text",
            hint="use a tokenizer whose post-processor puts the model's eos token behind a text",
        )


def _source(weights: WeightsPlan, trained: Trained, config: TextImageConfig) -> dict[str, Any]:
    """The source's config.json; it and the image processor must still be the plan's."""
    directory = Path(weights.directory)
    found = inspect(directory, weights=False)
    processor = found.image.processor if found.image else None
    for name, same in (
        ("config.json", found.config == config),
        ("the image processor", processor == trained.model.image_processor),
    ):
        if not same:
            raise InputError(
                f"{name} in {directory} is not the one that the plan was compiled with",
                code="input-changed",
                hint="put the old file back",
            )
    return json.loads((directory / "config.json").read_text("utf-8"))


def _write_weights(new: Path, pair: Pair) -> dict[str, Any]:
    """Every tensor of both networks under its name in Hugging Face's model, and the numbers of the scores."""
    form, model, text = FORMS[pair.to], pair.trained.model, pair.text
    layout, logits = LAYOUTS[form], pair.logits
    tensors: dict[str, np.ndarray] = {}
    for name in TOWERS:
        own = tower(model, name)
        leaves = unstack(pair.trained.parameters[name], own.groups)
        config = network_config(own)
        tensors |= write_names(
            {p: np.asarray(x) for p, x in leaves.items()}, rows(config), config, layout
        )
    beside = [row for row in logit_rows(text) if row.path in logits.leaves]
    tensors |= write_names(logits.leaves, beside, text, layout)
    write_weights(new / FILES[form], tensors, form, pair.order.dtype)
    return {
        "weights": FILES[form],
        "dtype": pair.order.dtype,
        "tensors_of_the_source": sorted(logits.leaves.keys() - logits.trained.keys()),
        "tensors_of_losses": dict(logits.trained),
        "left_out": _left_out(pair, {row.path for row in beside}),
    }


def _left_out(pair: Pair, written: set[str]) -> list[str]:
    """Tensors of the source that are in neither network and not written, such as a table of positions' numbers."""
    start = Path(pair.weights.files[0].path)
    if not start.is_file():
        return [f"whatever else {pair.source} held: its weights are gone"]
    names = {t.name: canonical(t.name, pair.text) for t in weight_files.read(start).tensors}
    return sorted(
        name
        for name, own in names.items()
        if own not in written and is_unused(own, pair.text) and is_unused(name, pair.config.image)
    )


def _config(raw: Mapping[str, Any], config: TextImageConfig, dtype: Dtype) -> dict[str, Any]:
    """The source's config.json with what differs now: the class, and the dtype of the file."""
    kept, text = {key: _of_network(value) for key, value in _but(raw, _STALE)}, config.text
    if isinstance(text, SiglipTextConfig):  # of the tokenizer, which the file may not know
        kept["text_config"] = {**kept.get("text_config", {}), "pad_token_id": text.pad_token_id}
    return {**kept, "architectures": [class_of(config)], "dtype": dtype}


def _of_network(value: Any) -> Any:
    return dict(_but(value, _STALE)) if isinstance(value, dict) else value


def _but(values: Mapping[str, Any], names: Iterable[str]) -> Iterable[tuple[str, Any]]:
    return ((key, value) for key, value in values.items() if key not in names)
