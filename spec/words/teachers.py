"""Frozen models that a distillation takes its similarities from."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class PretrainedTeacher:
    """A model in a Hugging Face or sentence-transformers directory."""

    kind: Annotated[
        Literal["pretrained"],
        Fact(doc="A model in a Hugging Face or sentence-transformers directory."),
    ] = "pretrained"
    name_or_path: Annotated[
        str,
        Fact(
            doc="Directory, name in specrun.local.yaml, or name in the Hugging Face cache.",
            examples=("models/all-MiniLM-L6-v2",),
        ),
    ]
    max_length: Annotated[
        int | None,
        Fact(
            doc="Tokens of the teacher's own tokenizer kept of a text; null is what the directory says.",
            ge=2,
            le=1048576,
            unit="tokens",
        ),
    ] = None


@record
class RunTeacher:
    """A model that specrun trained."""

    kind: Annotated[Literal["run"], Fact(doc="A model that specrun trained.")] = "run"
    run: Annotated[
        str,
        Fact(
            doc="The run's folder (best/, or final/ of a run without evaluations), or its best/ or final/; relative to the working directory, or a name in specrun.local.yaml.",
            examples=("runs/big",),
        ),
    ]
    max_length: Annotated[
        int | None,
        Fact(
            doc="Tokens of the teacher's own tokenizer kept of a text; null is what the run kept of queries and of positives.",
            ge=2,
            le=1048576,
            unit="tokens",
        ),
    ] = None


Teacher = PretrainedTeacher | RunTeacher
