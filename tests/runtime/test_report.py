"""report.html and model cards: well-formed, escaped, numbers equal to the files', damaged files named."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from specrun.cli import main
from specrun.runtime.report.card import model_card
from specrun.runtime.report.plot import MOST_POINTS, Line, Mark, chart
from specrun.runtime.report.write import write_report
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.file import write_plan
from specrun.spec.plan.plan import Warning
from tests.faults.full_disk import full_disk
from tests.runtime.plans import make_model, make_plan, make_segment

EVIL = "<script>alert(\"1\")</script> & 'x'"
VOID = {"meta", "br", "link", "img", "input", "hr"}
SECTIONS = ("metrics", "curves", "worst", "plan", "parameters", "warnings", "inputs", "time")


class Page(HTMLParser):
    """Checks that tags nest, and keeps texts, cells and attributes."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data

    @property
    def ids(self) -> list[str]:
        return [a["id"] or "" for t, a in self.tags if t == "section"]


def folder_of(root: Path, *, finished: bool = True, evaluated: bool = True) -> Path:
    """A run's folder made by hand: two stages, two widths, three evaluations, hostile texts."""
    model = make_model()
    first = make_segment(model, stage="easy", stop_step=10)
    second = make_segment(model, stage="all", first_step=10, stop_step=30)
    policy = {"after": (10, 20, 30), "dims": (16, 8), "metrics": ("mrr@10", "recall@1")}
    changes = {"evaluation": policy if evaluated else None}
    plan = make_plan(
        model=model,
        segments=(first, second),
        warnings=(Warning(code="c", path="data", message=EVIL),),
        **changes,
    )
    plan = dataclasses.replace(plan, name="a run")
    root.mkdir(parents=True, exist_ok=True)
    write_plan(plan, root / "plan.json")
    rows = [
        {"kind": "training", "step": s, "loss": 3.0 / s, "grad_norm": 1.5, "learning_rate": 1e-3}
        for s in range(2, 31, 2)
    ]
    values = {10: 0.3125, 20: 0.5625, 30: 0.4375}
    if evaluated:
        rows += [{"kind": "evaluation", "step": s, **metrics(v)} for s, v in values.items()]
        manifest = {"step": 20, "metric": "mrr@10", "value": 0.5625, "metrics": metrics(0.5625)}
        candidate = {"text": EVIL, "place": "a.py:1", "name": EVIL, "score": 0.125}
        worst = {
            "step": 20, "width": 16, "queries": 8, "candidates": 8,
            "worst": [{"query": EVIL, "place": "q.py:7", "rank": 6, "expected": candidate,
                       "found": [candidate | {"score": 0.75, "name": "other"}]}],
        }  # fmt: skip
        (root / "best").mkdir()
        (root / "best/manifest.json").write_text(json.dumps(manifest | {"leaves": {}}))
        (root / "best/worst.json").write_text(json.dumps(worst))
    rows.sort(key=lambda row: row["step"])
    (root / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    times = {"step": 2, "seconds": 1.5, "steps_per_second": 2.25, "rows_per_second": 18.0,
             "memory": "process", "bytes": 9}  # fmt: skip
    (root / "times.jsonl").write_text(json.dumps(times) + "\n")
    (root / "events.jsonl").write_text("")
    if finished:
        result = {
            "metrics": {"loss": 0.1}, "steps": 30, "plan_digest": "sha256:0",
            "parameters_sha256": "0", "traces": {"promised": 1, "counted": 1, "by_name": {}},
            "times": {"training": 65.0, "total": 65.0}, "best": None, "stopped_early": False,
            "device": {"platform": "cpu", "kind": "a cpu", "count": 1},
            "speed": {"steps_per_second": 2.5, "rows_per_second": 20.0,
                      "memory": "process", "peak_bytes": 1 << 30},
        }  # fmt: skip
        (root / "result.json").write_text(json.dumps(result))
    return root


def metrics(value: float) -> dict[str, float]:
    return {
        "mrr@10": value,
        "recall@1": value / 2,
        "mrr@10 at 8": value / 4,
        "recall@1 at 8": value / 8,
    }


def read(folder: Path) -> tuple[str, Page]:
    text = write_report(folder).read_text("utf-8")
    return text, Page(text)


def test_the_numbers_are_the_files(tmp_path: Path):
    _, page = read(folder_of(tmp_path / "run"))
    assert tuple(page.ids) == SECTIONS
    cells = page.cells
    assert ["metric", "best, after step 20", "last, after step 30"] in cells
    assert ["mrr@10", "0.5625", "0.4375"] in cells
    assert ["recall@1", "0.2812", "0.2188"] in cells
    assert ["16", "0.5625", "0.2812"] in cells
    assert ["8", "0.1406", "0.0703"] in cells
    all_text = "".join(page.texts)
    for said in (
        "finished: 30 steps; 1:05 on 1 × a cpu",
        "rank 6",
        "0.750",
        "2.5 steps/s, 20 rows/s",
        "1.0 GiB",
        "loss 1.5 at step 2",
        "loss 0.1 at step 30",
        "width 8 0.1094 at step 30",
        "steps_per_second 2.25 at step 2",
    ):
        assert said in all_text, said
    total = make_plan().model.total_parameters
    assert ["all", f"{total:,}", f"{total:,}"] in cells


def test_everything_is_escaped_and_nothing_comes_from_outside(tmp_path: Path):
    text, page = read(folder_of(tmp_path / "run"))
    assert not {t for t, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert "".join(page.texts).count('<script>alert("1")</script>') >= 3
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert not re.search(r"url\(|@import|https?:", text)
    assert ("html", {"lang": "en"}) in page.tags


def test_charts_have_names_stages_and_headers_for_those_who_do_not_see(tmp_path: Path):
    _, page = read(folder_of(tmp_path / "run"))
    drawings = [a for t, a in page.tags if t == "svg"]
    assert len(drawings) == 6  # loss, grad_norm, learning_rate, two metrics, steps per second
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    assert drawings[0]["aria-label"] == "loss: 1.5 at step 2, 0.1 at step 30"
    assert page.texts.count("easy") == len(drawings)
    assert all("scope" in a for t, a in page.tags if t == "th")


def test_a_run_without_evaluation_or_end_has_a_report_without_those_parts(tmp_path: Path):
    _, page = read(folder_of(tmp_path / "run", finished=False, evaluated=False))
    assert page.ids == ["curves", "plan", "parameters", "warnings", "inputs"]
    assert "not finished: step 30 of 30" in "".join(page.texts)


def test_a_plan_alone_has_a_report_and_an_unfinished_last_line_is_passed_over(tmp_path: Path):
    folder = folder_of(tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "training", "st')
    assert "finished: 30 steps" in "".join(read(folder)[1].texts)
    for path in folder.iterdir():
        if path.name != "plan.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _, page = read(folder)
    assert page.ids == ["plan", "parameters", "warnings", "inputs"]


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("metrics.jsonl", lambda t: t.replace("{", "", 1), "line 1 is not JSON"),
        ("metrics.jsonl", lambda t: t.replace('"step": 4', '"step": "4"'), "line 2 names no step"),
        ("metrics.jsonl", lambda t: t.replace("1.5", "NaN", 1), "not a finite number"),
        ("metrics.jsonl", lambda t: t.replace("training", "other", 1), "line 1 is neither"),
        ("times.jsonl", lambda t: t.replace("2.25", "null"), "`steps_per_second` in line 1"),
        ("result.json", lambda t: t[: len(t) // 2], "is damaged"),
        ("result.json", lambda t: t.replace('"steps": 30', '"steps": []'), "`steps` is missing"),
        ("result.json", lambda t: "[" * 100_000, "is damaged"),
        ("best/worst.json", lambda t: t.replace('"rank": 6', '"rank": "<b>"'), "`rank`"),
        ("best/manifest.json", lambda t: "[]", "not a JSON object"),
        ("events.jsonl", lambda t: "{}\n", "the chain of events is broken"),
        ("plan.json", lambda t: t.replace('"a run"', '"another"'), "changed after it was compiled"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path,
    name: str,
    damage: Callable[[str], str],
    said: str,
    capsys: pytest.CaptureFixture[str],
):
    path = folder_of(tmp_path / "run") / name
    text = path.read_text()
    assert damage(text) != text
    path.write_text(damage(text))
    assert main(["report", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert str(path) in told
    assert said in told
    assert "Traceback" not in told
    assert "specrun itself" not in told
    assert not (tmp_path / "run/report.html").exists()


def test_all_damaged_files_are_named_at_once(tmp_path: Path):
    folder = folder_of(tmp_path / "run")
    for name in ("result.json", "best/worst.json", "times.jsonl"):
        (folder / name).write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError) as error:
        write_report(folder)
    assert len(error.value.diagnostics) == 3


def test_a_folder_that_is_no_run_and_one_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no plan.json" in capsys.readouterr().err
    folder = folder_of(tmp_path / "run")
    from specrun.runtime.report import write

    monkeypatch.setattr(write, "write_atomic", full_disk)
    with pytest.raises(RunError, match="the disk is full"):
        write_report(folder)


def test_the_same_files_give_the_same_page(tmp_path: Path):
    folder = folder_of(tmp_path / "run")
    assert read(folder)[0] == read(folder)[0]


def test_a_long_curve_keeps_its_peaks():
    points = tuple((s, 1.0 + (100.0 if s == 5003 else 0.0)) for s in range(1, 10_001))
    drawn = chart("x", [Line(name="x", points=points)], 10_000, [Mark(step=0, name="a" * 40)])
    assert "x 101 at step 5,003" in drawn
    assert drawn.count("<title>") <= MOST_POINTS
    Page(drawn)


@pytest.mark.parametrize(
    "values", [[0.0], [2.0, 2.0], [-1.0, 1.0], [1e-30, 1e30], [1e-9, 1.0000001e-9]]
)
def test_any_finite_curve_can_be_drawn(values: list[float]):
    points = tuple(enumerate(values))
    drawn = chart("v", [Line(name="v", points=points)], 0)
    Page(drawn)
    numbers = [float(n) for n in re.findall(r'c[xy]="(-?[\d.]+)"', drawn)]
    assert numbers
    assert all(-1 <= n <= 400 for n in numbers)
    assert chart("v", [Line(name="v", points=())], 5) == ""


FACTS = {
    "step": 20,
    "metrics": {"mrr@10": 0.5625},
    "parameters": "best",
    "device": {"platform": "cpu", "kind": "cpu", "count": 1},
}


def test_a_card_is_yaml_and_tables_without_markup_from_outside():
    plan = dataclasses.replace(make_plan(), name="a|b *c* <i>\n# d")
    text = model_card(plan, FACTS)
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    front = yaml.safe_load(head)
    assert front["library_name"] == "specrun"
    assert {"sentence-similarity", "feature-extraction"} <= set(front["tags"])
    assert "base_model" not in front
    assert r"# a\|b \*c\* &lt;i&gt; \# d" in body
    assert "| mrr@10 | 0.5625 |" in body
    assert "those after step 20 of 4" in body
    assert "<i>" not in body
    assert text == model_card(plan, FACTS)
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert len(code.strip().splitlines()) == 2


def test_a_card_names_the_base_model():
    from specrun.spec.plan.model import WeightsPlan
    from specrun.spec.plan.plan import Value

    plan = make_plan()
    weights = WeightsPlan(directory='/somewhere/own: "x"', layout="torch", files=())
    plan = dataclasses.replace(plan, model=dataclasses.replace(plan.model, weights=weights))
    named = Value(path="model.name_or_path", value="org/base-model", klass="semantic", origins=())
    for values, wanted in (((), 'own: "x"'), ((named,), "org/base-model")):
        text = model_card(dataclasses.replace(plan, values=values), FACTS)
        front = yaml.safe_load(text.removeprefix("---\n").split("\n---\n", 1)[0])
        assert front["base_model"] == wanted
        assert "fine-tuned from" in text
