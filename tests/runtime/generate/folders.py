"""A run's folder with a tiny masked language model over letters and words, made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from specrun.runtime.data.tokenizer import digest_of_text
from specrun.runtime.loop.parameters import write_parameters
from specrun.runtime.trees import Tree
from specrun.spec.plan.data import TokenizerPlan, TrainedTokenizer
from specrun.spec.plan.file import write_plan
from specrun.spec.plan.generation import GenerationPlan
from specrun.spec.plan.plan import Plan
from tests.runtime.folders import make_parameters
from tests.runtime.plans import make_language_model, make_text_plan

SPECIAL = ("[PAD]", "[MASK]", "[CLS]", "[UNK]", "[SEP]")
WORDS = ("red", "green", "blue", "one", "two", "three", "the", "of", "a", "and")
LETTERS = "abcdefghijklmnopqrstuvwxyz.,"
PAD, MASK = 0, 1
SIZE = 64


def tokenizer_text(*, end: bool = False) -> str:
    """Words and letters with the space in front as a part of them; every text begins with [CLS], or ends with [SEP] too."""
    pieces = [*SPECIAL, *(f"▁{w}" for w in WORDS), "▁", *LETTERS]
    backend = Tokenizer(models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    template = "[CLS] $A [SEP]" if end else "[CLS] $A"
    backend.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 4)]
    )
    backend.add_special_tokens(
        [AddedToken(name, special=True, normalized=False, lstrip=True) for name in SPECIAL]
    )
    return backend.to_str()


def make_settings(**changes: Any) -> GenerationPlan:
    base = GenerationPlan(
        temperature=0.8,
        steps=6,
        max_length=12,
        top_k=None,
        top_p=None,
        num_return_sequences=1,
        confidence_schedule="linear",
        style=None,
        style_strength=1.0,
        interactive=False,
    )
    return dataclasses.replace(base, **changes)


def make_text_run(
    folder: Path, *, end: bool = False, parameters: Tree | None = None, **generation: Any
) -> Plan:
    """A run that was trained to fill in hidden tokens, with random parameters of some spread."""
    text = tokenizer_text(end=end)
    plan = make_text_plan(
        model=make_language_model(vocab_size=SIZE),
        generation=make_settings(**generation),
    )
    trained = TrainedTokenizer(
        vocab_size=SIZE, min_frequency=1, lowercase=False, split_identifiers=False, masks=True
    )
    tokenizer = TokenizerPlan(
        source=trained, digest=digest_of_text(text), vocab_size=44, pad_id=PAD, mask_id=MASK
    )
    plan = dataclasses.replace(plan, tokenizer=tokenizer)
    folder.mkdir(exist_ok=True)
    write_plan(plan, folder / "plan.json")
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    write_parameters(folder / "best", parameters or make_parameters(plan), {"step": 1})
    return plan


def broken_parameters(plan: Plan) -> Tree:
    """With one number that is none, in the table that every row reads."""
    tree = make_parameters(plan)
    tree["embeddings"]["token"]["embedding"][MASK, 0] = np.nan
    return tree
