"""Model directories of known shapes with random weights, and the rows to train them on. Needs no torch.

``clip`` is the shape of openai/clip-vit-base-patch32 (151 M parameters), ``bert`` that of bert-base-uncased (109 M).
Each has a tiny twin for tests. Both directories are read by transformers too, so that both sides hold one network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from specrun.runtime.models.bert import table as bert_table
from specrun.runtime.models.clip import table as clip_table
from specrun.runtime.models.clip.config import clip_config
from specrun.runtime.weights.names import write_names
from specrun.runtime.weights.write import write_weights
from specrun.spec.plan.networks import BertConfig
from specrun.spec.plan.parameters import TableRow

Name = Literal["clip", "bert"]
WORDS = 1000
"""Different words in the rows."""

SCALE = 0.02
"""Standard deviation of every matrix, as both families begin."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A shape: ``config`` is config.json, ``tokens`` the length that every text fills."""

    name: Name
    config: Mapping[str, Any]
    tokens: int
    vocab: int
    begin: int
    end: int

    @property
    def image_size(self) -> int | None:
        """Pixels along an edge; None where no images are taken."""
        vision = self.config.get("vision_config")
        return None if vision is None else int(vision["image_size"])


def _clip(text: dict[str, int], vision: dict[str, int], projection: int) -> Network:
    vocab = text["vocab_size"]
    ids = {"bos_token_id": vocab - 2, "eos_token_id": vocab - 1, "pad_token_id": 1}
    config = {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": projection,
        "text_config": {**text, **ids, "projection_dim": projection},
        "vision_config": {**vision, "projection_dim": projection},
    }
    return Network(
        name="clip",
        config=config,
        tokens=text["max_position_embeddings"],
        vocab=vocab,
        begin=vocab - 2,
        end=vocab - 1,
    )


def _blocks(width: int, layers: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 64),
        "intermediate_size": 4 * width,
    }


def _bert(width: int, layers: int, vocab: int, tokens: int) -> Network:
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": vocab,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": 0,
        **_blocks(width, layers),
    }
    return Network(
        name="bert", config=config, tokens=tokens, vocab=vocab, begin=vocab - 2, end=vocab - 1
    )


FULL: dict[str, Network] = {
    "clip": _clip(
        {"vocab_size": 49408, "max_position_embeddings": 77, **_blocks(512, 12)},
        {"image_size": 224, "patch_size": 32, **_blocks(768, 12)},
        512,
    ),
    "bert": _bert(768, 12, 30522, 128),
}
TINY: dict[str, Network] = {
    "clip": _clip(
        {"vocab_size": 1200, "max_position_embeddings": 16, **_blocks(32, 2)},
        {"image_size": 32, "patch_size": 16, **_blocks(32, 2)},
        16,
    ),
    "bert": _bert(32, 2, 1200, 16),
}


def write(folder: Path, network: Network, rows: int) -> None:
    """The directory ``folder/model``, and ``folder/rows.jsonl`` with ``rows`` rows and their images."""
    model = folder / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(network.config))
    (model / "tokenizer.json").write_text(_tokenizer(network))
    write_weights(model / "model.safetensors", _weights(network), "safetensors")
    size = network.image_size
    if size is not None:
        own = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
        processor = {"image_processor_type": "CLIPImageProcessor", **own}
        (model / "preprocessor_config.json").write_text(json.dumps(processor))
        _pictures(folder / "pictures", size, rows)
    (folder / "rows.jsonl").write_text("".join(map(_line, _rows(network, rows))))


def tables(network: Network) -> list[tuple[Any, tuple[TableRow, ...]]]:
    """The configuration of each part with its parameters."""
    if network.name == "bert":
        known = {f.name for f in fields(BertConfig)} - {"kind"}
        own = {k: v for k, v in network.config.items() if k in known}
        config = BertConfig(**own, initializer_range=SCALE, pooling="mean", projection_dim=None)
        return [(config, bert_table.rows(config))]
    text, vision = clip_config(network.config)
    return [(text, clip_table.text_rows(text)), (vision, clip_table.vision_rows(vision))]


def _weights(network: Network) -> dict[str, np.ndarray]:
    draw, found = np.random.default_rng(0), {}
    for config, table in tables(network):
        found |= write_names({row.path: _leaf(row, draw) for row in table}, table, config)
    if network.name == "clip":
        found["logit_scale"] = np.asarray(2.6592, np.float32)  # of the format; no side trains it
    return found


def _leaf(row: TableRow, draw: np.random.Generator) -> np.ndarray:
    match row.role:
        case "scale":
            return np.ones(row.shape, np.float32)
        case "bias":
            return np.zeros(row.shape, np.float32)
        case _:
            return np.float32(SCALE) * draw.standard_normal(row.shape, np.float32)


def _tokenizer(network: Network) -> str:
    ids = {"[UNK]": 0, "[PAD]": 1} | {f"w{i}": 2 + i for i in range(WORDS)}
    ids |= {"<begin>": network.begin, "<end>": network.end}
    made = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    made.add_special_tokens(["<begin>", "<end>", "[PAD]"])
    made.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<begin> $A <end>",
        special_tokens=[("<begin>", network.begin), ("<end>", network.end)],
    )
    return made.to_str()


def _pictures(folder: Path, size: int, count: int) -> None:
    folder.mkdir()
    draw = np.random.default_rng(1)
    for i in range(count):
        pixels = draw.integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png", compress_level=0)


def _rows(network: Network, count: int) -> Iterable[dict[str, str]]:
    """Texts of more words than a text may have tokens, no two alike."""
    draw = np.random.default_rng(2)
    for i in range(count):
        query, positive = (
            f"w{i % WORDS} " + " ".join(f"w{n}" for n in draw.integers(0, WORDS, network.tokens))
            for _ in range(2)
        )
        yield {"query": query, "positive": positive} | (
            {} if network.image_size is None else {"positive": f"{i}.png"}
        )


def _line(row: dict[str, str]) -> str:
    return json.dumps(row) + "\n"


def thin(network: Network) -> Network:
    """A network of the same inputs that is small: for who measures the inputs."""
    config = dict(network.config)
    if network.name == "bert":
        return replace(network, config=config | _blocks(64, 1))
    parts = {k: {**config[k], **_blocks(64, 1)} for k in ("text_config", "vision_config")}
    return replace(network, config=config | parts)


def with_tokens(network: Network, tokens: int | None) -> Network:
    """The network with texts of another length, within its positions; None leaves it as it is."""
    if tokens is None or network.name == "clip":
        return network
    return replace(network, tokens=tokens)
