"""What a teacher is, and whether it still is that. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Literal

from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.models import directory
from specrun.runtime.models.start import inspect_run
from specrun.runtime.models.tables import rows
from specrun.runtime.weights.files import digest
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.file import read_plan
from specrun.spec.plan.losses import TeacherPlan, teacher_of
from specrun.spec.plan.networks import TextConfig, TextImageConfig
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.sides import Side

ROLE = "teacher"
FLOAT = 4

Kind = Literal["pretrained", "run"]


def inspect_teacher(
    kind: Kind, folder: Path, max_length: int | None, role: str = ROLE
) -> TeacherPlan:
    """Read the teacher in ``folder`` and digest its files; ``max_length`` cuts its texts shorter.

    ``role`` is what messages and the plan's inputs call it.

    InputError when it is not what ``kind`` says, lacks its tokenizer or weights, or is damaged.
    """
    read = _pretrained if kind == "pretrained" else _run
    return read(folder, max_length, role)


def verify_teacher(plan: Plan) -> None:
    """InputError when the plan's teacher changed, or is gone, since the plan was compiled."""
    teacher = teacher_of(plan.losses)
    if teacher is None:
        return
    folder = Path(teacher.folder)
    place = folder if teacher.which is None else folder / teacher.which
    now = inspect_teacher(teacher.kind, place, None)
    if _contents(now) != _contents(teacher):
        raise InputError(
            [
                Diagnostic(
                    code="input-changed",
                    message=f"the teacher in {teacher.folder} changed after the plan was compiled",
                    path="losses",
                    hint="compile the spec again, or restore the folder",
                )
            ]
        )


def _contents(teacher: TeacherPlan) -> object:
    return to_plain(teacher.config), [file.digest for file in teacher.files]


def _pretrained(folder: Path, max_length: int | None, role: str) -> TeacherPlan:
    found = directory.inspect(folder)
    if found.weights is None:
        raise InputError(
            f"the {role} {folder} holds a configuration and no weights",
            code="weights-missing",
            hint="download the weights into the directory",
        )
    if found.tokenizer is None:
        raise InputError(
            f"the {role} {folder} holds no tokenizer.json",
            code="tokenizer-missing",
            hint="save the tokenizer with transformers' save_pretrained, which writes it",
        )
    config = _of_text(found.config, folder, role)
    longest = found.max_length or config.longest
    own = found.config_input
    return TeacherPlan(
        kind="pretrained",
        folder=str(folder.resolve()),
        which=None,
        files=(own, digest(found.tokenizer, role), *found.weights.files),
        config=config,
        width=_width(config),
        **_lengths({"query": longest, "positive": longest}, max_length),
        weight_bytes=_bytes(config, 1),
    )


def _run(folder: Path, max_length: int | None, role: str) -> TeacherPlan:
    found = inspect_run(folder)
    run = RunFolder(Path(found.plan.run))
    plan = read_plan(run.plan)
    config = _of_text(found.model.config, folder, role)
    data, towers = plan.data, 2 if found.model.towers == "separate" else 1
    longest: dict[Side, int] = {
        "query": data.max_query_length,
        "positive": data.max_positive_length,
    }
    return TeacherPlan(
        kind="run",
        folder=str(run.root),
        which=found.plan.which,
        files=(digest(run.plan, role), digest(run.tokenizer, role), found.plan.file),
        config=config,
        width=found.model.embedding_dim,
        **_lengths(longest, max_length),
        weight_bytes=_bytes(config, towers),
    )


def _of_text(config: TextConfig | TextImageConfig, folder: Path, role: str) -> TextConfig:
    """The configuration of one network of texts. InputError for two networks, one of images."""
    if isinstance(config, TextImageConfig):
        raise InputError(
            f"the {role} {folder} is a model of texts and images, and this takes text encoders alone",
            code="teacher-of-images",
            hint="name a text encoder",
        )
    return config


def _lengths(longest: Mapping[Side, int], max_length: int | None) -> dict[str, int]:
    """The tokens kept of each side: the teacher's own, or fewer."""
    kept = {side: min(own, max_length or own) for side, own in longest.items()}
    return {"max_query_length": kept["query"], "max_positive_length": kept["positive"]}


def _width(config: TextConfig) -> int:
    return config.projection_dim or config.hidden_size


def _bytes(config: TextConfig, towers: int) -> int:
    return towers * FLOAT * sum(prod(row.shape) for row in rows(config))
