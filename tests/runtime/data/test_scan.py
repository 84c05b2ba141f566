"""A scan counts everything, keeps what it read, and notices when that is no longer so."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from specrun.runtime.data import scan as module
from specrun.runtime.data.raw import Row
from specrun.runtime.data.rows import Rows, Split, load_rows, store_rows
from specrun.runtime.data.scan import ensure_rows, rows_of, scan, verify_inputs
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.data import (
    DataPlan,
    HeldOut,
    HeldOutFile,
    HeldOutFraction,
    JsonlSource,
    PythonSource,
    Scan,
    Source,
)

TENTH = HeldOutFraction(fraction=0.3)


def jsonl(path: Path, *values: object) -> JsonlSource:
    path.write_text("".join(v if isinstance(v, str) else json.dumps(v) + "\n" for v in values))
    return JsonlSource(path=str(path))


def pair(number: int, **more: float) -> dict[str, object]:
    return {"query": f"query {number}", "positive": f"line\nof {number}", **more}


def plan(source: Source, held_out: HeldOut | None, found: Scan) -> DataPlan:
    return DataPlan(
        source=source,
        validation=held_out,
        bad_rows="skip",
        scan=found,
        max_query_length=8,
        max_positive_length=8,
    )


@pytest.fixture
def source(tmp_path: Path) -> JsonlSource:
    return jsonl(
        tmp_path / "rows.jsonl",
        *(pair(i, stars=i) for i in range(40)),
        pair(3),
        {"query": "another", "positive": "line of  7"},
        {"query": "no positive"},
        "nothing\n",
        {"query": 3, "positive": "p"},
        pair(100, half=0.5),
    )


def test_the_counts_add_up(source: JsonlSource) -> None:
    found = scan(source, TENTH, "skip")
    bad = sum(b.count for b in found.bad)
    kept = found.training_rows + found.validation_rows
    assert found.rows_read == 46 == kept + found.duplicates + found.dropped_by_split + bad
    assert found.validation_rows > 0
    assert found.duplicates == 1
    assert [(b.reason, b.places) for b in found.bad] == [
        ("no key `positive`", ("rows.jsonl:43",)),
        ("not JSON", ("rows.jsonl:44",)),
        ("`query` is not text", ("rows.jsonl:45",)),
    ]


def test_the_fields_are_of_the_training_rows(source: JsonlSource) -> None:
    found = scan(source, None, "skip")
    assert [(f.name, f.count, f.minimum, f.maximum) for f in found.fields] == [
        ("half", 1, 0.5, 0.5),
        ("positive_chars", 42, 9, 11),
        ("positive_lines", 42, 1, 2),
        ("query_chars", 42, 7, 9),
        ("stars", 40, 0, 39),
    ]


def test_the_rows_are_what_was_read(source: JsonlSource) -> None:
    found = scan(source, TENTH, "skip")
    rows = rows_of(found.rows_digest)
    assert (len(rows.training), len(rows.validation)) == (
        found.training_rows,
        found.validation_rows,
    )
    assert not set(rows.training.queries) & set(rows.validation.queries)
    at = list(rows.training.places).index("rows.jsonl:46")
    assert (rows.training.queries[at], rows.training.positives[at]) == ("query 100", "line\nof 100")
    assert rows.training.fields["half"][at] == 0.5
    assert np.isnan(rows.training.fields["stars"][at])
    assert rows.training.fields["positive_lines"][at] == 2
    assert set(rows.training.names) == {""}


def test_bad_rows_are_listed_where_they_are_an_error(source: JsonlSource) -> None:
    for _ in range(2):  # the second time from the cache
        with pytest.raises(InputError) as caught:
            scan(source, TENTH, "error")
        found = caught.value.diagnostics
        assert [(d.code, d.file, d.line, d.column, d.path) for d in found] == [
            ("bad-row", "rows.jsonl", line, 1, "data") for line in (43, 44, 45)
        ]
        assert all(d.message and d.hint for d in found)
    assert scan(source, TENTH, "skip").bad


def test_many_bad_rows_are_counted_and_some_are_shown(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "rows.jsonl", pair(1), *["nothing\n"] * 200)
    with pytest.raises(InputError, match="150 more bad rows are not shown; 200 in all") as caught:
        scan(source, None, "error")
    assert len(caught.value.diagnostics) == 51
    (bad,) = scan(source, None, "skip").bad
    assert (bad.count, len(bad.places)) == (200, 5)


def test_a_held_out_file_loses_its_repeats(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", *(pair(i) for i in range(10)))
    held = {"anchor": "Query 3", "code": "other"}
    jsonl(tmp_path / "b.jsonl", held, held, {"anchor": "new", "code": "LINE OF 5"}, {"anchor": "x"})
    file = HeldOutFile(
        source=JsonlSource(path=str(tmp_path / "b.jsonl"), query="anchor", positive="code")
    )
    found = scan(source, file, "skip")
    assert (found.rows_read, found.training_rows, found.validation_rows) == (14, 8, 2)
    assert (found.duplicates, found.dropped_by_split) == (1, 2)
    assert [b.places for b in found.bad] == [("b.jsonl:4",)]
    assert [i.role for i in found.inputs] == ["data", "validation"]
    assert list(rows_of(found.rows_digest).validation.places) == ["b.jsonl:1", "b.jsonl:3"]


def test_python_source(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "m.py").write_text(
        "class A:\n    def f(self):\n        'Say.'\n        return 1\n"
    )
    (tmp_path / "two" / "m.py").write_text("def g():\n    'Other.'\n    return 2\n")
    (tmp_path / "two" / "n.py").write_text("def g(:\n")
    found = scan(PythonSource(roots=(str(tmp_path / "one"), str(tmp_path / "two"))), None, "skip")
    rows = rows_of(found.rows_digest).training
    assert list(rows.places) == ["one/m.py:2", "two/m.py:1"]
    assert list(rows.names) == ["A.f", "g"]
    assert (found.rows_read, [b.places for b in found.bad]) == (3, [("two/n.py:1",)])
    alone = rows_of(scan(PythonSource(roots=(str(tmp_path / "two"),)), None, "skip").rows_digest)
    assert list(alone.training.places) == ["m.py:1"]


def test_rows_do_not_depend_on_where_the_files_lie(source: JsonlSource, tmp_path: Path) -> None:
    found = scan(source, TENTH, "skip")
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(source.path, tmp_path / "elsewhere" / "rows.jsonl")
    again = scan(JsonlSource(path=str(moved)), TENTH, "skip")
    assert again == dataclasses.replace(found, inputs=again.inputs)
    assert again.inputs[0].digest == found.inputs[0].digest


def test_a_second_scan_reads_nothing_again(
    source: JsonlSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = scan(source, TENTH, "skip")
    monkeypatch.setattr(module, "_read", None)
    assert scan(source, TENTH, "skip") == found
    with pytest.raises(TypeError):
        scan(source, None, "skip")


def test_the_name_of_a_held_out_file_is_in_its_places(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def g():\n    'Other.'\n    return 2\n")
    python = PythonSource(roots=(str(tmp_path / "m.py"),))
    for name in ("one.jsonl", "two.jsonl"):
        jsonl(tmp_path / name, pair(1))
        found = scan(python, HeldOutFile(source=JsonlSource(path=str(tmp_path / name))), "skip")
        assert list(rows_of(found.rows_digest).validation.places) == [f"{name}:1"]


@pytest.mark.parametrize("key", ["query_chars", "positive_lines"])
def test_computed_fields_cannot_be_given(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=f"name built-in fields: `{key}`"):
        scan(jsonl(tmp_path / "rows.jsonl", pair(1, **{key: 2})), None, "skip")


def test_fields_are_bounded(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "rows.jsonl", *(pair(i, **{f"f{i}": 1}) for i in range(257)))
    with pytest.raises(InputError, match="257 different numeric columns; at most 256"):
        scan(source, None, "skip")


def test_no_rows_at_all(tmp_path: Path) -> None:
    found = scan(jsonl(tmp_path / "rows.jsonl"), TENTH, "skip")
    assert (found.rows_read, found.training_rows, found.fields) == (0, 0, ())
    rows = rows_of(found.rows_digest)
    assert list(rows.training.queries) == []
    assert rows.training.fields["query_chars"].shape == (0,)


def test_a_file_that_grows_while_it_is_read_stops_the_scan(
    source: JsonlSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = module.list_inputs

    def and_then_it_grows(*arguments: object) -> object:
        found = listed(*arguments)  # type: ignore[arg-type]
        with Path(source.path).open("a") as file:
            file.write("{}\n")
        return found

    monkeypatch.setattr(module, "list_inputs", and_then_it_grows)
    with pytest.raises(RunError, match="changed while it was read"):
        scan(source, None, "skip")


# what a plan cites


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.unlink(),
        lambda p: p.write_text("{}\n"),
        lambda p: p.write_text(p.read_text() + "\n"),
    ],
    ids=["gone", "other", "longer"],
)
def test_a_changed_input_is_refused(source: JsonlSource, change: Callable[[Path], object]) -> None:
    data = plan(source, TENTH, scan(source, TENTH, "skip"))
    verify_inputs(data)
    change(Path(source.path))
    with pytest.raises(InputError) as caught:
        verify_inputs(data)
    assert {d.code for d in caught.value.diagnostics} <= {"changed-input", "unreadable"}
    assert str(source.path) in str(caught.value)


def test_a_changed_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def g():\n    'Other.'\n    return 2\n")
    source = PythonSource(roots=(str(tmp_path),))
    data = plan(source, None, scan(source, None, "skip"))
    (tmp_path / "n.py").write_text("")
    with pytest.raises(InputError, match="2 files, and 1 then"):
        verify_inputs(data)


def test_rows_that_the_cache_lost_are_read_again(source: JsonlSource, cache_folder: Path) -> None:
    data = plan(source, TENTH, scan(source, TENTH, "skip"))
    queries = list(ensure_rows(data).training.queries)
    shutil.rmtree(cache_folder)
    assert list(ensure_rows(data).training.queries) == queries
    shutil.rmtree(cache_folder / "rows")
    assert ensure_rows(data).digest == data.scan.rows_digest
    shutil.rmtree(cache_folder)
    with Path(source.path).open("a") as file:
        file.write(json.dumps(pair(1000)) + "\n")
    with pytest.raises(InputError, match="changed since the plan was compiled"):
        ensure_rows(data)


def test_rows_made_by_other_rules_are_refused(source: JsonlSource, cache_folder: Path) -> None:
    found = scan(source, TENTH, "skip")
    data = plan(source, TENTH, dataclasses.replace(found, rows_digest="sha256:" + "0" * 64))
    with pytest.raises(InputError, match="gives other rows than when the plan was compiled"):
        ensure_rows(data)


def test_rows_that_are_nowhere_are_a_clear_error() -> None:
    with pytest.raises(RunError, match="lost the rows; compile again"):
        rows_of("sha256:" + "0" * 64)


# the rows artefact

ROWS = [
    Row("ä", "日本\n\n", "a:1", "f", {"x": 1.5}),
    Row("q", "\0", "a:2", "", {}),
    Row("🙂", "p", "a:3", "A.g", {"y": -0.0, "x": 2.0**60}),
]


def everything(rows: Rows) -> str:
    return repr([[list(map(repr, t)) for t in texts(s)] for s in (rows.training, rows.validation)])


def texts(split: Split) -> list[Sequence[object]]:
    numbers = [[name, *values.tolist()] for name, values in split.fields.items()]
    return [split.queries, split.positives, split.places, split.names, *numbers]


def test_rows_come_back_as_they_went() -> None:
    digest = store_rows(ROWS, ROWS[:1])
    rows = load_rows(digest)
    assert rows is not None
    for split, wanted in ((rows.training, ROWS), (rows.validation, ROWS[:1])):
        back = zip(split.queries, split.positives, split.places, split.names, strict=True)
        assert list(back) == [(r.query, r.positive, r.place, r.name) for r in wanted]
        for i, row in enumerate(wanted):
            numbers = {k: v[i] for k, v in split.fields.items() if not np.isnan(v[i])}
            lines = row.positive.count("\n") + 1
            own = {
                "query_chars": len(row.query),
                "positive_chars": len(row.positive),
                "positive_lines": lines,
            }
            assert numbers == own | row.numbers
    assert rows.training.queries[-1] == "🙂"
    assert rows.training.queries[0:2] == ["ä", "q"]
    with pytest.raises(IndexError):
        rows.training.queries[3]


def test_rows_are_mapped_and_cannot_be_written() -> None:
    rows = load_rows(store_rows(ROWS, []))
    assert rows is not None
    assert not rows.training.fields["query_chars"].flags.writeable


def test_equal_rows_have_equal_digests_in_every_process() -> None:
    script = (
        "from specrun.runtime.data.rows import store_rows\n"
        "from specrun.runtime.data.raw import Row\n"
        f"print(store_rows({ROWS!r}, []))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == store_rows(ROWS, [])
    for other in (ROWS[::-1], ROWS[:2], [dataclasses.replace(ROWS[0], query="a"), *ROWS[1:]]):
        assert store_rows(other, []) != store_rows(ROWS, [])


@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_damaged_rows_are_noticed_and_made_good(
    source: JsonlSource, cache_folder: Path, how: str
) -> None:
    data = plan(source, TENTH, scan(source, TENTH, "skip"))
    wanted = everything(ensure_rows(data))
    (folder,) = (cache_folder / "rows").iterdir()
    for path in sorted(folder.iterdir()):
        raw = path.read_bytes()
        if not raw and how != "delete":
            continue
        match how:
            case "flip":
                path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
            case "truncate":
                path.write_bytes(raw[:-1])
            case _:
                path.unlink()
        assert load_rows(data.scan.rows_digest) is None
        assert everything(ensure_rows(data)) == wanted
