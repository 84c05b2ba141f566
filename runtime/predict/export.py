"""A trained encoder as a directory that transformers and sentence-transformers load."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.loop.folder import RunFolder, sync_folder, writing
from specrun.runtime.models.directory import inspect
from specrun.runtime.models.families import family_of
from specrun.runtime.models.stacking import unstack
from specrun.runtime.models.tables import pooler_rows, rows
from specrun.runtime.models.towers import tower
from specrun.runtime.predict.adapter import open_adapter
from specrun.runtime.predict.composed import Composed, open_composed
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
    write_json,
    write_sentence_files,
    write_tokenizer,
)
from specrun.runtime.predict.trained import Trained, Which, open_folder
from specrun.runtime.report.export_card import export_card
from specrun.runtime.trees import flatten
from specrun.runtime.weights.load import load_beside
from specrun.runtime.weights.names import write_names
from specrun.runtime.weights.write import FILES, LAYOUTS, Dtype, Form, write_weights
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import (
    ModelPlan,
    PretrainedConfig,
    Side,
    TextEncoderConfig,
    TextImageConfig,
)
from specrun.spec.plan.towers import TextTower

NOTE = "specrun_export.json"
"""What was exported from where, and what was left out."""

_DROPOUT = (
    "hidden_dropout_prob",
    "embedding_dropout",
    "mlp_dropout",
    "attention_probs_dropout_prob",
)
_BY_SPEC = ("pooling", "projection_dim", "multi_vector_dim", *_DROPOUT)
"""Numbers of a configuration that the spec may set beside config.json."""


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
    alone. Each with a model card. ``side`` chooses one of separate towers. The directory appears
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
    source: _Source

    def write(self, new: Path) -> dict[str, Any]:
        """The files of the network in ``new``, which exists. Returns the facts of the note."""
        trained, order = self.trained, self.order
        weights = _write_weights(new, order, FORMS[self.to], self.model, self.parameters)
        beside = _write_beside(new, self)
        facts = {"to": self.to, **origin_of(trained, order), **weights, **beside}
        facts["merged"] = merged_of(trained, order.side)
        card = export_card(trained.plan, read_saved(order, trained.plan), facts)
        (new / CARD).write_text(card, encoding="utf-8")
        return facts


def _open(order: Order, to: Whole) -> _Whole | Pair | Composed:
    trained = open_folder(order.folder, order.which)
    _check_which(trained, order)
    config = trained.model.config
    if isinstance(config, TextImageConfig):
        refuse_side(order)
        is_pair = isinstance(config.text, TextTower)
        return (open_pair if is_pair else open_composed)(order, to, trained)
    return _open_whole(order, to, trained)


def _open_whole(order: Order, to: Whole, trained: Trained) -> _Whole:
    _check_outputs(trained, order)
    model, parameters = _network(trained, order)
    _check_head(model, to)
    source = _source(model, order)
    return _Whole(
        order=order, to=to, trained=trained, model=model, parameters=parameters, source=source
    )


@dataclass(frozen=True)
class _Source:
    """The directory that the network's weights were read from, and its config.json as it stands."""

    directory: Path
    config: dict[str, Any]


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
    late = trained.model.multi_vector
    if late is not None and (not late.alone or order.to == "hf"):
        kept = RunFolder(order.folder).best
        raise InputError(
            f"{order.folder} gives token vectors, and of its outputs the files would hold another",
            code="token-vectors",
            hint="--to sentence-transformers holds them where they are the only output"
            if late.alone
            else f"its weights are in {kept} as safetensors; Predictor gives both outputs",
        )


def _check_head(model: ModelPlan, to: Whole) -> None:
    if model.config.projection_dim is not None and to == "hf":
        raise InputError(
            "transformers' classes have no projection head, so it would be lost",
            code="head",
            hint="export --to sentence-transformers, which keeps it as 2_Dense",
        )


def _source(model: ModelPlan, order: Order) -> _Source:
    """The source's config.json, which must still be the plan's."""
    if model.weights is None:
        raise InputError(
            f"the plan of {order.folder} names no directory that its weights were read from",
            code="source",
            hint="compile with the model's weights in place",
        )
    directory = Path(model.weights.directory)
    found, config = inspect(directory, weights=False).config, model.config
    same = {x.name: getattr(config, x.name) for x in fields(config) if x.name in _BY_SPEC}
    if replace(found, **same) != config:
        raise InputError(
            f"config.json in {directory} is not the one that the plan was compiled with",
            code="input-changed",
            hint="put the old file back",
        )
    return _Source(directory, json.loads((directory / "config.json").read_text("utf-8")))


def _write_weights(
    new: Path, order: Order, form: Form, model: ModelPlan, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """The encoder's tensors, and the pooler as the source has it. The head stands elsewhere."""
    config, layout = model.config, LAYOUTS[form]
    assert model.weights is not None
    assert not isinstance(config, TextEncoderConfig)
    leaves = {p: np.asarray(x) for p, x in unstack(parameters, model.groups).items()}
    kept = load_beside(model.weights, config, pooler_rows(config))
    pooler = write_names(kept, [r for r in pooler_rows(config) if r.path in kept], config, layout)
    tensors = write_names(leaves, [r for r in rows(config) if not r.new], config, layout)
    write_weights(new / FILES[form], {**tensors, **pooler}, form, order.dtype)
    return {
        "weights": FILES[form],
        "dtype": order.dtype,
        "tensors_of_the_source": sorted(pooler),
        "left_out": _left_out(model, bool(pooler)),
    }


def _write_beside(new: Path, whole: _Whole) -> dict[str, Any]:
    """config.json, the tokenizer, and but for ``hf`` the files of sentence-transformers with the head."""
    order, trained, config = whole.order, whole.trained, whole.model.config
    assert not isinstance(config, TextEncoderConfig)
    write_json(new / "config.json", _config(whole.source.config, config, order.dtype))
    longest = longest_of(trained, order)
    copied = write_tokenizer(new, trained.tokenizer, whole.source.directory, longest)
    if whole.to != "hf":
        head = flatten(whole.parameters).get("projection.kernel")
        array = None if head is None else np.asarray(head)
        prompts = _prompts(trained, order.side)
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


def _prompts(trained: Trained, side: Side | None) -> dict[str, str]:
    """Prompts under sentence-transformers' names; of one tower its own."""
    found = trained.prompts
    if not found.any:
        return {}
    named = {"query": found.query, "document": found.positive}
    wanted = {"query": ("query",), "positive": ("document",), None: tuple(named)}[side]
    return {name: named[name] for name in wanted}


def _config(raw: dict[str, Any], config: PretrainedConfig, dtype: Dtype) -> dict[str, Any]:
    """The source's config.json with what differs now: the class, the dtype of the file, the dropout."""
    model_type = str(raw["model_type"])
    family = family_of(model_type)
    assert family is not None  # inspect has read it
    kept = {k: v for k, v in raw.items() if k not in ("_name_or_path", "auto_map", "torch_dtype")}
    rates = {
        family.keys.get(x.name, x.name): getattr(config, x.name)
        for x in fields(config)
        if x.name in _DROPOUT
    }
    return {
        **kept,
        "architectures": [family.model_types[model_type]],
        "dtype": dtype,
        **rates,
    }


def _left_out(model: ModelPlan, pooler: bool) -> list[str]:
    """Known tensors of the source that the export lacks, by the source's names."""
    assert model.weights is not None
    directory = Path(model.weights.directory)
    try:
        found = inspect(directory)
    except InputError:
        found = None
    if found is None or found.weights is None:
        return [f"whatever else {directory} held: its weights are gone or damaged"]
    return [name for name in found.unused if not (pooler and "pooler." in name)]


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
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
