"""All foreign names in one table, where each is meant as such, and kinds under other names.

A name maps to its path here, with what differs; one whose feature this version lacks says why. Names that are words
of the spec in another section are in ``MISPLACED``.
"""

from __future__ import annotations

from collections.abc import Mapping

from specrun.compiler.foreign.common import COMMON
from specrun.compiler.foreign.foreign import Foreign, none, to
from specrun.compiler.foreign.guides import GUIDES
from specrun.compiler.foreign.peft import PEFT
from specrun.compiler.foreign.sentence_transformers import SENTENCE_TRANSFORMERS
from specrun.compiler.foreign.training_arguments import TRAINING_ARGUMENTS
from specrun.spec.tree import Path

ORIGINS: Mapping[str, Mapping[str, Foreign]] = {
    "common": COMMON,
    "TrainingArguments": TRAINING_ARGUMENTS,
    "PEFT": PEFT,
    "sentence-transformers": SENTENCE_TRANSFORMERS,
    "guides": GUIDES,
}

FOREIGN: Mapping[str, Foreign] = {
    name: known for origin in ORIGINS.values() for name, known in origin.items()
}

MISPLACED: Mapping[tuple[str, str], Foreign] = {
    ("model", "dropout"): to("model.hidden_dropout_prob"),
    ("model", "name"): to("model.name_or_path"),
    ("model", "path"): to("model.name_or_path"),
    ("model", "vocab_size"): to("tokenizer.vocab_size", "a pretrained model has its own"),
    ("data", "batch_size"): to("train.batch_size"),
    ("", "mining"): to("data.negatives", "with `kind: mined`"),
    ("data", "mining"): to("data.negatives", "with `kind: mined`"),
    ("data.negatives", "margin"): to("data.negatives.relative_margin"),
    ("losses[]", "type"): to("losses[].kind"),
    ("losses[]", "directions"): to(
        "losses[].symmetric", "`query_to_doc` alone is false, with `doc_to_query` it is true"
    ),
    ("lora", "bias"): none("biases train where `train.trainable` names them", "lora"),
    ("train", "patience"): to("evaluation.early_stopping.patience", "in evaluations"),
    ("train", "min_delta"): to("evaluation.early_stopping.min_delta"),
    ("", "masking"): to("losses[].masking_rate", "of a loss of the kind `masked_diffusion`"),
}
"""By section and key: words of the spec that mean something else there, and words too plain to know elsewhere."""

LATER_KINDS: Mapping[str, tuple[str, ...]] = {
    "losses": (
        "causal_lm",
        "AnglELoss",
        "ContrastiveLoss",
        "OnlineContrastiveLoss",
        "CosineSimilarityLoss",
        "BatchHardTripletLoss",
        "BatchSemiHardTripletLoss",
        "BatchAllTripletLoss",
        "GISTEmbedLoss",
        "CachedGISTEmbedLoss",
        "Matryoshka2dLoss",
        "AdaptiveLayerLoss",
    ),
    "model": ("qwen2_vl", "qwen3_vl", "llama", "vae"),
    "optimizer": ("adam", "adafactor", "lion", "sgd", "muon"),
    "schedule": ("polynomial", "inverse_sqrt", "reduce_lr_on_plateau", "warmup_stable_decay"),
}
"""Kinds that are known and not in this version."""

_ONE_WAY = "write `infonce` with `symmetric: false`; temperature = 1 / scale"
_WIDTHS = "Matryoshka is a section of its own: `matryoshka.dims`"
_DIFFUSION = "write `masked_lm`, under `losses: [{kind: masked_diffusion}]`"
_CHUNKS = "and set `train.gradient_cache: {chunk_size: N}`"

KIND_NAMES: Mapping[str, tuple[str, str]] = {
    "mrl": ("losses", _WIDTHS),
    "matryoshka": ("losses", _WIDTHS),
    "MatryoshkaLoss": ("losses", _WIDTHS),
    "cached_infonce": ("losses", f"write `infonce`, {_CHUNKS}"),
    "contrastive": ("losses", "write `infonce`"),
    "MultipleNegativesRankingLoss": ("losses", _ONE_WAY),
    "CachedMultipleNegativesRankingLoss": ("losses", f"{_ONE_WAY}, {_CHUNKS}"),
    "MultipleNegativesSymmetricRankingLoss": ("losses", "write `infonce`; temperature = 1 / scale"),
    "mnrl": ("losses", _ONE_WAY),
    "TripletLoss": (
        "losses",
        "write `triplet`, on cosines; `triplet_margin` is `margin`, the distance is 1 − cosine",
    ),
    "triplet_loss": ("losses", "write `triplet`"),
    "CoSENTLoss": (
        "losses",
        "write `cosent`, and name `data.columns.score`; temperature = 1 / scale",
    ),
    "MarginMSELoss": (
        "losses",
        "write `distillation` with `objective: margin_mse` and `on: cosines`",
    ),
    "DistillKLDivLoss": (
        "losses",
        "write `distillation` with `on: cosines`; `distillation_temperature` is both temperatures",
    ),
    "sigmoid": ("losses", "write `siglip`"),
    "SigLipLoss": ("losses", "write `siglip`; temperature = 1 / exp(logit_scale)"),
    "adamw_torch": ("optimizer", "write `adamw`"),
    "adamw_torch_fused": ("optimizer", "write `adamw`"),
    "minilm": ("model", "write `bert`"),
    "xlm-roberta": ("model", "write `roberta`, which reads XLM-R too"),
    "xlm_roberta": ("model", "write `roberta`, which reads XLM-R too"),
    "camembert": ("model", "write `roberta`, which reads CamemBERT too"),
    "transformer": ("model", "write `text_encoder`"),
    "dual_encoder": ("model", "write `text_encoder`, `bert` or `roberta`, and `towers: separate`"),
    "two_tower": ("model", "write `text_encoder`, `bert` or `roberta`, and `towers: separate`"),
    "masked_diffusion": ("model", _DIFFUSION),
    "diffusion": ("model", _DIFFUSION),
    "mlm": ("losses", "write `masked_diffusion`"),
    "masked_lm_loss": ("losses", "write `masked_diffusion`"),
    "txt": ("data", "write `text`: files of plain text"),
    "json": ("data", "write `jsonl`: one object a line"),
    "hf": ("data", "write `huggingface`: a folder that `save_to_disk` wrote"),
    "arrow": ("data", "write `huggingface`: a folder that `save_to_disk` wrote"),
    "cosine_with_min_lr": ("schedule", "write `cosine` with `min_learning_rate`"),
}
"""Kinds under other names: the section they stand in, and what to write."""


def known_here(key: str, path: Path) -> Foreign | None:
    """What is known of a key in the section ``path``: telling names anywhere, plain words where they would stand.

    Hyphens are underscores, as on other tools' command lines.
    """
    section = section_of(path)
    known = MISPLACED.get((section, key)) or FOREIGN.get(key) or FOREIGN.get(key.replace("-", "_"))
    if known is None:
        return None
    telling = not path or "_" in key or "-" in key or (section, key) in MISPLACED
    return known if telling or section == known.section else None


def is_misplaced(key: str, path: Path) -> bool:
    """True for a word of the spec that means something else in this section."""
    return (section_of(path), key) in MISPLACED


def section_of(path: Path) -> str:
    """A path as sections are named: ``("losses", 3)`` is ``losses[]``."""
    return "".join("[]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
