"""`specrun generate`: options, what is printed, and prompts that are asked for."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from specrun import Predictor
from specrun.cli import main
from specrun.runtime.generate.interactive import converse
from specrun.spec.diagnostics import InputError
from tests.runtime.folders import make_run
from tests.runtime.generate.folders import make_text_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    make_text_run(folder)
    return str(folder)


def typed(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_options_reach_the_predictor(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--temperature", "1.5", "--steps", "3", "--max-length", "8", "--top-k", "20"]
    options += ["--top-p", "0.9", "-n", "2", "--seed", "4", "--style", "red", "--style-strength"]
    options += ["2", "--schedule", "exponential"]
    assert main(["generate", folder, *options, "the", "a blue"]) == 0
    given: dict[str, Any] = {
        "temperature": 1.5, "steps": 3, "max_length": 8, "top_k": 20, "top_p": 0.9,
        "num_return_sequences": 2, "style": "red", "style_strength": 2.0,
        "confidence_schedule": "exponential",
    }  # fmt: skip
    expected = Predictor(folder).generate(["the", "a blue"], seed=4, **given)
    assert capsys.readouterr().out == "\n\n".join(x for own in expected for x in own) + "\n"


def test_a_setting_of_the_run_can_be_taken_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_text_run(tmp_path, top_k=1, steps=1)
    assert main(["generate", str(tmp_path), "the"]) == 0
    best = capsys.readouterr().out
    for seed in ("1", "2"):
        assert main(["generate", str(tmp_path), "the", "--seed", seed]) == 0
        assert capsys.readouterr().out == best
    assert main(["generate", str(tmp_path), "the", "--top-k", "none", "--temperature", "3"]) == 0
    assert capsys.readouterr().out != best


def test_json_is_a_line_for_each_text(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", folder, "the [MASK]", "-n", "2", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(x["prompt"], x["number"], x["seed"]) for x in lines] == [
        ("the [MASK]", 0, 0),
        ("the [MASK]", 1, 0),
    ]
    assert all(len(x["ids"]) == len(x["filled"]) == 3 for x in lines)


@pytest.mark.parametrize("by_plan", [True, False])
def test_prompts_are_asked_for(
    by_plan: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bad prompt is told and the next one answered; what is behind an empty line is not read."""
    make_text_run(tmp_path, interactive=by_plan)
    typed(monkeypatch, b"the\n" + b"one two " * 8 + b"\n\xff\nthe\n\nblue\n")
    assert main(["generate", str(tmp_path), *([] if by_plan else ["--interactive"])]) == 0
    out, err = capsys.readouterr()
    predictor = Predictor(tmp_path)
    texts = [predictor.generate(["the"], seed=seed)[0][0] for seed in (0, 1)]
    assert out.splitlines() == texts
    assert "17 tokens long" in err
    assert "not UTF-8" in err
    assert "Traceback" not in err


def test_prompts_given_come_before_those_asked_for(
    folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, b"a\n")
    assert main(["generate", folder, "the", "--interactive"]) == 0
    predictor = Predictor(folder)
    texts = [predictor.generate([p], seed=s)[0][0] for p, s in (("the", 0), ("a", 1))]
    assert capsys.readouterr().out.splitlines() == texts


def test_an_interruption_cancels_one_prompt() -> None:
    answered, told = [], []

    def answer(prompt: str, count: int) -> None:
        if prompt == "stop":
            raise KeyboardInterrupt
        if prompt == "bad":
            raise InputError("that is bad")
        answered.append((prompt, count))

    assert converse(io.BytesIO(b"one\nstop\nbad\ntwo\r\n"), answer, told.append) == 2
    assert answered == [("one", 0), ("two", 1)]
    assert list(map(str, told)) == ["cancelled", "error[input]: that is bad"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is no prompt"),
        (["the", "--steps", "0"], "steps must be a whole number from 1"),
        (["the", "--top-k", "100"], "top_k must be a whole number from 1 to 64"),
        ([" "], "prompts[0] is empty"),
        (["the", "--seed", "-1"], "seed must be"),
        (["the", "--which", "final"], "has saved no such parameters yet"),
    ],
)
def test_mistakes_are_told(
    folder: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", folder, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


@pytest.mark.parametrize("value", ["three", "1.5"])
def test_a_number_or_none(folder: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["generate", folder, "the", "--top-k", value])
    assert caught.value.code == 2
    assert f"'{value}' is neither a whole number nor none" in capsys.readouterr().err


def test_an_unknown_option_is_no_prompt(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", folder, "--heat", "3"])
    assert "--heat" in capsys.readouterr().err


def test_an_encoder_writes_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path)
    assert main(["generate", str(tmp_path), "the"]) == 2
    assert "predicts no tokens" in capsys.readouterr().err
    assert main(["generate", str(tmp_path / "none"), "the"]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_interrupted_writing_is_told(
    folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "complete", stop)
    assert main(["generate", folder, "the"]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
