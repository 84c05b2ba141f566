"""A trained encoder as a directory that transformers and sentence-transformers load."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.disk import sync
from specrun.runtime.loop.folder import RunFolder, writing
from specrun.runtime.models.towers import tower
from specrun.runtime.predict.adapter import open_adapter
from specrun.runtime.predict.composed import Composed, open_composed
from specrun.runtime.predict.network_files import (
    Source,
    config_json,
    source_of,
    write_network,
)
from specrun.runtime.predict.order import FORMS, Order, To, Whole, refuse_side
from specrun.runtime.predict.pair import Pair, open_pair
from specrun.runtime.predict.saved import (
    CARD,
    longest_of,
    merged_of,
    origin_of,
    read_saved,
)
from specrun.runtime.predict.sentence_files import (
    SETTINGS,
    prompts_of,
    write_json,
    write_sentence_files,
    write_tokenizer,
)
from specrun.runtime.predict.trained import Trained, Which, open_folder
from specrun.runtime.report.export_card import export_card
from specrun.runtime.trees import flatten
from specrun.runtime.weights.write import Dtype
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import TextEncoderConfig, TextImageConfig, is_language_model
from specrun.spec.plan.sides import Side
from specrun.spec.plan.towers import TextTower

NOTE = "specrun_export.json"
"""What was exported from where, and what was left out."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote: ``facts`` as in the directory's note."""

    folder: Path
    files: tuple[str, ...]
    facts: Mapping[str, Any]


def export(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    to: To = "sentence-transformers",
    dtype: Dtype = "float32",
    which: Which = "best",
    side: Side | None = None,
) -> Exported:
    """Write the encoder of a run's folder, or of a Hugging Face directory, as a directory ``output``.

    Under ``hf`` it holds config.json (the source's), the weights with adapters merged, and the
    tokenizer; under ``sentence-transformers`` and ``flax`` the files of sentence-transformers
    besides, under which the embeddings are those of ``Predictor``; under ``peft`` the adapters
    alone. CLIP and SigLIP are one directory of both networks; a composed model is one for each, with its heads and what
    joins them. Each with a model card. ``side`` chooses one of separate towers. The directory appears
    whole or not at all. InputError for what has no place there and for an ``output`` that is not
    empty; RunError when it cannot be written.
    """
    order = Order(Path(folder), to, dtype, which, side)
    target = Path(output).absolute()
    _check_target(target)
    write = open_adapter(order).write if order.to == "peft" else _open(order, order.to).write
    with writing(str(target)), _aside(target) as new:
        facts = write(new)
        write_json(new / NOTE, facts)
        files = tuple(sorted(str(p.relative_to(new)) for p in new.rglob("*") if p.is_file()))
    return Exported(folder=target, files=files, facts=facts)


@dataclass(frozen=True, kw_only=True)
class _Whole:
    """One network, opened and checked, to be written with adapters merged."""

    order: Order
    to: Whole
    trained: Trained
    model: ModelPlan
    parameters: Mapping[str, Any]
    source: Source

    def write(self, new: Path) -> dict[str, Any]:
        """The files of the network in ``new``, which exists. Returns the facts of the note."""
        trained, order = self.trained, self.order
        weights = write_network(new, order, FORMS[self.to], self.model, self.parameters)
        beside = _write_beside(new, self)
        facts = {"to": self.to, **origin_of(trained, order), **weights, **beside}
        facts["merged"] = merged_of(trained, order.side)
        card = export_card(trained.plan, read_saved(order, trained.plan), facts)
        (new / CARD).write_text(card, encoding="utf-8")
        return facts


def _open(order: Order, to: Whole) -> _Whole | Pair | Composed:
    trained = open_folder(order.folder, order.which)
    _check_which(trained, order)
    _check_outputs(trained, order)
    config = trained.model.config
    if isinstance(config, TextImageConfig):
        refuse_side(order)
        is_pair = isinstance(config.text, TextTower)
        return (open_pair if is_pair else open_composed)(order, to, trained)
    return _open_whole(order, to, trained)


def _open_whole(order: Order, to: Whole, trained: Trained) -> _Whole:
    model, parameters = _network(trained, order)
    _check_head(model, to)
    source = source_of(model, order)
    return _Whole(
        order=order, to=to, trained=trained, model=model, parameters=parameters, source=source
    )


def _network(trained: Trained, order: Order) -> tuple[ModelPlan, Mapping[str, Any]]:
    """The one network to export, and its parameters."""
    folder, side = order.folder, order.side
    if isinstance(trained.model.config, TextEncoderConfig):
        kept = RunFolder(folder)
        raise InputError(
            "a text_encoder has no Hugging Face class, so no other library could load an export",
            code="no-class",
            hint=f"its weights are in {kept.best} and {kept.final} as safetensors; "
            "Predictor and `specrun encode` embed with them",
        )
    if trained.model.towers == "shared":
        refuse_side(order)
        return trained.model, trained.parameters
    if side is None:
        raise InputError(
            f"{folder} has separate towers, and an export holds one network",
            code="tower",
            hint="export each: --tower query, and --tower positive into another directory",
        )
    return tower(trained.model, side), trained.parameters[side]


def _check_outputs(trained: Trained, order: Order) -> None:
    if is_language_model(trained.model.config):
        if order.to != "hf":
            raise InputError(
                f"{order.folder} is a masked language model, which {order.to} has no files for",
                code="language-model",
                hint="export --to hf, which transformers' AutoModelForMaskedLM loads",
            )
        return
    late = trained.model.multi_vector
    texts = not isinstance(trained.model.config, TextImageConfig)
    if late is not None and not (late.alone and texts and order.to != "hf"):
        kept = RunFolder(order.folder).best
        raise InputError(
            f"{order.folder} gives token vectors, and of its outputs the files would hold another",
            code="token-vectors",
            hint="--to sentence-transformers holds them where they are the only output"
            if late.alone and texts
            else f"its weights are in {kept} as safetensors; Predictor gives both outputs",
        )


def _check_head(model: ModelPlan, to: Whole) -> None:
    if model.config.projection_dim is not None and to == "hf":
        raise InputError(
            "transformers' classes have no projection head, so it would be lost",
            code="head",
            hint="export --to sentence-transformers, which keeps it as 2_Dense",
        )


def _write_beside(new: Path, whole: _Whole) -> dict[str, Any]:
    """config.json, the tokenizer, and but for ``hf`` the files of sentence-transformers with the head."""
    order, trained, config = whole.order, whole.trained, whole.model.config
    assert not isinstance(config, TextEncoderConfig | TextImageConfig)
    write_json(new / "config.json", config_json(whole.source.config, config, order.dtype))
    longest = longest_of(trained, order)
    copied = write_tokenizer(new, trained.tokenizer, whole.source.directory, longest)
    if whole.to != "hf":
        head = flatten(whole.parameters).get("projection.kernel")
        array = None if head is None else np.asarray(head)
        prompts = prompts_of(trained.prompts, order.side)
        write_sentence_files(new, config, array, longest, order.dtype, prompts)
        copied = (*copied, *_settings(new, whole))
    return {
        "max_seq_length": longest,
        "pooling": config.pooling,
        "files_of_the_source": list(copied),
    }


def _settings(new: Path, whole: _Whole) -> tuple[str, ...]:
    """A directory's prompts come along, all of them; a run's are written with the other files."""
    own = whole.order.folder / SETTINGS
    if whole.trained.plan is not None or not own.is_file():
        return ()
    shutil.copyfile(own, new / SETTINGS)
    return (SETTINGS,)


def _check_which(trained: Trained, order: Order) -> None:
    if trained.plan is None and order.which != "best":
        raise InputError(
            f"{order.folder} is no run, so it has no {order.which} parameters beside others",
            code="which",
            hint="leave out --which",
        )


def _check_target(target: Path) -> None:
    """Refuse before the work what could not be written after it."""
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file", code="output", hint="name a new directory")
    if target.is_dir() and any(target.iterdir()):
        raise InputError(
            f"{target} is not empty, and nothing in it is overwritten",
            code="output",
            hint="name a new directory, or empty this one",
        )


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` that takes its place once it is complete, and else is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        new.chmod(0o755)
        yield new
        os.replace(new, target)  # an empty folder gives way
        sync(target.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
