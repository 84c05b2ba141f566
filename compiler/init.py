"""``specrun init``: a commented spec to start from, with the schema that its modeline names beside it."""

from __future__ import annotations

import os
from pathlib import Path

from specrun.compiler.migrate.models import family_by
from specrun.compiler.migrate.render import scalar
from specrun.compiler.modules import ATTENTION
from specrun.compiler.presets import FamilyOf, pick
from specrun.compiler.schema.emit import EDITOR_FILE, schema_folder
from specrun.spec.diagnostics import InputError
from specrun.spec.files import read_local
from specrun.spec.tree import Texts

SCHEMA_COPY = f".specrun/{EDITOR_FILE}"

_TEMPLATE = """\
# yaml-language-server: $schema={schema}
#
# What to train, on what, and how. Check it with `specrun check {name}`, see what it will do with
# `specrun compile {name} -o plan.json`, and run that with `specrun run plan.json`.
# A key that is left out has its default; `specrun explain plan.json train` shows values and meanings.

version: 1
name: {stem}

# A preset, or a YAML file's path, is merged below this file: `extends: [search_small]`. A model of a directory is
# written by `specrun init --model NAME`; CLIP, SigLIP and Qwen3 pick their preset by themselves.
# Any key may also be set by `--set train.batch_size=64` or SPECRUN__TRAIN__BATCH_SIZE=64.

model:
  kind: text_encoder          # or bert, with `name_or_path`
  hidden_size: 256
  num_hidden_layers: 0        # 0 is a bag of tokens: fast, and hard to beat on small data

tokenizer:
  kind: train                 # or file, with `path` to a tokenizer.json
  vocab_size: 8192

data:
  kind: python_source         # docstring -> function pairs; or jsonl, csv, tsv, parquet,
                              # huggingface, with `path` and `columns`
  roots: [stdlib]             # your own: [src]
  max_length: {{query: 64, positive: 128}}
  validation:
    kind: fraction            # held out by a hash of the content, so nothing leaks
    fraction: 0.1

losses:
  - kind: infonce             # the other rows of the batch are the negatives
    temperature: 0.05

# Cut embeddings stay useful: the losses are summed over prefixes.
matryoshka:
  dims: [256, 128, 64]

train:
  epochs: 10
  batch_size: 128             # rows over all devices; more rows are more negatives

optimizer:
  kind: adamw
  learning_rate: 1e-3

schedule:
  kind: linear
  warmup_ratio: 0.1

evaluation:
  metrics: [mrr@10, ndcg@10, recall@1, recall@10]
  select_best: mrr@10

# Only low-rank adapters train, on a pretrained model:
# lora:
#   rank: 8
#   target_modules: [query, value]

# Stages, one after the other, each with its own rows and length (then leave out train.epochs):
# curriculum:
#   stages:
#     - name: short
#       epochs: 3
#       select: {{field: positive_chars, max: 600}}
#     - name: all
#       epochs: 7
"""


_HEAD = """\
# yaml-language-server: $schema={schema}
#
# Fine-tuning of a pretrained model on rows of your own. Check it with `specrun check {name}`, see what it will do
# with `specrun compile {name} -o plan.json`, and run that with `specrun run plan.json`.
# A key that is left out has its default; `specrun explain plan.json train` shows values and where they came from.

version: 1
name: {stem}

{preset}

model:
  kind: auto                  # the family that config.json names
  name_or_path: {model}
                              # a directory, a name in specrun.local.yaml (`{model}: path`), or in
                              # the Hugging Face cache (`hf download {model}`)
"""

_PICKED = """\
# The preset {preset} is picked by the model's name: losses, batch, epochs, rate and schedule come from it where this
# file says nothing. `extends: []` leaves it out."""

_DEFAULTS = """\
# Losses, batch, epochs, rate and schedule come from this preset where this file says nothing.
extends: [defaults]"""

_TEXTS = """
data:
  kind: jsonl                 # or csv, tsv, parquet, huggingface
  path: train.jsonl           # {{"query": "how to sort", "positive": "call sorted()"}} a line
  # columns: {{query: question, positive: answer, negatives: wrong}}
  # max_length: {{query: 64, positive: 128}}
  validation:
    kind: fraction            # held out by a hash of the content, so nothing leaks
    fraction: 0.1
"""

_IMAGES = """
data:
  kind: jsonl                 # or csv, tsv, parquet, huggingface
  path: train.jsonl           # {{"query": "a red box", "positive": "images/0.png"}} a line
  retrieval_mode: t2i         # or i2i, i2t, t2t, m2i, m2t: what finds what
  image_root: .               # paths of images begin here
  # columns: {{query: caption, positive: image, negatives: wrong}}
  validation:
    kind: fraction            # held out by a hash of the content, so nothing leaks
    fraction: 0.1
"""

_TAIL = """
# train:
#   epochs: 3
#   batch_size: 64            # rows over all devices; more rows are more negatives
#   gradient_cache: {{chunk_size: 16}}  # as large a batch as you like, in the memory of a chunk

# Cut embeddings stay useful: the losses are summed over prefixes.
# matryoshka:
#   dims: [256, 128]

# Only low-rank adapters train:
# lora:
#   target_modules: {targets}

evaluation:
  metrics: [mrr@10, ndcg@10, recall@1, recall@10]
  select_best: ndcg@10        # `ndcg@10 at 256` for a dimension of matryoshka
"""


def for_model(model: str, name: str, schema: str, family: str | None, picked: str | None) -> str:
    """The text of a new spec that trains ``model``. ``family`` is its own where it is known, ``picked`` its preset."""
    targets = ATTENTION.get(family or "", ("query", "key", "value", "attention.output.dense"))
    body = _IMAGES if family in ("clip", "siglip") else _TEXTS
    return (_HEAD + body + _TAIL).format(
        schema=schema,
        name=name,
        stem=_stem(name),
        model=scalar(model),
        preset=_PICKED.format(preset=picked) if picked else _DEFAULTS,
        targets=f"[{', '.join(dict.fromkeys((targets[0], targets[2])))}]",
    )


def template(name: str = "spec.yaml", schema: str = SCHEMA_COPY) -> str:
    """The text of a new spec in a file ``name`` whose modeline names ``schema``."""
    return _TEMPLATE.format(schema=schema, name=name, stem=_stem(name))


def _stem(name: str) -> str:
    """The name of a run in a file of that name."""
    return (
        "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(name).stem).strip("-")
        or "run"
    )


def init(
    target: str | os.PathLike[str], model: str | None = None, family_of: FamilyOf | None = None
) -> tuple[Path, ...]:
    """Write a new spec and the schema beside it; the files written. Raises InputError.

    The spec trains ``model``, a directory or a name, where one is given; ``family_of`` reads a directory's family.
    """
    path = Path(target)
    text = template(path.name)
    if model is not None:
        text = _text_for(model, path, family_of)
    schema = path.parent / SCHEMA_COPY
    try:
        schema.parent.mkdir(parents=True, exist_ok=True)
        schema.write_bytes((schema_folder() / EDITOR_FILE).read_bytes())
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        text = f"`{error.filename or path}` is already there"
        raise InputError(text, code="file-exists", hint="name another file") from error
    except OSError as error:
        text = f"cannot write `{path}`: {error.strerror}"
        raise InputError(text, code="cannot-write") from error
    return path, schema


def _text_for(model: str, path: Path, family_of: FamilyOf | None) -> str:
    if not model.strip() or not model.isprintable():
        raise InputError("the model's name is empty or cannot be printed", code="model", hint="name a model")  # fmt: skip
    folder = path.parent
    local = read_local((folder, Path.cwd()), Texts()).paths
    picked = pick(model, None, folder, local, family_of)
    family = family_by(folder, dict(local), family_of)(model)
    return for_model(model, path.name, SCHEMA_COPY, family, picked.preset if picked else None)
