"""Diagnostics in the three formats."""

from __future__ import annotations

import json

from specrun.spec.diagnostics import Diagnostic
from specrun.spec.render import render

FOUND = (
    Diagnostic(
        code="unknown-key",
        message="unknown key `x`, 100%\nof it",
        file="a,b.yaml",
        line=3,
        column=5,
        path="train.x",
        hint="did you mean `y`?",
        notes=("set by 1 (a,b.yaml:3:5)",),
        frame="3 |   x: 1\n  |   ^",
    ),
    Diagnostic(code="few-negatives", message="few", severity="warning", file="SPECRUN__A"),
)


def test_text() -> None:
    assert render(FOUND, "text") == (
        "a,b.yaml:3:5: error[unknown-key]: unknown key `x`, 100%\nof it\n"
        "  3 |   x: 1\n"
        "    |   ^\n"
        "  help: did you mean `y`?\n"
        "  note: set by 1 (a,b.yaml:3:5)\n"
        "\n"
        "SPECRUN__A: warning[few-negatives]: few"
    )


def test_json() -> None:
    records = json.loads(render(FOUND, "json"))
    assert [r["code"] for r in records] == ["unknown-key", "few-negatives"]
    assert records[0] | {"message": ""} == {
        "code": "unknown-key",
        "message": "",
        "severity": "error",
        "file": "a,b.yaml",
        "line": 3,
        "column": 5,
        "path": "train.x",
        "hint": "did you mean `y`?",
        "notes": ["set by 1 (a,b.yaml:3:5)"],
    }


def test_github_escapes_what_would_end_a_command() -> None:
    first, second = render(FOUND, "github").splitlines()
    assert first.startswith("::error file=a%2Cb.yaml,line=3,col=5,title=specrun unknown-key::")
    assert "100%25%0Aof it%0Ahelp: " in first
    assert second == "::warning file=SPECRUN__A,title=specrun few-negatives::few"


def test_nothing_found() -> None:
    assert render((), "text") == ""
    assert render((), "json") == "[]"
    assert render((), "github") == ""
