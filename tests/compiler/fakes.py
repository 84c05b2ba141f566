"""Facts and reports made by hand, so that passes are tested without files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from specrun.compiler.facts import Peek, Pretrained, StageLayout, StageRequest, Start
from specrun.runtime.models.tables import rows
from specrun.spec.plan.data import (
    BadRows,
    FieldRange,
    HeldOut,
    Input,
    Prompts,
    Scan,
    Source,
    TokenizerPlan,
    TokenizerSource,
)
from specrun.spec.plan.losses import TeacherPlan
from specrun.spec.plan.model import AdapterStart, ModelPlan, StartPlan
from specrun.spec.plan.networks import BertConfig, EncoderConfig
from specrun.spec.plan.parameters import TableRow

TINY_BERT = BertConfig(
    vocab_size=100,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=32,
    hidden_act="gelu",
    max_position_embeddings=64,
    type_vocab_size=2,
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
    layer_norm_eps=1e-12,
    initializer_range=0.02,
    pooling="mean",
    projection_dim=None,
)


@dataclass
class ListReport:
    """Findings as (severity, path, code) in the order they came."""

    found: list[tuple[str, str, str]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def error(self, path: str, code: str, message: str, *, hint: str = "") -> None:
        self.found.append(("error", path, code))
        self.messages.append(f"{message} ({hint})")

    def warning(self, path: str, code: str, message: str, *, hint: str = "") -> None:
        self.found.append(("warning", path, code))
        self.messages.append(f"{message} ({hint})")


@dataclass
class FakeFacts:
    """1000 training rows of which a selection takes half; lengths rise with the step."""

    training_rows: int = 1000
    validation_rows: int = 100
    bad: tuple[BadRows, ...] = ()
    started: EncoderConfig = TINY_BERT
    start_tokenizer: str = "sha256:3"

    def pretrained(self, directory: Path) -> Pretrained:
        return Pretrained(
            config=TINY_BERT,
            model_type="bert",
            max_length=32,
            tokenizer=directory / "tokenizer.json",
            weights=None,
            config_input=Input(role="config", path=str(directory), digest="sha256:0", bytes=1),
            prompts=Prompts(),
            pools_prompts=True,
        )

    def start(self, directory: Path) -> Start:
        config = self.started
        return Start(
            plan=StartPlan(
                run=str(directory),
                name="before",
                which="best",
                step=7,
                file=Input(role="init_from", path=str(directory), digest="sha256:5", bytes=1),
                parameters_sha256="6" * 64,
                identity="sha256:7",
            ),
            config=config,
            towers="shared",
            shapes={row.path: row.shape for row in rows(config)},
            tokenizer=directory / "tokenizer.json",
            tokenizer_digest=self.start_tokenizer,
        )

    def teacher(
        self, kind: Literal["pretrained", "run"], directory: Path, max_length: int | None
    ) -> TeacherPlan:
        longest = min(32, max_length or 32)
        return TeacherPlan(
            kind=kind,
            folder=str(directory),
            which="best" if kind == "run" else None,
            files=(Input(role="weights", path=str(directory), digest="sha256:8", bytes=1),),
            config=TINY_BERT,
            width=16,
            max_query_length=longest,
            max_positive_length=longest,
            weight_bytes=1000,
        )

    def adapter(self, directory: Path, model: ModelPlan) -> AdapterStart:
        assert model.lora is not None
        file = Input(role="adapter", path=str(directory), digest="sha256:8", bytes=1)
        return AdapterStart(folder=str(directory), base="base", files=(file,))

    def slow_bfloat16(self, platform: str) -> str:
        return "" if platform == "gpu" else "it is widened"

    def table(self, config: EncoderConfig) -> tuple[TableRow, ...]:
        return tuple(rows(config))

    def peek(self, source: Source, held_out: HeldOut | None) -> Peek:
        return Peek(fields=("positive_chars",), problems=())

    def scan(self, source: Source, held_out: HeldOut | None, bad_rows: str) -> Scan:
        return Scan(
            inputs=(Input(role="data", path="/data", digest="sha256:1", bytes=10),),
            rows_digest="sha256:2",
            rows_read=self.training_rows + self.validation_rows + 5,
            bad=self.bad,
            duplicates=3,
            dropped_by_split=2,
            training_rows=self.training_rows,
            validation_rows=self.validation_rows if held_out else 0,
            fields=(FieldRange(name="positive_chars", count=1000, minimum=10.0, maximum=900.0),),
            scores=5 if getattr(source, "score", None) else 0,
        )

    def tokenizer(self, source: TokenizerSource, scan: Scan) -> TokenizerPlan:
        return TokenizerPlan(source=source, digest="sha256:3", vocab_size=90, pad_id=0)

    def layout(
        self, *, stages: tuple[StageRequest, ...], **settings: object
    ) -> tuple[StageLayout, ...]:
        per_step = int(str(settings["batch_size"])) * int(str(settings["accumulation_steps"]))
        found: list[StageLayout] = []
        for stage in stages:
            rows_ = self.training_rows // (2 if stage.selection else 1)
            steps = rows_ // per_step if settings["drop_last"] else -(-rows_ // per_step)
            lengths = tuple(
                (
                    min(5 + s % 7, int(str(settings["max_query_length"]))),
                    min(20 + s % 40, int(str(settings["max_positive_length"]))),
                )
                for s in range(steps * stage.epochs)
            )
            found.append(StageLayout(rows=rows_, steps_per_epoch=steps, lengths=lengths))
        return tuple(found)
