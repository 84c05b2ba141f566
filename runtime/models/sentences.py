"""What a sentence-transformers directory says beyond Hugging Face's files. Imports no jax.

Both spellings are read: that of versions up to 5 (``pooling_mode_mean_tokens: true``) and that of 6
(``pooling_mode: mean``). A module that is not implemented is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from specrun.runtime.models.pieces import Folder
from specrun.spec.plan.data import Prompts
from specrun.spec.plan.images import Patching
from specrun.spec.plan.networks import Pooling

_OLD_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLING_NAMES: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
"""sentence-transformers' word for each pooling that is implemented, and ours."""

_ORDER = (
    ["Transformer", "Pooling"],
    ["Transformer", "Pooling", "Normalize"],
    ["Transformer", "Pooling", "Dense"],
    ["Transformer", "Pooling", "Dense", "Normalize"],
)
_ONLY = "Transformer, Pooling, and then at most Dense and Normalize, in this order"

_PAIR_ORDER = (
    *(["Transformer"], ["Transformer", "Normalize"]),
    *(["CLIPModel"], ["CLIPModel", "Normalize"]),
)
"""Modules of a model of texts and images, whose networks pool by themselves."""

PAIR_METHODS = {
    kind: {"method": f"get_{kind}_features", "method_output_name": "pooler_output"}
    for kind in ("text", "image")
}
"""What sentence-transformers calls for a text and for an image, and what it takes of the output."""

IDENTITY = "torch.nn.modules.linear.Identity"
_DENSE: dict[str, tuple[object, str]] = {
    "bias": (False, "a head has no bias"),
    "activation_function": (IDENTITY, "a head has no activation"),
    "use_residual": (False, "a head has no residual connection"),
    "module_input_name": ("sentence_embedding", "a head is put on the pooled embedding"),
    "module_output_name": ("sentence_embedding", "a head gives the embedding"),
}
"""Settings of a Dense that have one value here, and why. What the file is silent about is sentence-transformers' default."""

_DENSE_DEFAULTS: dict[str, object] = {
    "bias": True,
    "activation_function": "torch.nn.modules.activation.Tanh",
    "use_residual": False,
    "module_input_name": "sentence_embedding",
    "module_output_name": None,  # as the input
}


@dataclass(frozen=True, kw_only=True)
class Dense:
    """The head's folder and widths."""

    path: str
    in_features: int
    out_features: int


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """``transformer`` is the folder of the network, "" for the directory itself.

    ``pools_prompts`` is false where a prompt's tokens are left out of the pooling. ``patches`` are what
    sentence-transformers asks of the image processor, None where it leaves them to the processor's own file.
    """

    transformer: str = ""
    pooling: Pooling = "mean"
    normalize: bool = False
    max_length: int | None = None
    head: Dense | None = None
    prompts: Prompts = field(default_factory=Prompts)
    pools_prompts: bool = True
    patches: Patching | None = None


def read_sentences(folder: Folder) -> Sentences:
    """modules.json, the pooling, the length and the prompts; defaults for a plain Hugging Face directory."""
    modules = folder.any_json("modules.json")
    if modules is None:
        return Sentences()
    kinds, paths = _modules(folder, modules)
    if kinds not in _ORDER:
        named = " → ".join(kinds) or "none"
        folder.fault("modules.json", f"the modules must be {_ONLY}; found {named}", _CHOOSE)
        return Sentences()
    prompts = _prompts(folder)
    transformer = folder.below(paths[0])
    return Sentences(
        transformer=paths[0],
        pooling=_pooling(folder.below(paths[1])),
        normalize="Normalize" in kinds,
        max_length=_length(transformer),
        head=_dense(folder, paths[2]) if "Dense" in kinds else None,
        prompts=prompts,
        pools_prompts=_pools_prompts(folder.below(paths[1])),
    )


def read_pair_sentences(folder: Folder) -> Sentences | None:
    """As ``read_sentences``, of a model of texts and images; None where modules.json tells of another kind of model."""
    modules = folder.any_json("modules.json")
    if modules is None:
        return Sentences(normalize=True)
    if not isinstance(modules, list) or not all(_is_module(m) for m in modules):
        return None
    kinds, paths = _modules(folder, modules)
    if kinds not in _PAIR_ORDER:
        return None
    length, patches = _pair_settings(folder.below(paths[0]))
    return Sentences(
        transformer=paths[0],
        normalize="Normalize" in kinds,
        max_length=length,
        patches=patches,
    )


def pair_processing(longest: int, patches: Patching | None = None) -> dict[str, Any]:
    """How sentence-transformers calls the tokenizer of a network whose texts are all ``longest`` tokens, without a mask.

    ``patches`` are those of images that keep their shape. They are said because transformers' processor of both
    takes its class's own numbers over those of its file.
    """
    text = {
        "padding": "max_length",
        "max_length": longest,
        "truncation": True,
        "return_attention_mask": False,
    }
    if patches is None:
        return {"text": text}
    return {
        "text": text,
        "image": {"patch_size": patches.size, "max_num_patches": patches.most},
    }


def _patches_of(processing: Any) -> Patching | None:
    image = processing.get("image") if _is_object(processing) else None
    match image:
        case {"patch_size": int(size), "max_num_patches": int(most)}:
            return Patching(size=size, most=most)
        case _:
            return None


def _pair_settings(folder: Folder) -> tuple[int | None, Patching | None]:
    """max_seq_length and patches of sentence_bert_config.json. Outputs of another kind than ``PAIR_METHODS`` are refused."""
    name = "sentence_bert_config.json"
    raw = folder.json(name) or {}
    methods = raw.get("modality_config")
    if methods is not None and not _are_features(methods):
        message = f"modality_config must call get_text_features and get_image_features, found {str(methods)[:80]}"
        folder.fault(name, message, _CHOOSE)
    length = raw.get("max_seq_length")
    processing = raw.get("processing_kwargs")
    fixed = processing.get("text", {}).get("max_length") if _is_object(processing) else None
    patches = _patches_of(processing)
    if processing and not (type(fixed) is int and processing == pair_processing(fixed, patches)):
        message = f"processing_kwargs are not read, found {str(processing)[:80]}"
        folder.fault(name, message, _CHOOSE)
    if length is None or (type(length) is int and length >= 1):
        return length, patches
    folder.fault(name, f"max_seq_length must be a whole number ≥ 1, found {length!r}", "mend it")
    return None, patches


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("text", {}), dict)


def _are_features(methods: Any) -> bool:
    """Whether texts and images are embedded as by ``PAIR_METHODS``; older transformers give no name to the output."""
    if not isinstance(methods, dict) or methods.keys() != PAIR_METHODS.keys():
        return False
    return all(
        isinstance(own, dict)
        and own.get("method") == PAIR_METHODS[kind]["method"]
        and own.get("method_output_name") in (None, "pooler_output")
        for kind, own in methods.items()
    )


_CHOOSE = "use a model made of these modules"


def _modules(folder: Folder, modules: Any) -> tuple[list[str], list[str]]:
    """(class names without their packages, folders), in order of idx."""
    if not isinstance(modules, list) or not all(_is_module(m) for m in modules):
        folder.fault("modules.json", "modules.json is a list of {idx, name, path, type}", _CHOOSE)
        return [], []
    ordered = sorted(modules, key=lambda m: m["idx"])
    return [m["type"].rpartition(".")[2] for m in ordered], [m["path"] for m in ordered]


def _is_module(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and type(value.get("idx")) is int
        and isinstance(value.get("path"), str)
        and isinstance(value.get("type"), str)
    )


def _pooling(folder: Folder) -> Pooling:
    raw = folder.require("config.json", "the pooling's config.json", _CHOOSE)
    if raw is None:
        return "mean"
    modes = [mode for key, mode in _OLD_POOLING.items() if raw.get(key) is True]
    named = raw.get("pooling_mode")
    if named is not None:
        modes = [str(m) for m in named] if isinstance(named, list) else [str(named)]
    modes = modes or ["mean"]
    if len(modes) != 1 or modes[0] not in POOLING_NAMES:
        known = ", ".join(POOLING_NAMES)
        message = f"pooling must be one of {known}; found {' and '.join(modes)}"
        folder.fault("config.json", message, f"use a model pooled by one of {known}")
        return "mean"
    return POOLING_NAMES[modes[0]]


def _dense(folder: Folder, path: str) -> Dense | None:
    """A linear head without bias and activation. Everything else that Dense can be is refused by name."""
    own = folder.below(path)
    raw = own.require("config.json", "the head's config.json", _CHOOSE)
    if raw is None:
        return None
    before = folder.faults_found
    for key, (only, why) in _DENSE.items():
        value = raw.get(key, _DENSE_DEFAULTS[key])
        if value != only and not (value is None and key == "module_output_name"):
            own.fault("config.json", f"{key} must be {only!r}, found {value!r}: {why}", _CHOOSE)
    for key in sorted(raw.keys() - _DENSE.keys() - {"in_features", "out_features"}):
        own.fault("config.json", f"{key} is not known here", _CHOOSE)
    widths = [raw.get(key) for key in ("in_features", "out_features")]
    if not all(type(w) is int and 1 <= w <= 65536 for w in widths):
        message = f"in_features and out_features must be whole numbers ≥ 1, found {widths}"
        own.fault("config.json", message, "mend it")
    if folder.faults_found > before:
        return None
    return Dense(path=path, in_features=raw["in_features"], out_features=raw["out_features"])


def _length(folder: Folder) -> int | None:
    """max_seq_length of sentence_bert_config.json; None when it says nothing."""
    name = "sentence_bert_config.json"
    raw = folder.json(name) or {}
    if raw.get("do_lower_case") is True and not _lowercases(folder):
        message = "do_lower_case is true, but tokenizer.json keeps the case"
        folder.fault(name, message, "give tokenizer.json a Lowercase normalizer")
    if raw.get("module_output_name", "token_embeddings") != "token_embeddings":
        message = (
            f"module_output_name must be token_embeddings, found {raw['module_output_name']!r}"
        )
        folder.fault(name, message, _CHOOSE)
    length = raw.get("max_seq_length")
    if length is None or (type(length) is int and length >= 1):
        return length
    folder.fault(name, f"max_seq_length must be a whole number ≥ 1, found {length!r}", "mend it")
    return None


def _lowercases(folder: Folder) -> bool:
    tokenizer = folder.json("tokenizer.json") or {}
    normalizer = tokenizer.get("normalizer")
    parts = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    return any(
        isinstance(part, dict)
        and (part.get("type") == "Lowercase" or part.get("lowercase") is True)
        for part in parts
    )


def _pools_prompts(folder: Folder) -> bool:
    return (folder.json("config.json") or {}).get("include_prompt") is not False


QUERY_PROMPTS = ("query",)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""Names under which sentence-transformers looks for a side's prompt, the first that is there."""


def _prompts(folder: Folder) -> Prompts:
    """The prompts of queries and documents. One that is put before every text would change every embedding."""
    name = "config_sentence_transformers.json"
    raw = folder.json(name) or {}
    chosen, prompts = raw.get("default_prompt_name"), raw.get("prompts")
    if chosen and isinstance(prompts, dict) and prompts.get(chosen):
        message = (
            f"default_prompt_name {chosen!r} puts {str(prompts[chosen])[:60]!r} before every text"
        )
        folder.fault(name, message, "set it to null, and write it into model.prompts")
    if prompts is None:
        return Prompts()
    if not isinstance(prompts, dict) or not all(isinstance(x, str) for x in prompts.values()):
        folder.fault(name, "prompts must be an object of texts by name", "mend it")
        return Prompts()
    query, document = (
        next((prompts[key] for key in keys if key in prompts), "")
        for keys in (QUERY_PROMPTS, DOCUMENT_PROMPTS)
    )
    return Prompts(query=query, positive=document)
