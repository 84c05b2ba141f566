"""Texts from a run's folder by `Predictor.generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun import Predictor
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.plan import Plan
from tests.runtime.folders import make_run
from tests.runtime.generate.folders import (
    SPECIAL,
    WORDS,
    broken_parameters,
    make_text_run,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_text_run(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor(folder)


def test_a_text_begins_with_its_prompt(predictor: Predictor) -> None:
    [[text]] = predictor.generate(["the red"])
    assert text.startswith("the red")
    assert len(text) > len("the red")
    assert not any(name in text for name in SPECIAL)


def test_infilling_touches_only_marks(predictor: Predictor) -> None:
    [row] = predictor.complete(["the [MASK] of a [MASK] and"], steps=3)[0]
    assert row.text.startswith("the")
    assert row.filled[[0, 1, 3, 4, 6]].tolist() == [-1] * 5
    assert (row.filled[[2, 5]] >= 0).all()
    assert row.ids[[0, 1, 3, 4, 6]].tolist() == [2, 11, 12, 13, 14]
    assert len(row.ids) == 7


def test_texts_have_the_length(predictor: Predictor) -> None:
    for length in (5, 32):
        [[row]] = predictor.complete(["the"], max_length=length)
        assert len(row.ids) == length


def test_a_seed_gives_its_text_again(folder: Path, predictor: Predictor) -> None:
    options: dict[str, Any] = {"num_return_sequences": 3, "temperature": 2.0}
    first = predictor.generate(["the", "a red"], seed=5, **options)
    assert Predictor(folder).generate(["the", "a red"], seed=5, **options) == first
    other = predictor.generate(["the", "a red"], seed=6, **options)
    assert all(a != b for x, y in zip(first, other, strict=True) for a, b in zip(x, y, strict=True))
    assert len({text for texts in first for text in texts}) == 6


def test_a_text_does_not_depend_on_other_prompts(predictor: Predictor) -> None:
    prompts = ["the", "one [MASK] two", "a red", "blue"]
    together = predictor.generate(prompts, temperature=1.5)
    for prompt, texts in zip(prompts, together, strict=True):
        assert predictor.generate([prompt], temperature=1.5) == [texts]
    assert predictor.generate(prompts, temperature=1.5, batch_size=2) == together


def test_equal_prompts_are_one_of_more_texts(predictor: Predictor) -> None:
    [one] = predictor.generate(["the"], num_return_sequences=2, temperature=2.0)
    assert predictor.generate(["the", "the"], temperature=2.0) == [[one[0]], [one[1]]]
    assert one[0] != one[1]


def test_calls_of_one_shape_are_one_trace(folder: Path) -> None:
    predictor = Predictor(folder)
    for temperature, steps in ((0.5, 4), (1.0, 30)):
        predictor.generate(["the red", "a"], temperature=temperature, steps=steps)
    assert predictor.generator.filler.traces() == 1
    predictor.generate(["the red", "a"], top_k=5)
    assert predictor.generator.filler.traces() == 2


def test_a_style_is_written_more(predictor: Predictor) -> None:
    def share(**options: Any) -> float:
        texts = predictor.complete(
            ["the"], num_return_sequences=32, max_length=12, batch_size=32, **options
        )[0]
        ids = np.concatenate([t.ids[2:] for t in texts])
        return float(np.isin(ids, [5 + WORDS.index("red"), 5 + WORDS.index("blue")]).mean())

    plain, styled, more = (
        share(),
        share(style="red blue"),
        share(style="red blue", style_strength=3),
    )
    assert plain < styled < more


def test_the_plans_settings_hold_where_nothing_is_said(tmp_path: Path) -> None:
    parts = {"max_length": 9, "num_return_sequences": 2, "temperature": 0.0, "steps": 1}
    plan = make_text_run(tmp_path, parameters=None, **parts)
    own = Predictor(tmp_path)
    assert plan.generation is not None
    found = own.complete(["the"])[0]
    assert [len(row.ids) for row in found] == [9, 9]
    assert found[0].text == found[1].text  # temperature 0
    assert set(found[0].filled[2:].tolist()) == {0}  # one step
    assert len(own.complete(["the"], num_return_sequences=1)[0]) == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"steps": 0}, "bad-option"),
        ({"max_length": 33}, "bad-option"),
        ({"seed": -1}, "bad-option"),
        ({"batch_size": 0}, "bad-option"),
        ({"heat": 1}, "unknown-option"),
        ({"style": "[PAD]"}, "bad-option"),
        ({"style_strength": 3.0}, "bad-option"),
    ],
)
def test_bad_options_are_told(predictor: Predictor, options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        predictor.generate(["the"], **options)
    assert caught.value.diagnostics[0].code == code


def test_no_prompts_are_no_texts(predictor: Predictor) -> None:
    assert predictor.generate([]) == []


def test_a_model_that_predicts_no_tokens_is_told(tmp_path: Path) -> None:
    make_run(tmp_path)
    with pytest.raises(InputError, match="predicts no tokens") as caught:
        Predictor(tmp_path).generate(["the"])
    assert caught.value.diagnostics[0].code == "no-vocabulary-head"


def test_parameters_that_are_not_finite_are_told(tmp_path: Path) -> None:
    plan: Plan = make_text_run(tmp_path)
    make_text_run(tmp_path / "broken", parameters=broken_parameters(plan))
    with pytest.raises(InputError, match="not finite") as caught:
        Predictor(tmp_path / "broken").generate(["the"])
    assert caught.value.diagnostics[0].code == "not-finite"


def test_an_interruption_leaves_it_usable(predictor: Predictor) -> None:
    heard = []

    def stop(job: str, done: int, total: int) -> None:
        heard.append(done)
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor.generate(["the"], steps=40, temperature=1.0, tell=stop)
    assert 0 < heard[-1] < 40
    assert predictor.generate(["the"]) == predictor.generate(["the"])


def test_a_tokenizer_that_ends_its_texts(tmp_path: Path) -> None:
    make_text_run(tmp_path, end=True)
    [[row]] = Predictor(tmp_path).complete(["the red"])
    assert row.ids[-1] == SPECIAL.index("[SEP]")
    assert row.filled[-1] == -1
    assert not np.isin(row.ids[1:-1], range(len(SPECIAL))).any()
