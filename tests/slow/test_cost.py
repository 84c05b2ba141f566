"""The arithmetic of cost against XLA on this machine, for every recorded shape."""

from __future__ import annotations

import pytest

from specrun.runtime.aot import measure
from tests.compiler.costs import CASES, plan_of, recorded

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", recorded())
def test_xla_still_says_what_is_recorded(name: str) -> None:
    """``python -m tests.compiler.costs`` records anew, when a version of jax changes what it does."""
    [figures] = measure(plan_of(CASES[name])).functions
    assert figures.peak_bytes == pytest.approx(recorded()[name]["peak_bytes"], rel=0.1)
    assert figures.flops == pytest.approx(recorded()[name]["flops"], rel=0.1)
    assert 0.9 <= figures.ratio["peak_bytes"] <= 1.25
