"""BERT and RoBERTa with their own heads write too, between the special tokens that their tokenizers put around a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import specrun
from tests.front.test_masked_heads import write


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_family_with_its_own_head_writes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    spec = write(tmp_path, kind)
    specrun.run(specrun.compile(spec, environ={}))
    predictor = specrun.Predictor("runs/tiny")
    [[whole]] = predictor.complete(["open"], max_length=8, steps=3)
    [[some]] = predictor.complete(["open [MASK] tree"], steps=3)
    first, last = whole.ids[0], whole.ids[-1]
    special = predictor.trained.tokenizer.special_ids()
    for text in (whole, some):
        assert (text.ids[0], text.ids[-1]) == (first, last)
        assert not np.isin(text.ids[text.filled >= 0], special).any()
    assert (len(whole.ids), len(some.ids)) == (8, 5)
    assert (some.filled >= 0).tolist() == [False, False, True, False, False]
    assert predictor.generate(["open"], max_length=8, steps=3) == [[whole.text]]


def test_a_directory_that_no_run_has_trained_is_told(tmp_path: Path) -> None:
    write(tmp_path, "bert")
    with pytest.raises(specrun.InputError, match="is no run's folder") as caught:
        specrun.Predictor(tmp_path / "model").generate(["open [MASK] tree"])
    assert caught.value.diagnostics[0].code == "no-run"
    assert "masked_diffusion" in caught.value.diagnostics[0].hint
