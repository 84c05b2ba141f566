"""The model card of an exported directory: what it is, how its library loads it, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.runtime.report import card
from specrun.runtime.report.image_use import image_use
from specrun.spec.plan.plan import Plan

LIBRARIES = {
    "sentence-transformers": "sentence-transformers",
    "hf": "transformers",
    "flax": "specrun",
    "peft": "peft",
}
"""Hugging Face's ``library_name`` of each form."""


def export_card(plan: Plan | None, saved: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The text of README.md in a directory that ``specrun export`` writes.

    ``saved`` as ``predict.saved.read_saved`` gives it; ``facts`` as in the directory's note. A
    directory that no run has trained has no plan, so its card tells how to use it and where it is from.
    """
    library = LIBRARIES[facts["to"]]
    if plan is None:
        parts = [
            card.front_matter(library),
            f"# {card.text(Path(facts['source']).name)}",
            f"Converted by specrun from {card.text(Path(facts['source']).name)}; nothing was trained.",
            card.section("Use", _use(facts)),
            card.section("Provenance", card.table(("", ""), _export(facts))),
        ]
    else:
        parts = [
            *card.opening(plan, saved, library),
            card.section("Use", _use(facts)),
            *card.training(plan, saved),
            card.section(
                "Provenance",
                card.table(("", ""), [*card.provenance(plan, saved), *_export(facts)]),
            ),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _export(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the export kept, merged and left out."""
    rows = [
        ("exported for", facts["to"]),
        ("weights", f"{facts['weights']}, {facts['dtype']}"),
        ("tower", facts["tower"]),
        ("merged", facts["merged"]),
        ("as in the source", ", ".join(facts["tensors_of_the_source"])),
        ("of the losses", _of_losses(facts)),
        ("heads", ", ".join(facts.get("heads", ()))),
        ("left out", ", ".join(facts["left_out"])),
    ]
    return [(name, value) for name, value in rows if value]


def _of_losses(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{n} of {loss}" for n, loss in facts.get("tensors_of_losses", {}).items())


_TOKENS = """tokenizer = AutoTokenizer.from_pretrained("{folder}")
batch = tokenizer(["a text", "another"], padding=True, truncation=True, max_length={longest}, return_tensors="pt")
hidden = model(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state"""

_POOLED = {
    "mean": "weight = batch.attention_mask[..., None].float()\npooled = (hidden * weight).sum(1) / weight.sum(1)",
    "cls": "pooled = hidden[:, 0]",
    "last": "pooled = hidden[torch.arange(len(hidden)), batch.attention_mask.sum(1) - 1]",
}


_MASKED_LM = """import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

model = AutoModelForMaskedLM.from_pretrained("DIRECTORY").eval()
tokenizer = AutoTokenizer.from_pretrained("DIRECTORY")
batch = tokenizer(f"a {tokenizer.mask_token} text", return_tensors="pt")
scores = model(batch.input_ids, attention_mask=batch.attention_mask).logits"""


def _use(facts: Mapping[str, Any]) -> str:
    """Code whose vectors are those of ``Predictor``. ``DIRECTORY`` stands for the place of the files."""
    if facts.get("language_model"):
        code = _MASKED_LM
    else:
        code = image_use(facts) if "class" in facts else _CODE[facts["to"]](facts)
    return f"```python\n{code}\n```"


def _sentence_transformers(facts: Mapping[str, Any]) -> str:
    return (
        "from sentence_transformers import SentenceTransformer\n\n"
        'vectors = SentenceTransformer("DIRECTORY").encode(["a text", "another"])'
    )


def _flax(facts: Mapping[str, Any]) -> str:
    return (
        "from specrun import Predictor\n\n"
        'vectors = Predictor("DIRECTORY").encode_text(["a text", "another"])'
    )


def _hf(facts: Mapping[str, Any]) -> str:
    return _torch(facts, "AutoModel, AutoTokenizer", 'AutoModel.from_pretrained("DIRECTORY")')


def _peft(facts: Mapping[str, Any]) -> str:
    base = json.dumps(Path(facts["base"]).name, ensure_ascii=False)
    model = f'PeftModel.from_pretrained(AutoModel.from_pretrained({base}), "DIRECTORY")'
    return "from peft import PeftModel\n" + _torch(facts, "AutoModel, AutoTokenizer", model)


def _torch(facts: Mapping[str, Any], names: str, model: str) -> str:
    tokens = _TOKENS.format(folder="DIRECTORY", longest=facts["max_seq_length"])
    return (
        f"import torch\nfrom transformers import {names}\n\nmodel = {model}.eval()\n{tokens}\n"
        f"{_POOLED[facts['pooling']]}\nvectors = torch.nn.functional.normalize(pooled)"
    )


_CODE = {
    "sentence-transformers": _sentence_transformers,
    "hf": _hf,
    "flax": _flax,
    "peft": _peft,
}
