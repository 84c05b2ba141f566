"""What the compiler must be told from outside: a protocol that the front door fills with jax-free readers.

The compiler never imports the runtime. Whatever needs files, tokenizers or architecture tables comes through
``Facts``; tests hand in small fakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from specrun.spec.record import record

if TYPE_CHECKING:
    from specrun.spec.plan.data import (
        HeldOut,
        Input,
        Prompts,
        RetrievalMode,
        Scan,
        Source,
        TokenizerPlan,
        TokenizerSource,
    )
    from specrun.spec.plan.difficulty import DifficultySettings, Scored
    from specrun.spec.plan.images import ImageProcessor
    from specrun.spec.plan.losses import TeacherPlan
    from specrun.spec.plan.model import AdapterStart, ModelPlan, StartPlan, WeightsPlan
    from specrun.spec.plan.networks import (
        EncoderConfig,
        NetworkConfig,
        PretrainedConfig,
        TextImageConfig,
    )
    from specrun.spec.plan.parameters import TableRow
    from specrun.spec.plan.segments import Selection
    from specrun.spec.plan.sides import Towers
    from specrun.spec.plan.towers import ImageTower


@record
class Pretrained:
    """A Hugging Face directory as the compiler sees it. ``weights`` is None when only the configuration is there.

    ``model_type`` is config.json's, which decided the family of ``config``. ``pools_prompts`` is false where a prompt's
    tokens would be left out of the pooling. ``lowercase``: the tokenizer's class lower-cases texts. ``vocabulary_head``:
    what is wrong with the head that scores ids, often nothing; None where the weights have none.
    """

    config: PretrainedConfig | TextImageConfig
    model_type: str
    max_length: int | None
    tokenizer: Path | None
    weights: WeightsPlan | None
    config_input: Input
    prompts: Prompts
    pools_prompts: bool
    image: PretrainedImage | None = None
    lowercase: bool = False
    vocabulary_head: tuple[str, ...] | None = None


@record
class PretrainedImage:
    """The image network of a Hugging Face directory: all that it holds, or half of a model of texts and images."""

    config: ImageTower
    processor: ImageProcessor
    weights: WeightsPlan | None
    config_input: Input


@record
class Start:
    """A run that parameters may start from. ``shapes`` are by logical path, adapters merged, losses left out."""

    plan: StartPlan
    config: EncoderConfig
    towers: Towers
    shapes: Mapping[str, tuple[int, ...]]
    tokenizer: Path
    tokenizer_digest: str


@record
class StageRequest:
    """What the layout of a stage depends on; ``epochs`` is how many are laid out, ``mined`` whether its
    negatives are, ``pseudo`` the ratio and the most of the texts that the model adds to its rows."""

    selection: Selection | None
    epochs: int
    transition_epochs: int = 0
    mined: bool = False
    pseudo: tuple[float, int] | None = None


@record
class StageLayout:
    """Rows selected, those that the model adds to them, steps of an epoch, and for every step the padded lengths it needs: (query, positive) tokens."""

    rows: int
    steps_per_epoch: int
    lengths: tuple[tuple[int, int], ...]
    pseudo: int = 0


@record
class Peek:
    """The first rows of the data, for ``check``: numeric fields seen, and problems as (code, spec path, message, hint)."""

    fields: tuple[str, ...]
    problems: tuple[tuple[str, str, str, str], ...]


class Facts(Protocol):
    """Everything from outside that a plan depends on. Methods raise InputError with a message for the user."""

    def pretrained(self, directory: Path) -> Pretrained: ...
    def pretrained_image(self, directory: Path) -> PretrainedImage: ...
    def start(self, directory: Path) -> Start: ...
    def font(self, name: str) -> Path: ...
    def teacher(
        self, kind: Literal["pretrained", "run"], directory: Path, max_length: int | None
    ) -> TeacherPlan: ...
    def encoder(
        self, kind: Literal["pretrained", "run"], directory: Path, max_length: int | None
    ) -> TeacherPlan: ...
    def adapter(self, directory: Path, model: ModelPlan) -> AdapterStart: ...
    def slow_bfloat16(self, platform: str) -> str: ...
    def table(self, config: NetworkConfig) -> tuple[TableRow, ...]: ...
    def peek(self, source: Source, held_out: HeldOut | None) -> Peek: ...
    def scan(self, source: Source, held_out: HeldOut | None, bad_rows: str) -> Scan: ...
    def difficulty(
        self, scan: Scan, settings: DifficultySettings, easy_below: float, hard_above: float
    ) -> Scored: ...
    def tokenizer(self, source: TokenizerSource, scan: Scan) -> TokenizerPlan: ...
    def layout(
        self,
        *,
        scan: Scan,
        tokenizer: TokenizerPlan,
        max_query_length: int,
        max_positive_length: int,
        seed: int,
        batch_size: int,
        accumulation_steps: int,
        drop_last: bool,
        mode: RetrievalMode,
        scores: str | None,
        stages: tuple[StageRequest, ...],
    ) -> tuple[StageLayout, ...]: ...
