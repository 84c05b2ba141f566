"""The typed spec: every section a user may write. The words of each are in ``spec/words``.

The two are the one source. The JSON Schemas in ``schemas/``, completion and hovers in the editor, defaults,
checks and ``specrun explain`` are all made from them. A union is closed and told apart by ``kind``.
"""

from dataclasses import field
from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record
from specrun.spec.words.curriculum import Curriculum
from specrun.spec.words.data import Data
from specrun.spec.words.evaluation import Evaluation
from specrun.spec.words.generation import Generation
from specrun.spec.words.lora import Lora
from specrun.spec.words.losses import Loss
from specrun.spec.words.matryoshka import Matryoshka
from specrun.spec.words.model import Model
from specrun.spec.words.optimizer import AdamW, ConstantSchedule, Optimizer, Schedule
from specrun.spec.words.tokenizer import Tokenizer
from specrun.spec.words.tracking import Tracking
from specrun.spec.words.train import Checkpoint, Hardware, Precision, Train


@record
class Experiment:
    """A specrun spec: what to train, on what, and how."""

    version: Annotated[Literal[1], Fact(doc="Version of the spec's language.", klass="cosmetic")]
    name: Annotated[
        str, Fact(doc="Name of the run.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", klass="cosmetic")
    ] = "run"
    extends: Annotated[
        tuple[str, ...] | None,
        Fact(
            doc="Presets by name, or YAML files by path, merged in order below this file. Null is the preset that the model's name stands for (clip, siglip, qwen3), where it has one; [] is none.",
            unique=True,
            klass="cosmetic",
            examples=(("search_small",), ()),
        ),
    ] = None
    seed: Annotated[
        int, Fact(doc="Seed of initialisation, shuffling and dropout.", ge=0, le=2**32 - 1)
    ] = 0
    output_dir: Annotated[
        str | None,
        Fact(
            doc="Folder of the run, relative to the working directory; null is runs/NAME.",
            klass="cosmetic",
            examples=("runs/first",),
        ),
    ] = None
    model: Annotated[Model, Fact(doc="The network.")]
    init_from: Annotated[
        str | None,
        Fact(
            doc="Run whose parameters the model starts from, with a new optimizer: its folder (best/, or final/ of a run without evaluations), or its best/ or final/; relative to the working directory, as output_dir is, or a name in specrun.local.yaml. Its adapters are merged. Null starts from the seed or the pretrained weights.",
            examples=("runs/baseline",),
        ),
    ] = None
    tokenizer: Annotated[
        Tokenizer | None,
        Fact(
            doc="The tokenizer; null is that of the run in init_from, or the pretrained model's own."
        ),
    ] = None
    data: Annotated[Data, Fact(doc="The rows.")]
    losses: Annotated[
        tuple[Loss, ...], Fact(doc="Loss terms; their weighted sum is minimised.", min_items=1)
    ]
    lora: Annotated[Lora | None, Fact(doc="Low-rank adapters; null is none.")] = None
    matryoshka: Annotated[
        Matryoshka | None,
        Fact(doc="Losses over prefixes of the embedding; null is the whole width only."),
    ] = None
    curriculum: Annotated[
        Curriculum | None, Fact(doc="Stages; null is one stage over all rows.")
    ] = None
    train: Annotated[Train, Fact(doc="Length, batches and memory.")] = field(default_factory=Train)
    optimizer: Annotated[Optimizer, Fact(doc="The optimizer.")] = field(default_factory=AdamW)
    schedule: Annotated[Schedule, Fact(doc="The learning rate over the steps.")] = field(
        default_factory=ConstantSchedule
    )
    precision: Annotated[Precision, Fact(doc="Number formats.")] = field(default_factory=Precision)
    evaluation: Annotated[
        Evaluation | None, Fact(doc="Retrieval metrics on held-out rows; null is none.")
    ] = None
    checkpoint: Annotated[Checkpoint, Fact(doc="Saving.")] = field(default_factory=Checkpoint)
    tracking: Annotated[
        tuple[Tracking, ...],
        Fact(
            doc="Where metrics go besides metrics.jsonl; each kind once. A tracker that fails never stops the run.",
            klass="cosmetic",
        ),
    ] = ()
    generation: Annotated[
        Generation | None,
        Fact(
            doc="How texts are written by a model that predicts tokens; null is what the section's keys are without it.",
            klass="cosmetic",
        ),
    ] = None
    hardware: Annotated[Hardware, Fact(doc="Where it runs.")] = field(default_factory=Hardware)
