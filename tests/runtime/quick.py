"""Compiling without LLVM's optimisations, for tests that look at numbers of tiny arrays: it is most of their time.

Programs and runs are compiled as users have them in the tests of those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import pytest

from specrun.runtime.program import settings

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def quick(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under ``jax.jit``; not to be called within another that is compiled."""
    return jax.jit(function, compiler_options=QUICK)


def compile_quickly(patch: pytest.MonkeyPatch) -> None:
    """Programs are compiled so while ``patch`` holds, besides what their plans ask for."""
    theirs = settings.compiler_options

    def options(*given: Any) -> dict[str, Any]:
        return theirs(*given) | QUICK

    patch.setattr(settings, "compiler_options", options)
