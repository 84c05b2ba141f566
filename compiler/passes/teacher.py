"""The pass for a frozen teacher: where it lies and what it is."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.draft import Context, Draft
from specrun.compiler.passes.outside import frozen, is_own
from specrun.spec.words.losses import DistillationLoss
from specrun.spec.words.teachers import PretrainedTeacher, Teacher


def place_teacher(draft: Draft, context: Context) -> Draft:
    """The teacher that losses name, inspected; the checks of meaning hold it to be one."""
    for index, loss in enumerate(draft.spec.losses):
        if isinstance(loss, DistillationLoss) and loss.teacher is not None:
            return _placed(draft, loss.teacher, f"losses[{index}].teacher", context)
    return draft


def _placed(draft: Draft, teacher: Teacher, at: str, context: Context) -> Draft:
    found = frozen(teacher, at, "teacher", context.facts.teacher, context)
    if found is None:
        return draft
    if is_own(found.folder, draft):
        context.report.error(
            f"{at}.{'name_or_path' if isinstance(teacher, PretrainedTeacher) else 'run'}",
            "own-folder",
            f"{found.folder} is the folder that this run itself writes to",
            hint="give the run another name or output_dir",
        )
    return replace(draft, teacher=found)
