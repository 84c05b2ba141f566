"""What lies outside the spec: a frozen network that it names, and what is told when something cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from specrun.compiler.draft import Context, Draft
from specrun.compiler.locate import locate_model
from specrun.spec.diagnostics import InputError
from specrun.spec.words.difficulty import Embedding, PretrainedEmbedding
from specrun.spec.words.teachers import PretrainedTeacher, Teacher

if TYPE_CHECKING:
    from specrun.spec.plan.losses import TeacherPlan

Inspect = Callable[[Literal["pretrained", "run"], Path, int | None], "TeacherPlan"]


def tell(error: InputError, path: str, context: Context, most: int | None = None) -> None:
    """Report at ``path`` what was found outside, with its file, ``most`` findings of it at most."""
    for d in error.diagnostics[:most]:
        where = f" ({d.file})" if d.file and d.file not in d.message else ""
        context.report.error(path, d.code, d.message + where, hint=d.hint)


def is_own(folder: str, draft: Draft) -> bool:
    """Whether a folder is the one that this run itself writes to."""
    return os.path.realpath(draft.output_dir) == os.path.realpath(folder)


def frozen(
    words: Teacher | Embedding, at: str, called: str, inspect: Inspect, context: Context
) -> TeacherPlan | None:
    """The frozen network that the section ``at`` names, inspected; None, told, where it cannot be used.

    ``called`` is what messages call it.
    """
    path, folder = _named(words, at, called, context)
    if folder is None:
        return None
    try:
        found = inspect(words.kind, folder.absolute(), words.max_length)
    except InputError as error:
        tell(error, path, context)
        return None
    longest = max(found.max_query_length, found.max_positive_length)
    if words.max_length is not None and words.max_length > longest:
        context.report.error(
            f"{at}.max_length",
            "too-long",
            f"{words.max_length} tokens, but the {called} was made for {longest}",
            hint=f"at most {longest}; null takes all it was made for",
        )
    return found


def _named(
    words: Teacher | Embedding, at: str, called: str, context: Context
) -> tuple[str, Path | None]:
    """The path of the name, and the folder that it means."""
    if not isinstance(words, PretrainedTeacher | PretrainedEmbedding):
        return f"{at}.run", context.local.get(words.run) or Path(words.run).expanduser()
    path, name = f"{at}.name_or_path", words.name_or_path
    folder = locate_model(name, context.folder, context.local)
    if folder is None:
        context.report.error(
            path,
            "model-not-found",
            f"no {called} {name!r}: it is no directory, no name in specrun.local.yaml, and not in the Hugging Face cache",
            hint="download it first (`hf download NAME`), or map the name to a directory in specrun.local.yaml",
        )
    return path, folder
