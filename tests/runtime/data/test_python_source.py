"""Pairs from Python source: what is a pair, what its texts are, and that no file can do harm."""

from __future__ import annotations

import ast
import copy
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from specrun.runtime.data.python_source import MAX_BYTES, first_paragraph, read_file
from specrun.runtime.data.raw import Fault, Row
from specrun.runtime.data.sources import SourceFile, list_inputs
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.data import PythonSource


def source(path: Path) -> SourceFile:
    (listing,) = list_inputs(PythonSource(roots=(str(path),)), None)
    (file,) = listing.files
    return file


def read(folder: Path, text: str | bytes) -> tuple[list[Row], list[Fault]]:
    path = folder / "m.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(source(path))


def pairs(folder: Path, text: str | bytes) -> list[tuple[str, str]]:
    rows, faults = read(folder, text)
    assert faults == []
    return [(row.query, row.positive) for row in rows]


CASES = {
    "plain": (
        'def f(x):\n    """Say it."""\n    return x\n',
        [("Say it.", "def f(x):\n    return x")],
    ),
    "only the first paragraph, on one line": (
        'def f():\n    """One\n    two.\n\n    Three.\n    """\n    return 1\n',
        [("One two.", "def f():\n    return 1")],
    ),
    "a blank line of white space ends a paragraph": (
        'def f():\n    """\n    One.\n   \t\n    Two."""\n    return 1\n',
        [("One.", "def f():\n    return 1")],
    ),
    "no docstring": ("def f():\n    return 1\n", []),
    "an empty docstring": ('def f():\n    """ """\n    return 1\n', []),
    "bytes are no docstring": ('def f():\n    b"Say."\n    return 1\n', []),
    "an f-string is no docstring": ('def f():\n    f"Say."\n    return 1\n', []),
    "a raw docstring": (
        "def f():\n    r'''A \\d.'''\n    return 1\n",
        [("A \\d.", "def f():\n    return 1")],
    ),
    "two strings side by side": (
        "def f():\n    'One ' \\\n    'two.'\n    return 1\n",
        [("One two.", "def f():\n    return 1")],
    ),
    "in parentheses": (
        "def f():\n    ('One '\n     'two.')\n    return 1\n",
        [("One two.", "def f():\n    return 1")],
    ),
    "async": (
        'async def f():\n    """Say."""\n    await g()\n',
        [("Say.", "async def f():\n    await g()")],
    ),
    "decorators": (
        '@one\n@two(\n    3\n)\ndef f():\n    """Say."""\n    return 1\n',
        [("Say.", "@one\n@two(\n    3\n)\ndef f():\n    return 1")],
    ),
    "a method loses its indentation": (
        'class A:\n    """Class."""\n    @property\n    def f(self):\n        """Say."""\n        return 1\n',
        [("Say.", "@property\ndef f(self):\n    return 1")],
    ),
    "nested: both, and neither text holds a docstring": (
        'def f():\n    """Outer."""\n    def g():\n        """Inner."""\n        return 1\n    return g\n',
        [
            ("Outer.", "def f():\n    def g():\n        return 1\n    return g"),
            ("Inner.", "def g():\n    return 1"),
        ],
    ),
    "a class within": (
        'def f():\n    """Outer."""\n    class C:\n        """Inner."""\n        x = 1\n    return C\n',
        [("Outer.", "def f():\n    class C:\n        x = 1\n    return C")],
    ),
    "below if, try, with, for, while, match": (
        "if a:\n    try:\n        pass\n    except E:\n        with b:\n            for c in d:\n"
        "                while e:\n                    match g:\n                        case 1:\n"
        '                            def f():\n                                """Say."""\n'
        "                                return 1\n",
        [("Say.", "def f():\n    return 1")],
    ),
    "in the else of a loop and in finally": (
        "for a in b:\n    pass\nelse:\n    try:\n        pass\n    finally:\n"
        '        def f():\n            "Say."\n            return 1\n',
        [("Say.", "def f():\n    return 1")],
    ),
    "on the line of the def": ('def f(): "Say."\n', [("Say.", "def f():")]),
    "on the line of the def, with a semicolon": (
        'def f(): "Say."; return 1\n',
        [("Say.", "def f(): return 1")],
    ),
    "a semicolon on its own line": (
        'def f():\n    "Say." ; return 1\n',
        [("Say.", "def f():\n    return 1")],
    ),
    "a semicolon and nothing": (
        'def f():\n    "Say.";\n    return 1\n',
        [("Say.", "def f():\n    return 1")],
    ),
    "a comment after it stays": (
        'def f():\n    "Say."  # why\n    return 1\n',
        [("Say.", "def f():\n    # why\n    return 1")],
    ),
    "letters of several bytes before it on the line": (
        'def f(ä="日本"): "Säge."; return "ö"\n',
        [("Säge.", 'def f(ä="日本"): return "ö"')],
    ),
    "only a docstring": ('def f():\n    """Say."""\n', [("Say.", "def f():")]),
    "blank lines after it go": (
        'def f():\n    """Say."""\n\n\n    return 1\n\n\n',
        [("Say.", "def f():\n    return 1")],
    ),
    "tabs": (
        'class A:\n\tdef f():\n\t\t"""Say."""\n\t\treturn 1\n',
        [("Say.", "def f():\n\treturn 1")],
    ),
    "CRLF": (
        'def f():\r\n    """One\r\n    two.\r\n\r\n    More."""\r\n    return 1\r\n',
        [("One two.", "def f():\n    return 1")],
    ),
    "CR": ('def f():\r    """Say."""\r    return 1\r', [("Say.", "def f():\n    return 1")]),
    "a form feed": (
        '\x0cdef f():\n    """Say."""\n\x0c\n    return 1\n',
        [("Say.", "def f():\n    return 1")],
    ),
    "a byte order mark": (
        b'\xef\xbb\xbfdef f():\n    """S\xc3\xa4ge."""\n    return 1\n',
        [("Säge.", "def f():\n    return 1")],
    ),
    "latin-1 by a coding line": (
        b'# -*- coding: latin-1 -*-\ndef f():\n    """S\xe4ge."""\n    return "\xf6"\n',
        [("Säge.", 'def f():\n    return "ö"')],
    ),
    "no line end at the end": (
        'def f():\n    """Say."""\n    return 1',
        [("Say.", "def f():\n    return 1")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pairs(tmp_path: Path, name: str) -> None:
    text, wanted = CASES[name]
    assert pairs(tmp_path, text) == wanted


def test_rows_say_where_they_come_from(tmp_path: Path) -> None:
    text = "class A:\n    @d\n    def f(self):\n        'One.'\n        def g(): 'Two.'\n"
    rows, _ = read(tmp_path, text)
    assert [(r.place, r.name) for r in rows] == [("m.py:3", "A.f"), ("m.py:5", "A.f.g")]


FAULTS = {
    "not Python": (b"def f(:\n", 1),
    "NUL byte in the source": (b"x = 1\ny = '\0'\n", 2),
    "unknown or wrong encoding": (b"x = '\xff'\n", 0),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_file_that_cannot_be_read_is_one_fault(tmp_path: Path, reason: str) -> None:
    text, line = FAULTS[reason]
    rows, (fault,) = read(tmp_path, text)
    assert rows == []
    assert (fault.reason, fault.file, fault.line) == (reason, "m.py", line)


@pytest.mark.parametrize(
    "coding",
    ["klingon", "rot13", "hex", "utf-16", "undefined", "idna", "os", "../x", "raw_unicode_escape"],
)
def test_no_coding_line_does_harm(tmp_path: Path, coding: str) -> None:
    text = f"# coding: {coding}\ndef f():\n    'Say \\ud800.'\n    return '\\x00'\n"
    rows, faults = read(tmp_path, text)
    assert len(rows) + len(faults) <= 1
    assert all(f.reason for f in faults)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + ")" * 5000,
        "x = " + "-" * 100_000 + "1",
        "x = " + "not " * 20_000 + "1",
        "x = " + "1+" * 50_000 + "1",
        "x = a" + ".b" * 50_000,
        "x = a" + "()" * 20_000,
        "x = " + "lambda: " * 10_000 + "1",
        "\n".join(" " * i + "if x:" for i in range(99)) + "\n" + " " * 99 + "pass",
        "\n".join(" " * i + "def f():" for i in range(200)),
        "if a: pass\n" + "elif a: pass\n" * 20_000,
        "x = " + "9" * 10_000,
        "x = '" + "a" * 100_000,
        "'''" * 10_001,
        "\\\n" * 5000,
        "f'" + "{" * 500,
    ],
    ids=range(15),
)
def test_nothing_deep_or_long_does_harm(tmp_path: Path, text: str) -> None:
    rows, faults = read(tmp_path, text)
    assert rows == []
    assert len(faults) <= 1


def test_a_lone_surrogate_in_a_docstring_is_a_fault(tmp_path: Path) -> None:
    rows, (fault,) = read(
        tmp_path, "def f():\n    'Say \\ud800.'\n\ndef g():\n    'Good.'\n    return 1\n"
    )
    assert [r.query for r in rows] == ["Good."]
    assert (fault.reason, fault.place) == ("text is not valid Unicode", "m.py:1")


def test_nothing_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    text = (
        f"open({str(mark)!r}, 'w')\n"
        f"@open({str(mark)!r}, 'w')\ndef f(x=open({str(mark)!r}, 'w')):\n    'Say.'\n    return 1\n"
    )
    assert len(pairs(tmp_path, text)) == 1
    assert not mark.exists()


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    _, (fault,) = read(tmp_path, b"x = 1\n" * (MAX_BYTES // 6 + 1))
    assert fault.reason == "file too large"


def test_a_file_that_changes_between_listing_and_reading_stops_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("def f(): 'One.'\n")
    file = source(path)
    path.write_text("def f(): 'Two.'\n")
    with pytest.raises(RunError, match="changed while it was read"):
        read_file(file)


def test_a_file_that_vanishes_between_listing_and_reading_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("def f(): 'One.'\n")
    file = source(path)
    path.unlink()
    _, (fault,) = read_file(file)
    assert fault.reason == "unreadable file"


def test_names_of_any_bytes_can_be_shown(tmp_path: Path) -> None:
    path = Path(str(tmp_path / "m") + "\udcff.py")
    path.write_text("def f(): 'Say.'\n")
    (row,), _ = read_file(source(path))
    row.place.encode()


@pytest.mark.parametrize(
    ("docstring", "wanted"),
    [
        ("", ""),
        (" \n\t\n", ""),
        ("One", "One"),
        ("\n\n  One\n  two\n\nThree", "One two"),
        ("One\n \x0b\nTwo", "One"),
        ("One\u00a0 two", "One two"),
    ],
)
def test_the_first_paragraph(docstring: str, wanted: str) -> None:
    assert first_paragraph(docstring) == wanted


LIBRARY = Path(sysconfig.get_paths()["stdlib"])


@pytest.mark.parametrize(
    "package", ["asyncio", "email", "importlib", "unittest", "concurrent", "json", "*.py"]
)
def test_a_function_of_the_library_is_itself_without_its_docstrings(package: str) -> None:
    """Parsed again, every text is the function's tree with all docstrings taken out."""
    paths = sorted(LIBRARY.glob(package if package == "*.py" else f"{package}/**/*.py"))
    checked = 0
    for path in paths[:: 4 if package == "*.py" else 1]:
        rows, faults = read_file(source(path))
        assert faults == []
        trees = {(node.lineno, node.name): node for node in functions(ast.parse(path.read_bytes()))}
        for row in rows:
            line, name = int(row.place.rpartition(":")[2]), row.name.rpartition(".")[2]
            node = trees[line, name]
            assert row.query == first_paragraph(ast.get_docstring(node, clean=False) or "")
            if all_have_a_body(node):
                wanted = without_docstrings(copy.deepcopy(node))
                assert shape(ast.parse(row.positive).body[0]) == shape(wanted), row.place
                checked += 1
    assert checked >= 10


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def docstring(node: ast.AST) -> bool:
    named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return named and ast.get_docstring(node, clean=False) is not None


def all_have_a_body(tree: ast.AST) -> bool:
    return not any(docstring(n) and len(n.body) == 1 for n in ast.walk(tree))  # type: ignore[attr-defined]


def without_docstrings(tree: ast.AST) -> ast.AST:
    for node in [n for n in ast.walk(tree) if docstring(n)]:
        node.body = node.body[1:]  # type: ignore[attr-defined]
    return tree


def shape(tree: ast.AST) -> str:
    """The tree, white space in texts aside: a function's indentation is taken out of them too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = " ".join(node.value.split())
    return ast.dump(tree)
