"""How the library that a directory of texts and images is exported for embeds both: code whose vectors are ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HF = """import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, {name}
{imports}
model = {model}.eval()
tokenizer = AutoTokenizer.from_pretrained("DIRECTORY")
processor = AutoImageProcessor.from_pretrained("DIRECTORY", backend="pil")
{batch}
seen = processor([Image.open("picture.png")], return_tensors="pt")
with torch.no_grad():
    texts = model.get_text_features(**batch).pooler_output
    images = model.get_image_features(**seen).pooler_output
texts, images = (torch.nn.functional.normalize(x) for x in (texts, images))"""

_BATCH = (
    'batch = tokenizer(["a text", "another"], padding=True, truncation=True, '
    'max_length={longest}, return_tensors="pt")'
)
_PADDED = (
    'batch = tokenizer(["a text", "another"], truncation=True, max_length={longest}, return_attention_mask=False)\n'
    'batch = tokenizer.pad(batch, padding="max_length", max_length={whole}, '
    'return_attention_mask=False, return_tensors="pt")'
)

_SENTENCES = """from PIL import Image
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("DIRECTORY")
texts = model.encode(["a text", "another"])
images = model.encode([Image.open("picture.png")])"""

OURS = """from specrun import Predictor

predictor = Predictor("DIRECTORY")
texts = predictor.encode_text(["a text", "another"])
images = predictor.encode_image(["picture.png"])"""


def image_use(facts: Mapping[str, Any]) -> str:
    """The code, where ``DIRECTORY`` stands for the place of the files. ``facts`` as in the directory's note."""
    match facts["to"]:
        case "sentence-transformers":
            return _SENTENCES
        case "hf" | "peft" if facts["class"] != "composed":
            return _hf(facts)
        case _:
            return OURS


def _hf(facts: Mapping[str, Any]) -> str:
    name, whole = facts["class"], facts["padded_to"]
    model, imports = f'{name}.from_pretrained("DIRECTORY")', ""
    if facts["to"] == "peft":
        base = json.dumps(Path(facts["base"]).name, ensure_ascii=False)
        model = f'PeftModel.from_pretrained({name}.from_pretrained({base}), "DIRECTORY")'
        imports = "from peft import PeftModel\n"
    batch = (_BATCH if whole is None else _PADDED).format(
        longest=facts["max_seq_length"], whole=whole
    )
    return _HF.format(name=name, imports=imports, model=model, batch=batch)
