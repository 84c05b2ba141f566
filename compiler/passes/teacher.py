"""The pass for a frozen teacher: where it lies and what it is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from specrun.compiler.draft import Context, Draft
from specrun.compiler.locate import locate_model
from specrun.spec.diagnostics import InputError
from specrun.spec.words.losses import DistillationLoss
from specrun.spec.words.teachers import PretrainedTeacher, Teacher


def place_teacher(draft: Draft, context: Context) -> Draft:
    """The teacher that losses name, inspected; the checks of meaning hold it to be one."""
    for index, loss in enumerate(draft.spec.losses):
        if isinstance(loss, DistillationLoss) and loss.teacher is not None:
            return _placed(draft, loss.teacher, f"losses[{index}].teacher", context)
    return draft


def _placed(draft: Draft, teacher: Teacher, path: str, context: Context) -> Draft:
    pretrained = isinstance(teacher, PretrainedTeacher)
    path = f"{path}.{'name_or_path' if pretrained else 'run'}"
    folder = _folder(teacher, context)
    if folder is None:
        name = teacher.name_or_path if pretrained else teacher.run
        context.report.error(
            path,
            "model-not-found",
            f"no teacher {name!r}: it is no directory, no name in specrun.local.yaml, and not in the Hugging Face cache",
            hint="download it first (`hf download NAME`), or map the name to a directory in specrun.local.yaml",
        )
        return draft
    try:
        found = context.facts.teacher(teacher.kind, folder.absolute(), teacher.max_length)
    except InputError as error:
        for d in error.diagnostics:
            where = f" ({d.file})" if d.file and d.file not in d.message else ""
            context.report.error(path, d.code, d.message + where, hint=d.hint)
        return draft
    own = draft.spec.output_dir or f"runs/{draft.spec.name}"
    if os.path.realpath(own) == os.path.realpath(found.folder):
        context.report.error(
            path,
            "own-folder",
            f"{found.folder} is the folder that this run itself writes to",
            hint="give the run another name or output_dir",
        )
    longest = max(found.max_query_length, found.max_positive_length)
    if teacher.max_length is not None and teacher.max_length > longest:
        context.report.error(
            path.rpartition(".")[0] + ".max_length",
            "too-long",
            f"{teacher.max_length} tokens, but the teacher was made for {longest}",
            hint=f"at most {longest}; null takes all it was made for",
        )
    return replace(draft, teacher=found)


def _folder(teacher: Teacher, context: Context) -> Path | None:
    if isinstance(teacher, PretrainedTeacher):
        return locate_model(teacher.name_or_path, context.folder, context.local)
    return context.local.get(teacher.run) or Path(teacher.run).expanduser()
