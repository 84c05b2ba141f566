"""Runs of models of texts and images as training leaves them, on a few coloured pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import specrun
from specrun.runtime.data.tokenizer import load
from specrun.runtime.loop.parameters import write_parameters
from specrun.runtime.models.encoder import initial_parameters
from specrun.runtime.trees import flatten, unflatten
from specrun.spec.plan.file import write_plan
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.plan import Plan
from tests.front.test_text_image import COLOURS, TOWERS, processor, vocabulary

TEXTS = ["a red box", "green", "blue box 2 is a wide red box and wide", "x y z"]
SPEC = """\
version: 1
name: pictured
model: {model}
data:
  kind: jsonl
  path: {folder}/rows.jsonl
  retrieval_mode: {mode}
  image_root: {folder}/pics
  max_length: {{{length}}}
  columns: {{{columns}}}
losses: {losses}
train: {{batch_size: 4, max_steps: 3}}
"""
COLUMNS = {"t2i": "positive: image", "i2t": "query_image: image, positive: other", "m2i": "query_image: next, positive: image", "i2i": "query_image: next, positive: image"}  # fmt: skip
LORA = "lora: {{rank: 2, alpha: 6, target_modules: [{modules}]}}\n"
COMPOSED = """{{kind: composed, head_dim: {dim}, text: {{kind: bert, name_or_path: {folder}/bert{text}}},
  image: {{kind: vit, name_or_path: {folder}/vit{image}}}}}"""


def make_models(folder: Path) -> Path:
    """Rows, pictures, and the golden models with processors and tokenizers beside them."""
    (folder / "pics").mkdir(parents=True)
    rows = []
    for i in range(12):
        name = list(COLOURS)[i % 3]
        draw = np.random.default_rng(i).integers(0, 256, (20 + i, 30 - i, 3), np.uint8)
        Image.fromarray(draw).save(folder / "pics" / f"{i}.png")
        texts = {"query": f"a {name} box {i}", "other": f"{i} is {name}"}
        rows.append(texts | {"image": f"{i}.png", "next": f"{(i + 3) % 12}.png"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("clip", "siglip", "siglip2", "vit"):
        shutil.copytree(TOWERS / f"{name}_torch", folder / name)
    shutil.copytree(TOWERS / "clip_flax", folder / "clip_flax")
    shutil.copytree(TOWERS.parent / "models" / "torch_safetensors", folder / "bert")
    for name in ("clip", "siglip", "siglip2", "vit", "clip_flax"):
        (folder / name / "preprocessor_config.json").write_text(processor(name.split("_")[0]))
    for name in ("clip", "siglip", "siglip2", "clip_flax", "bert"):
        (folder / name / "tokenizer.json").write_text(vocabulary())
    return folder


def make_run(
    folder: Path,
    kind: str = "clip",
    *,
    losses: str = "[{kind: infonce}]",
    lora: str = "",
    mode: str = "t2i",
    length: int = 8,
    model: str = "",
    name: str = "run",
    more: tuple[str, ...] = (),
) -> Plan:
    """``folder``/run below the folder of ``make_models``: every number moved a little from where it starts."""
    sides = {"query": mode[0], "positive": mode[-1]}
    limits = ", ".join(f"{side}: {length}" for side, letter in sides.items() if letter != "i")
    text = SPEC.format(
        model=model or f"{{kind: {kind}, name_or_path: {folder}/{kind}}}",
        folder=folder,
        mode=mode,
        length=limits,
        columns=COLUMNS[mode],
        losses=losses,
    )
    spec = folder / "spec.yaml"
    spec.write_text(text + (LORA.format(modules=lora) if lora else ""))
    plan = specrun.compile(spec, overrides=[f"output_dir={folder}/{name}", *more])
    run = folder / name
    run.mkdir()
    write_plan(plan, run / "plan.json")
    (run / "tokenizer.json").write_text(load(plan.tokenizer).json_text)
    write_parameters(run / "best", moved(plan.model), {"step": 1, "metrics": {"mrr@10": 0.5}})
    write_parameters(run / "final", moved(plan.model, 6), {"step": 3})
    return plan


def moved(model: ModelPlan, seed: int = 5, *, only: str = "") -> Any:
    """Initial parameters, those whose path holds ``only`` with a little noise; a loss's own are drawn."""
    draw = np.random.default_rng(seed)
    leaves = {p: np.asarray(x) for p, x in flatten(initial_parameters(model, 0)).items()}
    leaves |= {p.path: np.zeros(p.shape) for p in model.parameters if p.path.startswith("losses.")}
    return unflatten(
        {
            p: (x + (0.1 * draw.normal(size=x.shape) if only in p else 0)).astype(np.float32)
            for p, x in leaves.items()
        }
    )
