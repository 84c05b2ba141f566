"""A Hugging Face or sentence-transformers directory as facts: configuration, pooling, length, tokenizer, weights.

Imports no jax and runs nothing from the directory. What would change an embedding and is not implemented (another
architecture, another pooling, a prompt that is always prepended) is refused by name rather than ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from specrun.runtime.models.families import FAMILIES, NOT_YET, Family, family_of
from specrun.runtime.models.image_directory import PAIRS, ImageDirectory, inspect_pair
from specrun.runtime.models.pieces import Folder
from specrun.runtime.models.sentences import (
    Dense,
    Sentences,
    read_pair_sentences,
    read_sentences,
)
from specrun.runtime.models.tables import rows
from specrun.runtime.models.values import short
from specrun.runtime.weights.files import digest, find
from specrun.runtime.weights.head import FILE, ROLE, match_head
from specrun.runtime.weights.load import match_weights, vocabulary_faults
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import Input, Prompts
from specrun.spec.plan.model import WeightsPlan
from specrun.spec.plan.networks import BertShape, Pooling, PretrainedConfig, TextImageConfig


@dataclass(frozen=True, kw_only=True)
class PretrainedDirectory:
    """``max_length`` counts tokens, the special ones included; None when the directory says nothing
    (the positions of the configuration are then the only limit).

    ``weights`` is None when the directory holds only a configuration. ``unused`` are the tensors that are known and
    take no part in an embedding, such as a pooler or a masked-language head. ``pooling`` is mean where the directory
    names none, as in sentence-transformers. ``prompts`` are those of queries and documents; ``pools_prompts`` is false
    where their tokens are left out of the pooling. ``model_type`` is config.json's, which decides the family. Texts are lower-cased
    before the tokenizer where ``lowercase`` says so. ``vocabulary_head`` is what is wrong with the masked-language head,
    often nothing, and None where the weights have none.
    """

    config: PretrainedConfig | TextImageConfig
    model_type: str
    pooling: Pooling
    normalize: bool
    max_length: int | None
    tokenizer: Path | None
    weights: WeightsPlan | None
    unused: tuple[str, ...]
    config_input: Input
    prompts: Prompts = field(default_factory=Prompts)
    pools_prompts: bool = True
    image: ImageDirectory | None = None
    lowercase: bool = False
    vocabulary_head: tuple[str, ...] | None = None


def inspect(directory: Path, *, weights: bool = True) -> PretrainedDirectory:
    """Read ``directory``; with ``weights=False`` leave the weights files alone (``weights`` is then None).

    Raises one InputError that names every fault of the configuration, or every fault of the weights.
    """
    folder = Folder(Path(directory))
    folder.require_directory()
    if (pair := _pair(folder, weights)) is not None:
        return pair
    sentences = read_sentences(folder)
    model = folder.below(sentences.transformer)
    config, model_type = _config(model, sentences.pooling)
    max_length = _max_length(model, sentences, config)
    config = _with_head(folder, config, sentences.head)
    folder.finish()
    assert config is not None  # finish raises when a fault was found
    head = sentences.head and folder.below(sentences.head.path).path
    found, unused = _weights(model.path, config, head) if weights else (None, ())
    tokenizer = model.path / "tokenizer.json"
    return PretrainedDirectory(
        config=config,
        model_type=model_type,
        pooling=sentences.pooling,
        normalize=sentences.normalize,
        max_length=max_length,
        tokenizer=tokenizer.resolve() if tokenizer.is_file() else None,
        weights=found,
        unused=unused,
        config_input=folder.digest("config"),
        prompts=sentences.prompts,
        pools_prompts=sentences.pools_prompts,
        vocabulary_head=_vocabulary_head(model, config) if found else None,
    )


def _vocabulary_head(model: Folder, config: PretrainedConfig) -> tuple[str, ...] | None:
    """What keeps the directory's own head for ids from being used, often nothing; None where it has none."""
    start = find(model.path)
    if start is None or not isinstance(config, BertShape):
        return None
    faults = vocabulary_faults(start, config)
    tied = (model.json("config.json") or {}).get("tie_word_embeddings", True)
    if faults is not None and tied is not True:
        faults = (
            *faults,
            "tie_word_embeddings must be true: a head with a table of its own is not read",
        )
    return faults


def model_type_of(directory: Path) -> str | None:
    """``model_type`` of a directory's config.json; None where that is not there or cannot be read."""
    folder = Folder(directory)
    modules = read_sentences(folder) if folder.json("config.json") is None else Sentences()
    raw = folder.below(modules.transformer).json("config.json") or {}
    found = raw.get("model_type")
    return found if isinstance(found, str) else None


def _pair(root: Folder, weights: bool) -> PretrainedDirectory | None:
    """A model of texts and images; None for another. Faults are then gathered anew."""
    before = Folder(root.path)
    sentences = read_pair_sentences(before)
    if sentences is None:
        return None
    below = before.below(sentences.transformer)
    if sentences.transformer and below is before:
        before.finish()  # it leads out of the directory
    folder = before if below is before else Folder(below.path)
    raw = folder.json("config.json") or {}
    model_type = str(raw.get("model_type"))
    if model_type not in PAIRS:
        return None
    config, found, image, lowercase = inspect_pair(folder, raw, model_type, weights)
    length = _max_length(folder, sentences, config)
    if sentences.patches not in (None, image.processor.patches):
        message = "processing_kwargs ask for other patches than the image processor's own file"
        folder.fault("sentence_bert_config.json", message, "make the two equal")
    before.finish()
    folder.finish()
    tokenizer = folder.path / "tokenizer.json"
    return PretrainedDirectory(
        config=config,
        model_type=model_type,
        pooling="last",
        normalize=True,
        max_length=length or config.longest,
        tokenizer=tokenizer.resolve() if tokenizer.is_file() else None,
        weights=found,
        unused=(),
        config_input=image.config_input,
        image=image,
        lowercase=lowercase,
    )


def _config(model: Folder, pooling: Pooling) -> tuple[PretrainedConfig | None, str]:
    """config.json with the family's defaults, None after a fault; and its ``model_type``."""
    raw = model.require("config.json", "the model's config.json", _DIRECTORY)
    if raw is None:
        return None, ""
    model_type = raw.get("model_type")
    return _family_config(model, raw, model_type, pooling), str(model_type)


def _family_config(
    model: Folder, raw: dict[str, object], model_type: object, pooling: Pooling
) -> PretrainedConfig | None:
    family = family_of(model_type)
    if family is None:
        known = ", ".join(name for f in FAMILIES for name in f.model_types)
        message = f"model_type must be one of: {known}; found {short(model_type)}"
        hint = "only these architectures are implemented"
        if model_type in NOT_YET:
            hint = f"{model_type} is planned and not there yet; {hint}"
        model.fault("config.json", message, hint)
        return None
    before = model.faults_found
    raw, wrong = family.flat(raw)
    for message in wrong:
        model.fault("config.json", message, _VARIANT)
    _refuse_unlike(model, raw, family)
    values = {
        key: _value(model, raw, family.keys.get(key, key), family.default(key, str(model_type)))
        for key in family.defaults
    } | {key: raw[key] for key in family.derived}
    _check_activation(model, values["hidden_act"], family)
    if model.faults_found > before:
        return None
    config = family.config(**values, pooling=pooling, projection_dim=None)  # type: ignore[arg-type]
    if config.longest < 1:
        message = f"{config.max_position_embeddings} positions leave none for a token"
        model.fault("config.json", message, _TYPE)
        return None
    try:
        rows(config)
    except InputError as error:
        model.fault("config.json", error.diagnostics[0].message, error.diagnostics[0].hint)
    return config


_DIRECTORY = (
    "name a Hugging Face or sentence-transformers directory of the BERT, RoBERTa, MPNet, Qwen3 or "
    "ModernBERT family"
)
_VARIANT = "this variant of the architecture is not implemented"


def _refuse_unlike(model: Folder, raw: dict[str, object], family: Family) -> None:
    """Keys that change the arithmetic must have the one value that is implemented."""
    for key, only in family.fixed.items():
        if key in raw and raw[key] != only and not (raw[key] is None and not only):
            message = f"{key} must be {only!r}, found {short(raw[key])}"
            model.fault("config.json", message, _VARIANT)
    code = raw.get("auto_map")
    if isinstance(code, dict) and any(str(k) not in ("AutoTokenizer", "AutoConfig") for k in code):
        message = "auto_map names code that comes with the model, which is never run"
        model.fault("config.json", message, "use a model of an architecture that is built in")


def _value(model: Folder, raw: dict[str, object], key: str, default: object) -> object:
    """The value of ``key`` with its type and range checked; the default where it is absent."""
    value = raw.get(key, default)
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        model.fault("config.json", f"{key} must be true or false, found {short(value)}", _TYPE)
    elif isinstance(default, int):
        least, most = _RANGES.get(key, (1, 2**31 - 1))
        if type(value) is int and least <= value <= most:
            return value
        message = f"{key} must be a whole number from {least} to {most}, found {short(value)}"
        model.fault("config.json", message, _TYPE)
    elif isinstance(default, float):
        if isinstance(value, int | float) and type(value) is not bool and _in_range(key, value):
            return float(value)
        rule = "a number from 0 to below 1" if key.endswith(_SHARES) else "a number above 0"
        model.fault("config.json", f"{key} must be {rule}, found {short(value)}", _TYPE)
    elif isinstance(value, str):
        return value
    else:
        model.fault("config.json", f"{key} must be text, found {short(value)}", _TYPE)
    return default


_RANGES = {"num_hidden_layers": (0, 512), "pad_token_id": (0, 2**31 - 1)}
"""Least and greatest value of the whole numbers that may be 0."""


_TYPE = "config.json must be the model's own, as transformers writes it"


_SHARES = ("_prob", "_dropout")
"""How the names of dropout's shares end."""


def _in_range(key: str, value: float) -> bool:
    return 0 <= value < 1 if key.endswith(_SHARES) else 0 < value < 1e9


def _check_activation(model: Folder, activation: object, family: Family) -> None:
    if activation not in family.activations:
        known = ", ".join(family.activations)
        key = family.keys.get("hidden_act", "hidden_act")
        message = f"{key} must be one of: {known}; found {short(activation)}"
        model.fault("config.json", message, "this activation is not implemented")


def _max_length(
    model: Folder, sentences: Sentences, config: PretrainedConfig | TextImageConfig | None
) -> int | None:
    """sentence-transformers' own length, else the tokenizer's; never more than the positions there are."""
    if sentences.max_length is not None:
        if config and sentences.max_length > config.longest:
            message = (
                f"max_seq_length {sentences.max_length} exceeds the "
                f"{config.longest} positions of config.json"
            )
            model.fault("sentence_bert_config.json", message, "lower max_seq_length")
        return sentences.max_length
    raw = model.json("tokenizer_config.json")
    length = (raw or {}).get("model_max_length")
    if type(length) not in (int, float) or config is None:
        return None
    # transformers writes 1e30 for "no limit"
    return int(min(cast(float, length), config.longest)) if length >= 1 else None


def _with_head(
    folder: Folder, config: PretrainedConfig | None, head: Dense | None
) -> PretrainedConfig | None:
    """The configuration with the width of the directory's own head."""
    if config is None or head is None:
        return config
    if head.in_features != config.hidden_size:
        message = f"in_features is {head.in_features}, but the model is {config.hidden_size} wide"
        folder.below(head.path).fault("config.json", message, "use the head that belongs to it")
    return replace(config, projection_dim=head.out_features)


def _weights(
    directory: Path, config: PretrainedConfig, head: Path | None
) -> tuple[WeightsPlan | None, tuple[str, ...]]:
    start = find(directory)
    if start is None:
        return None, ()
    match = match_weights(start, config, rows(config))
    files = tuple(digest(path, "weights") for path in match.files)
    if head is not None:
        assert config.projection_dim is not None
        match_head(head / FILE, (config.hidden_size, config.projection_dim))
        files = (*files, digest(head / FILE, ROLE))
    plan = WeightsPlan(directory=str(directory), layout=match.layout, files=files)
    return plan, match.unused
