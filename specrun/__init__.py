"""specrun: one YAML spec, compiled into an immutable plan, run as pure functions on JAX.

    specrun.check("spec.yaml")             every mistake, with its place and its mend
    specrun.compile("spec.yaml")           the plan, or InputError with every mistake
    specrun.run(plan)                      train, evaluate, resume
    specrun.Trainer("models/x").train(…)   the same with keywords instead of a file
    specrun.Predictor("runs/name")         embeddings from a run or a Hugging Face directory

Names are imported on first use, so that ``import specrun`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specrun.api import check, compile, run
    from specrun.runtime.predict.predictor import Predictor
    from specrun.spec.diagnostics import Diagnostic, InputError, RunError, SpecrunError
    from specrun.spec.plan.file import read_plan, write_plan
    from specrun.spec.plan.plan import Plan
    from specrun.trainer import Trainer

__all__ = [
    "Diagnostic",
    "InputError",
    "Plan",
    "Predictor",
    "RunError",
    "SpecrunError",
    "Trainer",
    "check",
    "compile",
    "read_plan",
    "run",
    "write_plan",
]

_HOME = {
    "Diagnostic": "specrun.spec.diagnostics",
    "InputError": "specrun.spec.diagnostics",
    "Plan": "specrun.spec.plan.plan",
    "Predictor": "specrun.runtime.predict.predictor",
    "RunError": "specrun.spec.diagnostics",
    "SpecrunError": "specrun.spec.diagnostics",
    "Trainer": "specrun.trainer",
    "check": "specrun.api",
    "compile": "specrun.api",
    "read_plan": "specrun.spec.plan.file",
    "run": "specrun.api",
    "write_plan": "specrun.spec.plan.file",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'specrun' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
