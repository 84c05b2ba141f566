"""``specrun init``: a commented spec to start from, with the schema that its modeline names beside it."""

from __future__ import annotations

import os
from pathlib import Path

from specrun.compiler.schema.emit import EDITOR_FILE, schema_folder
from specrun.spec.diagnostics import InputError

SCHEMA_COPY = f".specrun/{EDITOR_FILE}"

_TEMPLATE = """\
# yaml-language-server: $schema={schema}
#
# What to train, on what, and how. Check it with `specrun check {name}`, see what it will do with
# `specrun compile {name} -o plan.json`, and run that with `specrun run plan.json`.
# A key that is left out has its default; `specrun explain plan.json train` shows values and meanings.

version: 1
name: {stem}

# A preset, or a YAML file's path, is merged below this file: `extends: [search_small]`.
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


def template(name: str = "spec.yaml", schema: str = SCHEMA_COPY) -> str:
    """The text of a new spec in a file ``name`` whose modeline names ``schema``."""
    stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(name).stem).strip("-")
    return _TEMPLATE.format(schema=schema, name=name, stem=stem or "run")


def init(target: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a new spec and the schema beside it; the files written. Raises InputError."""
    path = Path(target)
    schema = path.parent / SCHEMA_COPY
    try:
        schema.parent.mkdir(parents=True, exist_ok=True)
        schema.write_bytes((schema_folder() / EDITOR_FILE).read_bytes())
        with open(path, "x", encoding="utf-8") as file:
            file.write(template(path.name))
    except FileExistsError as error:
        text = f"`{error.filename or path}` is already there"
        raise InputError(text, code="file-exists", hint="name another file") from error
    except OSError as error:
        text = f"cannot write `{path}`: {error.strerror}"
        raise InputError(text, code="cannot-write") from error
    return path, schema
