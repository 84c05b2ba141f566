"""Plans of many shapes for the arithmetic of cost, and XLA's figures for them as recorded in ``costs.json``.

``python -m tests.compiler.costs`` compiles them all on a CPU and writes the file again; it takes ten minutes.
Names of cases behind it compile those alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from specrun.compiler.compile import compile_loaded
from specrun.compiler.facts import Pretrained, PretrainedImage, StageLayout, StageRequest
from specrun.compiler.front import load
from specrun.spec.plan.data import Scan, TokenizerPlan, TokenizerSource
from specrun.spec.plan.images import ImageProcessor, Patching, uniform
from specrun.spec.plan.networks import PretrainedConfig, TextImageConfig
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.towers import (
    ClipTextConfig,
    ClipVisionConfig,
    ImageTower,
    Siglip2VisionConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
)
from tests.compiler.fakes import TINY_BERT, FakeFacts
from tests.runtime.models.tiny import modernbert_config, qwen3_config

HERE = Path(__file__)
FIGURES = HERE.with_suffix(".json")
SPEC = f"""\
version: 1
model: {{kind: text_encoder, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, max_position_embeddings: 128}}
tokenizer: {{kind: train, vocab_size: 1000}}
data: {{kind: jsonl, path: {json.dumps(str(HERE))}, max_length: {{query: 16, positive: 32}}}}
losses: [{{kind: infonce}}]
train: {{batch_size: 64, max_steps: 3}}
"""


class Case(NamedTuple):
    """Settings over ``SPEC``, the tokenizer's size, and the configuration of the pretrained model.

    ``bert`` changes the numbers of ``family``, a tiny BERT unless another is named; ``pair`` is a model of texts and
    images in its place.
    """

    settings: tuple[str, ...] = ()
    vocab: int = 1000
    bert: Mapping[str, Any] = MappingProxyType({})
    family: PretrainedConfig = TINY_BERT
    pair: TextImageConfig | None = None


PLAIN = Case()


BAG = ("model.num_hidden_layers=0",)
SIX = ("model.num_hidden_layers=6",)
DRY = ("model.hidden_dropout_prob=0",)
BERT = (f"model={{kind: bert, name_or_path: {json.dumps(str(HERE.parent))}}}",)
WHOLE_LATE = ("train.score_tile_rows=128",)
LORA = "lora={rank: 4, dropout: 0, target_modules: [query, value]}"
LONG = "data.max_length={query: 32, positive: 128}"
TINY = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 256,
}


QWEN3 = tuple(text.replace("kind: bert", "kind: qwen3") for text in BERT)
SCRATCH = (
    "model={kind: masked_lm, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 176}",
)


def language(
    *settings: str, length: int = 32, model: tuple[str, ...] = SCRATCH, **options: Any
) -> Case:
    """A masked language model: every token of a text scores all ids."""
    data = f"data={{kind: text, path: {json.dumps(str(HERE))}, max_length: {length}}}"
    return Case((*model, data, "losses=[{kind: masked_diffusion}]", *settings), **options)


DECODER = {**TINY, "intermediate_size": 192, "num_key_value_heads": 2, "head_dim": 16}


def decoder(*settings: str, **changes: Any) -> Case:
    """Grouped-query attention and a gated feed-forward; no dropout but on attention."""
    return Case((*QWEN3, *settings), bert={**DECODER, **changes}, family=qwen3_config())


MODERN = tuple(text.replace("kind: bert", "kind: modernbert") for text in BERT)


def modern(*settings: str, **changes: Any) -> Case:
    """Four layers, two of them local, and a gated feed-forward."""
    own = {**TINY, "num_hidden_layers": 4, "intermediate_size": 96, "global_layers": (0, 3)}
    return Case((*MODERN, *settings), bert={**own, **changes}, family=modernbert_config())


_SHAPE = {key: value for key, value in TINY.items() if key != "num_hidden_layers"}
_BLOCKS: dict[str, Any] = {
    **_SHAPE,
    "num_hidden_layers": 6,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "layer_norm_eps": 1e-6,
    "initializer_range": 0.02,
}
SIGLIP = TextImageConfig(
    text=SiglipTextConfig(
        **_BLOCKS, vocab_size=1000, max_position_embeddings=16, pad_token_id=0, projection_dim=64
    ),
    image=SiglipVisionConfig(**_BLOCKS, image_size=32, patch_size=4, num_channels=3),
    head_dim=None,
)
CLIP = TextImageConfig(
    text=ClipTextConfig(
        **_BLOCKS, vocab_size=1000, max_position_embeddings=16, eos_token_id=9, projection_dim=32
    ),
    image=ClipVisionConfig(
        **_BLOCKS, image_size=32, patch_size=4, num_channels=3, projection_dim=32
    ),
    head_dim=None,
)
SIGLIP2 = replace(
    SIGLIP,
    image=Siglip2VisionConfig(
        **_BLOCKS, patch_size=4, num_channels=3, num_patches=64, max_num_patches=64
    ),
)
PAIR = (
    "data.retrieval_mode=t2i",
    f"data.image_root={json.dumps(str(HERE.parent))}",
    "data.columns={positive: image}",
    "data.max_length=null",
    "data.max_length={query: 16}",
)


def pair(config: TextImageConfig, *settings: str, **changes: Any) -> Case:
    """A text for each image. ``changes`` are of both networks."""
    both = {name: replace(getattr(config, name), **changes) for name in ("text", "image")}
    kind = config.text.kind.removesuffix("_text")
    model = tuple(text.replace("kind: bert", f"kind: {kind}") for text in BERT)
    return Case((*model, *PAIR, *rows(32), *settings), pair=replace(config, **both))


def rows(*counts: int) -> tuple[str, ...]:
    """The batch, and the rows encoded at a time."""
    return tuple(
        f"train.{k}={n}" for k, n in zip(("batch_size", "micro_batch_size"), counts, strict=False)
    )


REMAT = "train.gradient_checkpointing=true"
SCORES = (
    *BAG,
    "model.hidden_size=16",
    "data.max_length={query: 4, positive: 4}",
    *rows(2048),
    "train.score_tile_rows=2048",
)
"""Hardly anything but scores."""
TAUGHT = f"losses=[{{kind: distillation, teacher: {{kind: pretrained, name_or_path: {json.dumps(str(HERE.parent))}}}}}]"
CASES: dict[str, Case] = {
    "l2": Case(),
    "l6": Case(SIX),
    "l6-remat": Case((*SIX, REMAT)),
    "l6-one-apart-remat": Case((*SIX, REMAT, "optimizer.no_decay=['layers.0.*']")),
    "l2-nod": Case(DRY),
    "l2-ad": Case(("model.attention_probs_dropout_prob=0.1",)),
    "l1": Case(("model.num_hidden_layers=1",)),
    "l2-micro16": Case(rows(64, 16)),
    "l6-micro16-remat": Case((*SIX, *rows(64, 16), REMAT)),
    "l2-acc4": Case(("train.accumulation_steps=4",)),
    "l2-acc2-micro16": Case(("train.accumulation_steps=2", *rows(64, 16))),
    "l2-mrl": Case(("matryoshka={dims: [64,32,16]}",)),
    "l2-b512-micro32": Case(rows(512, 32)),
    "unroll": Case((*SIX, "train.unroll=3")),
    "unroll6": Case((*SIX, "train.unroll=6")),
    "unroll2of6-remat": Case((*SIX, "train.unroll=2", REMAT)),
    "top-layers": Case((*SIX, "train.trainable=['layers.4.*','layers.5.*']")),
    "frozen-emb": Case(("train.trainable=['layers.*','final_norm.*']",)),
    "swiglu": Case(("model.hidden_act=swiglu",)),
    "relu-rms": Case(
        (
            "model.hidden_act=relu",
            "model.norm=rmsnorm",
            "model.bias=false",
            "model.position_embedding=sinusoidal",
        )
    ),
    "rotary": Case(("model.position_embedding=rotary",)),
    "long": Case(("data.max_length={query: 128, positive: 128}", "train.batch_size=16")),
    "proj": Case(("model.projection_dim=32", "model.pooling=cls")),
    "vocab30k": Case(
        ("model.num_hidden_layers=1", "model.hidden_size=128", "tokenizer.vocab_size=30000"), 30000
    ),
    "wide": Case(
        (
            "model.hidden_size=256",
            "model.num_hidden_layers=4",
            "model.num_attention_heads=8",
            "train.batch_size=32",
            "data.max_length={query: 64, positive: 64}",
            "model.max_position_embeddings=64",
        )
    ),
    "l0": Case(BAG),
    "l0-b1024": Case((*BAG, *rows(1024))),
    "l0-b1024-nod": Case((*BAG, *DRY, *rows(1024))),
    "l0-b1024-mrl": Case((*BAG, *rows(1024), "matryoshka={dims: [64,32,16]}")),
    "l0-b1024-micro64": Case((*BAG, *rows(1024, 64))),
    "l0-b256-long": Case((*BAG, *rows(256), LONG)),
    "l0-b256-long-nod": Case((*BAG, *DRY, *rows(256), LONG)),
    "l0-b256-long-micro": Case((*BAG, *rows(256, 64), LONG)),
    "l0-acc": Case((*BAG, *rows(256), "train.accumulation_steps=4")),
    "two-losses": Case(
        (
            *BAG,
            *rows(512),
            "losses=[{kind: infonce},{kind: infonce, name: b, symmetric: false, train_temperature: true}]",
        )
    ),
    "l0-demo": Case(
        (
            "model={kind: text_encoder, hidden_size: 256, num_hidden_layers: 0, position_embedding: none}",
            "tokenizer.vocab_size=8192",
            *rows(256),
            "data.max_length={query: 48, positive: 192}",
        ),
        8192,
    ),
    "bert": Case(BERT, bert=TINY),
    "bert-nod": Case(
        (*BERT, *DRY, "model.attention_probs_dropout_prob=0"),
        bert=TINY,
    ),
    "bert-lora": Case((*BERT, LORA), bert=TINY),
    "bert-lora-drop": Case(
        (*BERT, "lora={rank: 4, dropout: 0.1, target_modules: [query, value]}"), bert=TINY
    ),
    "bert-lora-remat": Case((*BERT, LORA, REMAT), bert=TINY),
    "bert-lora-micro": Case((*BERT, LORA, *rows(64, 16)), bert=TINY),
    "lora-all": Case(
        (*BERT, "lora={rank: 8, dropout: 0, target_modules: [query, key, value, dense]}"), bert=TINY
    ),
    "head-only": Case(
        (*BERT, "model.projection_dim=32", "train.trainable=['projection.*']"), bert=TINY
    ),
    "relu": Case(BERT, bert=TINY | {"hidden_act": "relu"}),
    "gelu_new": Case(BERT, bert=TINY | {"hidden_act": "gelu_new"}),
    "silu": Case(BERT, bert=TINY | {"hidden_act": "silu"}),
    "qwen3": decoder(),
    "qwen3-wide-heads": decoder("model.attention_probs_dropout_prob=0.1", head_dim=32),
    "qwen3-remat": decoder(REMAT),
    "qwen3-lora": decoder("lora={rank: 4, dropout: 0, target_modules: [q_proj, v_proj]}"),
    "modernbert": modern(),
    "modernbert-drop": modern("model.mlp_dropout=0.1", "model.attention_probs_dropout_prob=0.1"),
    "modernbert-remat": modern(REMAT),
    "modernbert-l2": modern(num_hidden_layers=2, global_layers=(0,)),
    "modernbert-l2-remat": modern(REMAT, num_hidden_layers=2, global_layers=(0,)),
    "modernbert-l3-remat": modern(REMAT, num_hidden_layers=3, global_layers=(0,)),
    "modernbert-l6-remat": modern(REMAT, num_hidden_layers=6, global_layers=(0, 3)),
    "modernbert-lora": modern("lora={rank: 4, dropout: 0, target_modules: [Wqkv]}"),
    "bf16-l2": Case(("precision.compute=bfloat16",)),
    "bf16-l6": Case((*SIX, "precision.compute=bfloat16")),
    "gelu_new-l6": Case(
        (*BERT, *DRY), bert=TINY | {"hidden_act": "gelu_new", "num_hidden_layers": 6}
    ),
    "two-groups-of-one": Case(("optimizer.no_decay=['layers.0.*']",)),
    "clip": pair(CLIP, hidden_act="quick_gelu"),
    "siglip": pair(SIGLIP),
    "siglip-l1": pair(SIGLIP, num_hidden_layers=1),
    "siglip-l12": pair(SIGLIP, num_hidden_layers=12),
    "siglip-erf": pair(SIGLIP, hidden_act="gelu"),
    "siglip-remat": pair(SIGLIP, REMAT),
    "siglip-l2-remat": pair(SIGLIP, REMAT, num_hidden_layers=2),
    "siglip-micro": pair(SIGLIP, *rows(64, 16)),
    "siglip-lora": pair(SIGLIP, "lora={rank: 4, dropout: 0, target_modules: [q_proj, v_proj]}"),
    "siglip-frozen-text": pair(SIGLIP, "train.trainable=['image.*']"),
    "siglip2": pair(SIGLIP2),
    "siglip2-remat": pair(SIGLIP2, REMAT),
    "towers": Case(("model.towers=separate",)),
    "scores-triplet": Case(
        (*SCORES, *rows(4096), "train.score_tile_rows=4096", "losses=[{kind: triplet}]")
    ),
    "scores-siglip": Case((*SCORES, "losses=[{kind: siglip}]")),
    "scores-siglip-tiles": Case((*SCORES, "losses=[{kind: siglip}]", "train.score_tile_rows=128")),
    "scores-cosent": Case((*SCORES, "losses=[{kind: cosent}]", "data.columns={score: s}")),
    "late": Case(("losses=[{kind: colbert}]", "model.pooling=none")),
    "late-b512": Case(
        (*BAG, *rows(512), "losses=[{kind: colbert}]", "model={pooling: none, projection_dim: 32}")
    ),
    "late-whole": Case(
        (*BAG, *rows(128), *WHOLE_LATE, "losses=[{kind: colbert}]", "model.pooling=none")
    ),
    "late-micro": Case(
        (*rows(64, 16), "losses=[{kind: colbert, symmetric: true}]", "model.pooling=none")
    ),
    "late-mrl": Case(
        (*BAG, "losses=[{kind: colbert}]", "model.pooling=none", "matryoshka.dims=[64, 32]")
    ),
    "late-and-dense": Case(
        (*rows(128), "losses=[{kind: colbert}, {kind: infonce}]", "model.multi_vector.dim=32")
    ),
    "masked": language(),
    "masked-v8000": language(vocab=8000),
    "masked-tied": language("model.tie_word_embeddings=true", vocab=8000),
    "masked-tiles": language("train.score_tile_rows=8", vocab=8000),
    "masked-long": language(*rows(16), length=128, vocab=4000),
    "masked-l6": language("model.num_hidden_layers=6"),
    "masked-micro": language(*rows(64, 16), vocab=4000),
    "masked-remat": language(REMAT, "model.num_hidden_layers=6"),
    "masked-passes": language("train.accumulation_steps=2", vocab=4000),
    "masked-smooth": language(
        "losses=[{kind: masked_diffusion, label_smoothing: 0.1}]", vocab=4000
    ),
    "masked-bernoulli": language("losses=[{kind: masked_diffusion, sampling: bernoulli}]"),
    "masked-decay": language("train.dropout_schedule=decay"),
    "masked-bert": language(model=BERT, vocab=4000, bert=TINY),
    "scores-distillation": Case((*SCORES, TAUGHT)),
    "scores-distillation-mrl": Case((*SCORES, TAUGHT, "matryoshka={dims: [16, 8]}")),
    "scores-distillation-tiles": Case((*SCORES, TAUGHT, "train.score_tile_rows=128")),
    "scores-margins": Case((*SCORES, f"{TAUGHT[:-2]}, objective: margin_mse}}]")),
    "scores-squares": Case((*SCORES, f"{TAUGHT[:-2]}, objective: mse}}]")),
    "l0-b1024-tiles": Case((*BAG, *rows(1024), "train.score_tile_rows=128")),
}


@dataclass
class Facts(FakeFacts):
    """Rows that are all as long as the spec allows."""

    case: Case = PLAIN

    def tokenizer(self, source: TokenizerSource, scan: Scan) -> TokenizerPlan:
        found = super().tokenizer(source, scan)
        return replace(found, vocab_size=self.case.vocab, mask_id=1)

    def pretrained(self, directory: Path) -> Pretrained:
        found = super().pretrained(directory)
        if self.case.pair is not None:
            config = self.case.pair
            image = PretrainedImage(
                config=config.image,
                processor=processor_of(config.image),
                weights=None,
                config_input=found.config_input,
            )
            kind = config.text.kind.removesuffix("_text")
            return replace(found, config=config, model_type=kind, image=image)
        sizes = {"vocab_size": self.case.vocab, "max_position_embeddings": 128, **self.case.bert}
        return replace(found, config=replace(self.case.family, **sizes))

    def layout(
        self, *, stages: tuple[StageRequest, ...], **settings: object
    ) -> tuple[StageLayout, ...]:
        longest = (
            int(str(settings["max_query_length"])),
            int(str(settings["max_positive_length"])),
        )
        found = super().layout(stages=stages, **settings)
        return tuple(replace(x, lengths=(longest,) * len(x.lengths)) for x in found)


def processor_of(config: ImageTower) -> ImageProcessor:
    """What makes the images that a network takes."""
    if not isinstance(config, Siglip2VisionConfig):
        return uniform(config.image_size, config.image_size)
    patches = Patching(size=config.patch_size, most=config.max_num_patches)
    return replace(uniform(1, 1), size=None, patches=patches)


def plan_of(case: Case, *more: str) -> Plan:
    """The plan of a case. A BERT has a tokenizer to train, so that no file is needed."""
    compiled = compile_loaded(
        load(SPEC, overrides=[*case.settings, *more], environ={}, local={}), Facts(case=case)
    )
    assert compiled.plan is not None, [d.message for d in compiled.diagnostics]
    return compiled.plan


def recorded() -> dict[str, dict[str, int]]:
    """``peak_bytes`` and ``flops`` of every case, by XLA on a CPU (jaxlib 0.10.2)."""
    return json.loads(FIGURES.read_text("utf-8"))


def main(names: list[str]) -> None:
    """Compile every case, or those of ``names``, and write what XLA says."""
    from specrun.runtime.aot import measure

    wanted = names or list(CASES)
    found: dict[str, dict[str, int]] = recorded() if names else {}
    for name, case in CASES.items():
        if name not in wanted:
            continue
        [figures] = measure(plan_of(case)).functions
        found[name] = {"peak_bytes": figures.peak_bytes, "flops": figures.flops}
        print(name, found[name], figures.ratio, flush=True)
        FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
