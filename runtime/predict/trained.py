"""A folder with an encoder in it, a run's or a Hugging Face directory, as one pure function's ingredients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from specrun.runtime import cache
from specrun.runtime.adapters import lora
from specrun.runtime.data.tokenizer import Tokenizer, load, lowercased
from specrun.runtime.loop import digests
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.parameters import MANIFEST, check_leaves, first_saved, read_parameters
from specrun.runtime.models.directory import PretrainedDirectory, inspect
from specrun.runtime.models.stacking import stack
from specrun.runtime.models.tables import rows
from specrun.runtime.predict.as_read import as_read, two_networks
from specrun.runtime.predict.composed_folder import JOINED, TEXT, read_composed
from specrun.runtime.trees import Tree
from specrun.runtime.weights.load import load_weights
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import Prompts, texts_only
from specrun.spec.plan.file import read_plan
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import MpnetConfig, RobertaConfig, TextImageConfig
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.sides import SIDES, Side

Which = Literal["best", "final"]

ATTEMPTS = 3
"""How often parameters are read that a run replaces meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """An encoder without adapters, its parameters (nested dict of f32 numpy arrays) and its texts' rules.

    ``prompts`` are put before texts by their side. ``lengths`` are the tokens kept of a query and of a positive.
    ``dimensions`` are the widths that were trained, the whole first, and ``token_dimensions`` those of token vectors;
    ``plan`` is None for a directory, which may be cut anywhere.
    ``digest`` tells apart any two that embed a text differently.
    """

    model: ModelPlan
    parameters: Tree
    tokenizer: Tokenizer
    prompts: Prompts
    lengths: Mapping[Side, int]
    dimensions: tuple[int, ...]
    token_dimensions: tuple[int, ...] = ()
    matmul: str
    plan: Plan | None
    digest: str


def open_folder(folder: Path, which: Which = "best") -> Trained:
    """What a run's folder or a Hugging Face directory holds.

    ``which`` is for a run: ``best`` are the parameters of the best evaluation, or the final ones of
    a run that has evaluated nothing. InputError names what is missing, damaged or of another plan.
    """
    if which not in ("best", "final"):
        raise InputError(
            f"the parameters of a run are best or final, found {which!r}", code="which"
        )
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", code="missing-folder", hint=_NAME_ONE)
    if RunFolder(folder).plan.is_file():
        return _of_run(RunFolder(folder), which)
    if (folder / JOINED).is_file():
        return _of_composed(folder)
    if any((folder / name).is_file() for name in ("config.json", "modules.json")):
        return _of_directory(folder)
    raise InputError(
        f"{folder} holds neither plan.json nor config.json", code="no-encoder", hint=_NAME_ONE
    )


_NAME_ONE = "name the output folder of a run, or a Hugging Face or sentence-transformers directory"


def read_run(folder: RunFolder, which: Which) -> tuple[Plan, Tree]:
    """A run's plan and its parameters as they were trained, adapters apart. InputError as ``open_folder``."""
    plan = read_plan(folder.plan)
    source = parameters_folder(folder, which)
    tree = _read_stable(source)
    check_leaves(plan.model, tree, source)
    return plan, {name: part for name, part in tree.items() if name != "losses"}


def _of_run(folder: RunFolder, which: Which) -> Trained:
    plan, encoder = read_run(folder, which)
    merged = lora.merge(encoder, plan.model) if plan.model.lora else encoder
    model = lora.plain(plan.model)
    dims = plan.matryoshka.dims if plan.matryoshka else ()
    width = model.embedding_dim
    return _trained(
        model=model,
        parameters=merged,
        tokenizer=load(plan.tokenizer, text=_text(folder.tokenizer)),
        prompts=plan.tokenizer.prompts,
        lengths=lengths_of(plan),
        dimensions=_widths(width, dims),
        token_dimensions=_widths(model.multi_vector.width, dims) if model.multi_vector else (),
        matmul=plan.precision.matmul,
        plan=plan,
    )


def lengths_of(plan: Plan) -> dict[Side, int]:
    """The tokens kept of each side; one where it is images. Trained on texts alone a model has one length."""
    if texts_only(plan.data.source):
        return dict.fromkeys(SIDES, plan.data.max_query_length)
    return {"query": plan.data.max_query_length, "positive": plan.data.max_positive_length}


def _widths(whole: int, dims: tuple[int, ...]) -> tuple[int, ...]:
    return (whole, *sorted(set(dims) - {whole}, reverse=True))


def parameters_folder(folder: RunFolder, which: Which) -> Path:
    """Where a run keeps them: best/, or final/ of a run that has evaluated nothing."""
    return first_saved(folder.root, ("best", "final") if which == "best" else ("final",))


def _read_stable(folder: Path) -> Tree:
    """The parameters, read again when a run replaced the folder between its two files."""
    for _ in range(ATTEMPTS - 1):
        before = _stamp(folder)
        try:
            return read_parameters(folder)
        except InputError:
            if _stamp(folder) == before:
                raise
    return read_parameters(folder)


def _stamp(folder: Path) -> bytes | None:
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError:
        return None


def _of_directory(folder: Path) -> Trained:
    found = inspect(folder)
    if found.weights is None:
        raise InputError(
            f"{folder} holds a configuration, but no weights",
            code="weights-missing",
            hint="put model.safetensors or flax_model.msgpack beside config.json",
        )
    if found.tokenizer is None:
        raise InputError(
            f"{folder} holds no tokenizer.json",
            code="tokenizer-missing",
            hint="save the tokenizer with transformers' save_pretrained, which writes it",
        )
    if found.prompts.any and not found.pools_prompts:
        raise InputError(
            f"the pooling of {folder} leaves the prompts of its config_sentence_transformers.json "
            "out (include_prompt: false), which is not implemented",
            code="unpooled-prompt",
            hint="use a model that pools them",
        )
    config = found.config
    if isinstance(config, TextImageConfig):
        assert found.image is not None
        model, parameters = two_networks(
            config, found.weights, found.image.weights or found.weights, found.image.processor
        )
    else:
        model = replace(as_read(config), weights=found.weights)
        leaves = load_weights(found.weights, config, rows(config))
        parameters = stack(leaves, model.groups, np.stack)
    longest = found.max_length or config.longest
    return _trained(
        model=model,
        parameters=parameters,
        tokenizer=_tokenizer(found, folder),
        prompts=found.prompts,
        lengths={"query": longest, "positive": longest},
        dimensions=(model.embedding_dim,),
        matmul="highest",
        plan=None,
    )


def _of_composed(folder: Path) -> Trained:
    found = read_composed(folder)
    if found.text.tokenizer is None:
        raise InputError(
            f"{folder / TEXT} holds no tokenizer.json",
            code="tokenizer-missing",
            hint="put the file back: it belongs to the folder",
        )
    return _trained(
        model=found.model,
        parameters=found.parameters,
        tokenizer=_tokenizer(found.text, folder / TEXT),
        prompts=found.prompts,
        lengths=found.lengths,
        dimensions=(found.model.embedding_dim,),
        matmul="highest",
        plan=None,
    )


def _tokenizer(found: PretrainedDirectory, folder: Path) -> Tokenizer:
    """The directory's tokenizer, whose ids must all have a row in the token table."""
    assert found.tokenizer is not None
    network = found.config.text if isinstance(found.config, TextImageConfig) else found.config
    text = _text(found.tokenizer)
    text = lowercased(text) if found.lowercase else text
    tokenizer = Tokenizer(text, str(found.tokenizer))
    if tokenizer.vocab_size > network.vocab_size:
        raise InputError(
            f"the tokenizer of {folder} has {tokenizer.vocab_size} ids, "
            f"but the model's token table has {network.vocab_size} rows",
            code="vocabulary",
            hint="use the tokenizer that belongs to the model",
        )
    config = found.config
    counted = isinstance(config, RobertaConfig | MpnetConfig)
    if counted and tokenizer.pad_id != config.pad_token_id:
        raise InputError(
            f"the tokenizer of {folder} pads with id {tokenizer.pad_id}, but the model counts "
            f"positions behind its padding id {config.pad_token_id}",
            code="other-padding",
            hint="use the tokenizer that belongs to the model",
        )
    return tokenizer


def _trained(**parts: Any) -> Trained:
    leaves = digests.leaf_digests(parts["parameters"])
    facts = {
        "parameters": digests.whole_digest(leaves),
        "config": to_plain(parts["model"].config),
        "tokenizer": parts["tokenizer"].digest,
        "lengths": dict(parts["lengths"]),
        "matmul": parts["matmul"],
    }
    if parts["prompts"].any:
        facts["prompts"] = to_plain(parts["prompts"])
    return Trained(**parts, digest=cache.digest_of(facts))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the tokenizer {path}: {error}",
            code="unreadable",
            hint="put the file back: it belongs to the folder",
        ) from error
