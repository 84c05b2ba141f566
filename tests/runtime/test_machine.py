"""Whether bfloat16 is worth its while here."""

from __future__ import annotations

from pathlib import Path

import pytest

from specrun.runtime import machine


@pytest.mark.parametrize(
    ("text", "slow"),
    [
        ("model name\t: x\nflags\t\t: fpu avx2 fma\n", True),
        ("model name\t: x\nflags\t\t: fpu avx2 avx512_bf16\n", False),
        ("Features\t: fp asimd bf16\n", False),
        ("Features\t: fp asimd\n", True),
        ("nothing known\n", False),
    ],
)
def test_a_cpu_is_slow_when_it_says_that_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, slow: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "_CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "_GPU", tmp_path / "none")
    assert bool(machine.slow_bfloat16("cpu")) == bool(machine.slow_bfloat16("auto")) == slow
    assert machine.slow_bfloat16("gpu") == ""
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(machine, "_GPU", tmp_path / "nvidia0")
    assert machine.slow_bfloat16("auto") == ""
    monkeypatch.setattr(machine, "_CPU", tmp_path / "gone")
    assert machine.slow_bfloat16("cpu") == ""
