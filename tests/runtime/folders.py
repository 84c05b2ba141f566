"""Folders with a tiny encoder, made by hand: a run's, and a Hugging Face directory."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from specrun.runtime.data.scan import scan
from specrun.runtime.data.tokenizer import digest_of_text
from specrun.runtime.loop.parameters import write_parameters
from specrun.runtime.trees import Tree, unflatten
from specrun.spec.plan.data import HeldOutFraction, JsonlSource, TokenizerPlan, TrainedTokenizer
from specrun.spec.plan.file import write_plan
from specrun.spec.plan.losses import Late, LossPlan, MatryoshkaPlan
from specrun.spec.plan.networks import TextEncoderConfig
from specrun.spec.plan.plan import Plan
from tests.runtime.plans import make_infonce, make_model, make_plan, separate

GOLDEN = Path(__file__).parents[1] / "golden" / "models" / "torch_safetensors"
MATRYOSHKA = MatryoshkaPlan(dims=(16, 8, 4), weights=(1.0, 1.0, 1.0), reduce="mean")
TEXTS = [
    "open a file",
    "def read(path):\n    return open(path).read()",
    "",
    "x",
    "Eine Straße über den Fluß",
    "東京の天気",
    "a long text " * 30,
]


def tokenizer_text(size: int = 40) -> str:
    """A tokenizer of single characters, ids below ``size``; every text begins with [CLS]."""
    letters = "abcdefghijklmnopqrstuvwxyz_()=:. "[: size - 3]
    vocabulary = {name: i for i, name in enumerate(("[PAD]", "[CLS]", "[UNK]", *letters))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 1)]
    )
    return backend.to_str()


def make_parameters(plan: Plan, seed: int = 0) -> Tree:
    """Random numbers for every parameter of the plan, those of adapters and losses too."""
    draw = np.random.default_rng(seed)
    leaves = {p.path: draw.normal(size=p.shape) * 0.3 for p in plan.model.parameters}
    return unflatten({path: x.astype(np.float32) for path, x in leaves.items()})


def make_run(
    folder: Path,
    *,
    lora: Any = None,
    source: JsonlSource | None = None,
    towers: bool = False,
    late: tuple[Late, TextEncoderConfig] | None = None,
    saved: tuple[str, ...] = ("best", "final"),
) -> Plan:
    """A run's folder whose best/ and final/ hold different parameters.

    ``late`` is a loss over token vectors, and the configuration of an encoder that gives them.
    """
    text = tokenizer_text()
    losses: tuple[LossPlan, ...] = (make_infonce(train_temperature=True),)
    if late is not None:
        losses = (*losses, late[0])
    model = make_model(late[1] if late else None, lora=lora, losses=losses)
    plan = make_plan(
        losses=losses, model=separate(model) if towers else model, matryoshka=MATRYOSHKA
    )
    trained = TrainedTokenizer(
        vocab_size=64, min_frequency=1, lowercase=True, split_identifiers=True
    )
    tokenizer = TokenizerPlan(source=trained, digest=digest_of_text(text), vocab_size=40, pad_id=0)
    data = plan.data
    if source is not None:
        held = HeldOutFraction(fraction=0.3)
        found = scan(source, held, "error")
        data = dataclasses.replace(data, source=source, validation=held, scan=found)
    plan = dataclasses.replace(plan, tokenizer=tokenizer, data=data)
    write_plan(plan, folder / "plan.json")
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    for seed, name in enumerate(saved):
        write_parameters(folder / name, make_parameters(plan, seed), {"step": seed})
    return plan


def make_directory(folder: Path) -> Path:
    """The tiny BERT of the golden files, pooled by its first token, 9 tokens at most."""
    shutil.copytree(GOLDEN, folder)
    (folder / "tokenizer.json").write_text(tokenizer_text(), encoding="utf-8")
    package = "sentence_transformers.models"
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{package}.{kind}"}
        for i, (kind, path) in enumerate((("Transformer", ""), ("Pooling", "1_Pooling")))
    ]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    return folder
