"""Which files are read below a root, and that a change of any is noticed."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

from specrun.runtime.data.sources import compile_patterns, list_inputs
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import HeldOutFile, Input, JsonlSource, PythonSource


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in (
        "a.py",
        "z.py",
        "b/c.py",
        "b/c/d.py",
        "b/tests/e.py",
        "b/not_python.txt",
        "b/__pycache__/f.py",
        ".hidden/g.py",
        "node_modules/h.py",
        "env/i.py",
        "env/pyvenv.cfg",
        "lib/site-packages/j.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    return root


def names(root: Path, *exclude: str) -> list[str]:
    (listing,) = list_inputs(PythonSource(roots=(str(root),), exclude=exclude), None)
    assert listing.input.files == len(listing.files)
    return [f.name for f in listing.files]


def digest(root: Path, *exclude: str) -> str:
    (listing,) = list_inputs(PythonSource(roots=(str(root),), exclude=exclude), None)
    return listing.input.digest


def test_python_files_in_the_order_of_their_names(tree: Path) -> None:
    found = names(tree)
    assert sorted(found) == ["a.py", "b/c.py", "b/c/d.py", "b/tests/e.py", "z.py"]
    assert found == names(tree)


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("b", ["a.py", "z.py"]),
        ("b/", ["a.py", "z.py"]),
        ("b/**", ["a.py", "z.py"]),
        ("**/tests", ["a.py", "b/c.py", "b/c/d.py", "z.py"]),
        ("**/tests/**", ["a.py", "b/c.py", "b/c/d.py", "z.py"]),
        ("tests/**", ["a.py", "b/c.py", "b/c/d.py", "b/tests/e.py", "z.py"]),
        ("*.py", ["b/c.py", "b/c/d.py", "b/tests/e.py"]),
        ("**/*.py", []),
        ("**", []),
        ("*/*.py", ["a.py", "b/c/d.py", "b/tests/e.py", "z.py"]),
        ("?.py", ["b/c.py", "b/c/d.py", "b/tests/e.py"]),
        ("[a-c].py", ["b/c.py", "b/c/d.py", "b/tests/e.py", "z.py"]),
        ("[!a].py", ["a.py", "b/c.py", "b/c/d.py", "b/tests/e.py"]),
        ("a.py", ["b/c.py", "b/c/d.py", "b/tests/e.py", "z.py"]),
        ("a.p", ["a.py", "b/c.py", "b/c/d.py", "b/tests/e.py", "z.py"]),
        ("[", ["a.py", "b/c.py", "b/c/d.py", "b/tests/e.py", "z.py"]),
    ],
)
def test_patterns_leave_out(tree: Path, pattern: str, left: list[str]) -> None:
    assert sorted(names(tree, pattern)) == left


@pytest.mark.parametrize("pattern", ["/a", "../a", "a/../b", "", "/", "[z-a]"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(InputError) as caught:
        compile_patterns(["fine/**", pattern])
    (found,) = caught.value.diagnostics
    assert (found.code, found.path) == ("bad-pattern", "data.exclude[1]")
    assert found.hint


def test_links_make_no_loops_and_strange_files_are_faults(tree: Path) -> None:
    (tree / "b" / "loop").symlink_to(tree)
    (tree / "b" / "loop.py").symlink_to(tree)
    (tree / "broken.py").symlink_to(tree / "nowhere")
    (tree / "itself.py").symlink_to(tree / "itself.py")
    (tree / "linked.py").symlink_to(tree / "a.py")
    os.mkfifo(tree / "pipe.py")
    (listing,) = list_inputs(PythonSource(roots=(str(tree),)), None)
    wrong = {f.name for f in listing.files if f.error}
    assert wrong == {"broken.py", "itself.py", "pipe.py"}
    assert {f.name for f in listing.files} == wrong | set(names(tree))
    assert "linked.py" in names(tree)


def test_a_root_may_be_one_file(tree: Path) -> None:
    assert names(tree / "a.py") == ["a.py"]


def test_the_library_is_read_without_its_tests() -> None:
    found = names(Path(sysconfig.get_paths()["stdlib"]))
    assert "ast.py" in found
    assert not [
        n for n in found if n.startswith(("test/", "idlelib/", "turtledemo/", "site-packages/"))
    ]
    assert not [n for n in found if "/tests/" in n]


def test_all_missing_inputs_are_told_at_once(tmp_path: Path) -> None:
    source = PythonSource(roots=(str(tmp_path / "a"), str(tmp_path), str(tmp_path / "b")))
    with pytest.raises(InputError) as caught:
        list_inputs(source, HeldOutFile(source=JsonlSource(path=str(tmp_path / "c"))))
    assert [d.path for d in caught.value.diagnostics] == [
        "data.roots[0]",
        "data.roots[2]",
        "data.validation.path",
    ]
    assert all(d.code == "unreadable" and d.hint for d in caught.value.diagnostics)


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_rows_must_be_in_a_regular_file(tmp_path: Path, what: str) -> None:
    path = tmp_path / "rows"
    path.mkdir() if what == "folder" else os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        list_inputs(JsonlSource(path=str(path)), None)


def test_a_name_of_any_bytes_is_listed(tree: Path) -> None:
    Path(f"{tree}/\udcff.py").write_text("x = 1\n")
    assert len(names(tree)) == 6
    before = digest(tree)
    Path(f"{tree}/\udcff.py").rename(f"{tree}/\udcfe.py")
    assert digest(tree) != before


def test_the_digest_is_of_names_and_contents_alone(tree: Path, tmp_path: Path) -> None:
    before = digest(tree)
    shutil.copytree(tree, tmp_path / "copy")
    (tmp_path / "copy" / "b" / "not_python.txt").write_text("changed")
    assert digest(tmp_path / "copy") == before
    for change in (
        lambda: (tree / "a.py").write_text("# b.py\n"),
        lambda: (tree / "z.py").rename(tree / "y.py"),
        lambda: (tree / "new.py").write_text(""),
        lambda: (tree / "new.py").unlink() or (tree / "y.py").unlink(),
    ):
        change()
        now = digest(tree)
        assert now != before
        before = now


def test_an_input_says_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    one, two = list_inputs(
        JsonlSource(path=str(path)), HeldOutFile(source=JsonlSource(path=str(path)))
    )
    wanted = "sha256:ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    assert one.input == Input(role="data", path=str(path), digest=wanted, bytes=3)
    assert two.input.role == "validation"
