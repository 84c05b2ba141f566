"""The command line: what each command prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specrun.cli import COMMANDS, main

SPEC = """\
version: 1
name: tiny
model: {kind: text_encoder, hidden_size: 16, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: jsonl, path: rows.jsonl, validation: {kind: fraction, fraction: 0.3}}
losses: [{kind: infonce}]
train: {batch_size: 16, epochs: 1}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [
        {"query": f"find number {i}", "positive": f"def f{i}(): return {i * i}"} for i in range(60)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "spec.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_every_command_has_a_handler_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    from specrun import commands

    for command in COMMANDS:
        assert callable(getattr(commands, command.handler))
        with pytest.raises(SystemExit) as stop:
            main([command.name, "--help"])
        assert stop.value.code == 0
        assert command.help in " ".join(capsys.readouterr().out.split())


def test_the_way_from_spec_to_explanation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "spec.yaml"]) == 0
    assert "0 errors" in capsys.readouterr().out
    assert main(["compile", "spec.yaml", "-o", "a.json"]) == 0
    assert "3 steps" in capsys.readouterr().out
    assert (
        main(["compile", "spec.yaml", "-o", "b.json", "--set", "train.batch_size=8", "--quiet"])
        == 0
    )
    assert capsys.readouterr().out == ""
    assert main(["explain", "b.json", "train.batch_size"]) == 0
    told = capsys.readouterr().out
    assert "train.batch_size = 8" in told
    assert "16  spec.yaml:7:21" in told
    assert main(["explain", "b.json"]) == 0
    assert "losses[0].temperature" in capsys.readouterr().out
    assert main(["diff", "a.json", "b.json"]) == 0
    assert "train.batch_size: 16 (spec.yaml:7:21) -> 8" in capsys.readouterr().out
    assert main(["diff", "a.json", "a.json"]) == 0
    assert "the plans are the same" in capsys.readouterr().out
    assert main(["show", "a.json", "--steps"]) == 0
    assert "steps 0-2" in capsys.readouterr().out
    whole = main(["show", "a.json", "--stage", "train"])
    assert (whole, main(["show", "a.json", "--epoch", "0"])) == (0, 0)
    assert capsys.readouterr().out.count("steps 0-2") == 2
    assert main(["show", "a.json", "--epoch", "0", "--steps"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert main(["baseline", "a.json"]) == 0
    assert "mrr@10" in capsys.readouterr().out


def test_long_jobs_tell_how_they_go_unless_quiet(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no patience every job gets a line in a log; none under --quiet, nor from Python."""
    import shutil

    import specrun
    from specrun.runtime import telling

    monkeypatch.setattr(telling, "PATIENCE", 0.0)
    monkeypatch.setattr(telling, "PAUSE", 0.0)

    def forget() -> None:
        for path in (folder / "cache", folder / "runs"):
            shutil.rmtree(path, ignore_errors=True)

    evaluated = ["--set", "evaluation={metrics: [mrr@10]}"]
    assert main(["compile", "spec.yaml", *evaluated]) == 0
    said = capsys.readouterr().err
    for job in ("reading data, bytes", "training the tokenizer, texts read", "tokenising, texts"):
        assert job in said
    forget()
    assert main(["run", "plan.json"]) == 0
    said = capsys.readouterr().err
    for job in ("reading data, bytes", "tokenising, texts", "evaluating, texts"):
        assert job in said
    (folder / "texts.txt").write_text("one\ntwo\n")
    assert main(["encode", "runs/tiny", "texts.txt"]) == 0
    assert "encoding, texts 2/2" in capsys.readouterr().err
    assert main(["encode", "runs/tiny", "texts.txt", "--quiet"]) == 0
    forget()
    assert main(["compile", "spec.yaml", "--quiet", *evaluated]) == 0
    assert main(["run", "plan.json", "--quiet"]) == 0
    forget()
    specrun.run(specrun.compile("spec.yaml"))
    assert capsys.readouterr() == ("", "")
    assert main(["report", "runs/tiny"]) == 0
    assert capsys.readouterr().out.strip() == "runs/tiny/report.html"


def test_the_same_spec_gives_the_same_bytes(folder: Path) -> None:
    assert main(["compile", "spec.yaml", "-o", "a.json", "--quiet"]) == 0
    assert main(["compile", "spec.yaml", "-o", "b.json", "--quiet"]) == 0
    assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()


def test_mistakes_end_with_2_and_their_places(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "spec.yaml").write_text(
        SPEC.replace("batch_size", "batchsize").replace("hidden_size: 16", "hidden_size: x")
    )
    assert main(["check", "spec.yaml", "--format", "json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert {(d["code"], d["line"]) for d in found} >= {("wrong-type", 3), ("unknown-key", 7)}
    assert main(["compile", "spec.yaml", "--format", "github"]) == 2
    assert "::error file=spec.yaml,line=3" in capsys.readouterr().out
    assert main(["compile", "spec.yaml"]) == 2
    assert "spec.yaml:7:9" in capsys.readouterr().err
    assert not (folder / "plan.json").exists()


def test_mistakes_of_facts_are_told_beside_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "spec.yaml").write_text(
        SPEC.replace("rows.jsonl", "rowz.jsonl").replace("epochs: 1", "epochs: 0")
    )
    assert main(["check", "spec.yaml", "--format", "json"]) == 2
    assert {d["code"] for d in json.loads(capsys.readouterr().out)} >= {"not-found", "out-of-range"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("compile", "no.yaml"),
        ("explain", "no.json"),
        ("explain", "spec.yaml"),
        ("run", "spec.yaml"),
        ("diff", "no.json", "no.json"),
        ("compile", "spec.yaml", "--print-after", "nothing"),
        ("compile", "spec.yaml", "-o", "spec.yaml/plan.json"),
        ("search", "nowhere", "text"),
        ("encode", "nowhere", "rows.jsonl"),
        ("init", "spec.yaml"),
    ],
    ids=lambda a: " ".join(a[:2]),
)
def test_bad_input_is_no_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert main(list(arguments)) == 2
    told = capsys.readouterr().err
    assert "error" in told
    assert "Traceback" not in told
    assert "specrun itself" not in told


def test_a_pass_can_be_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "spec.yaml", "--print-after", "build_segments"]) == 0
    printed = capsys.readouterr().out
    assert "# after build_segments" in printed
    assert '"loss_weights"' in printed


def test_an_internal_fault_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from specrun import commands

    def broken(options: object) -> int:
        raise KeyError("x")

    monkeypatch.setattr(commands, "check", broken)
    assert main(["check", "spec.yaml"]) == 1
    assert "fault of specrun" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from specrun import commands

    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "check", interrupted)
    assert main(["check", "spec.yaml"]) == 130


def test_measure_writes_beside_the_plan_and_refuses_what_xla_says_is_too_large(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from specrun.spec.plan.file import plan_digest, read_plan

    settings = ["--set", "model.hidden_dropout_prob=0", "--set", "data.validation=null"]
    assert main(["compile", "spec.yaml", "-o", "a.json", "--measure", *settings]) == 0
    told = capsys.readouterr().out
    assert "XLA        cpu" in told
    assert "a.measured.json" in told
    found = json.loads((folder / "a.measured.json").read_text())
    assert found["plan_digest"] == plan_digest(read_plan("a.json"))

    assert main(["run", "a.json"]) == 0
    assert "by XLA" in capsys.readouterr().out
    result = json.loads((folder / "runs/tiny/result.json").read_text())
    assert result["foretold"]["xla_bytes"] == found["peak_bytes"]
    assert result["speed"]["steps_per_second"] > 0

    limit = found["peak_bytes"] / 2**30 / 0.9
    estimate = read_plan("a.json").cost.peak_bytes
    assert estimate < found["peak_bytes"]  # so that the arithmetic lets it through
    over = [*settings, "--set", f"hardware.max_memory_gb={limit * 0.999}"]
    assert main(["compile", "spec.yaml", "-o", "b.json", "--measure", *over]) == 2
    told = capsys.readouterr()
    assert "too-much-memory" in told.err
    assert "as XLA compiled it" in told.err
    assert not (folder / "b.json").exists()
    assert (folder / "b.measured.json").exists()


def test_measure_says_what_the_machine_lacks_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "data.validation=null", "--set", "hardware.devices=16"]
    assert main(["compile", "spec.yaml", "-o", "a.json", "--measure", *settings]) == 2
    assert "the plan asks for 16 devices" in capsys.readouterr().err
    assert not list(folder.glob("a*.json"))
    (folder / "full").write_text("")
    assert main(["compile", "spec.yaml", "-o", "full/a.json", "--measure"]) == 2
    assert "cannot write full/a.measured.json" in capsys.readouterr().err
