"""What of a Python file is prose, where it stands, and that the library is read as ``python_source`` reads it."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from specrun.runtime.data.docstrings import docstring_paragraphs, prose
from specrun.runtime.data.peek import peek
from specrun.runtime.data.raw import Fault
from specrun.runtime.data.scan import rows_of, scan
from specrun.runtime.data.sentences import Paragraph
from specrun.runtime.data.sources import SourceFile, list_inputs
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.data import PythonSource
from tests.runtime.data.test_python_source import source
from tests.runtime.plans import make_text_source

KEPT = {
    "the first line": ("Say what it is.", ["Say what it is."]),
    "paragraphs": (
        "Say what it is.\n\n    It goes on here\n    and ends here.\n    ",
        ["Say what it is.", "It goes on here and ends here."],
    ),
    "without a session": (
        "Add one to x.\n\n    >>> f(1)\n    This is what it prints.\n\n    This is prose again.\n",
        ["Add one to x.", "This is prose again."],
    ),
    "without a session in its paragraph": (
        "Add one to x:\n    >>> f(1)\n    2\n",
        ["Add one to x:"],
    ),
    "without code": (
        "Use it like this:\n\n        x = f(1, g=2)\n        print(x.y, end='')\n\n    It returns what was given.",
        ["Use it like this:", "It returns what was given."],
    ),
    "prose under a heading is indented": (
        "A class of things.\n\n    Note\n    ----\n        It is not safe for threads.\n",
        ["A class of things.", "It is not safe for threads."],
    ),
    "lists": (
        "There are two of them:\n\n    - the first of the two,\n      which is long.\n    - the second of the two.\n    1. numbers are marks too.\n",
        [
            "There are two of them:",
            "the first of the two, which is long.",
            "the second of the two.",
            "numbers are marks too.",
        ],
    ),
    "not parameters": (
        "Make a new one of these.\n\n    :param x: the number of them to be made.\n    @y the other number that is taken.\n\n"
        "    size -- how many there are of these.\n    name : what it is called in here.\n",
        ["Make a new one of these."],
    ),
    "not tables": (
        "The modes are these ones:\n\n    mode    what it means to open so.\n    other   what it means to open so.\n",
        ["The modes are these ones:"],
    ),
    "not short, not without an end": (
        "f(x) -> y\n\n    Too short.\n\n    Here there is no end\n",
        [],
    ),
    "two spaces between sentences": ("This is one.  This is two.", ["This is one. This is two."]),
    "names among words": (
        'Return the `path` (a string), or None if "x" isn\'t well-formed.',
        ['Return the `path` (a string), or None if "x" isn\'t well-formed.'],
    ),
    "not names alone": ("a_b c_d e_f g_h(i) is j_k.", []),
    "other scripts": ("Größe und Länge der Straße.", ["Größe und Länge der Straße."]),
    "nothing": ("", []),
    "blank": (" \n \n", []),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_prose(case: str) -> None:
    text, expected = KEPT[case]
    assert [found for found, _, _ in prose(text)] == expected


def paragraphs(folder: Path, text: str | bytes, name: str = "m.py") -> list[Paragraph | Fault]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    base = source(path)
    file = SourceFile(name=name, path=path, digest=base.digest, bytes=base.bytes)
    return list(docstring_paragraphs(file, name))


SOURCE = '''\
"""A module of no use at all.

It has a second paragraph
which ends on another line.
"""
TEXT = """This is a string and no docstring."""

class A:
    """This one is a class."""

    async def f(self):
        """This is what it does.

        - An item of a list
          goes on for a while.
        """
        "This is not a docstring either."

if A:
    def g():
        "One line, two\\nlines of text."
'''


def test_every_docstring_of_a_file_with_its_lines(tmp_path: Path) -> None:
    found = paragraphs(tmp_path, SOURCE)
    told = [(x.text, x.lines) for x in found if isinstance(x, Paragraph)]
    assert told == [
        ("A module of no use at all.", [1]),
        ("It has a second paragraph which ends on another line.", [3, 4]),
        ("This one is a class.", [9]),
        ("This is what it does.", [12]),
        ("An item of a list goes on for a while.", [14, 15]),
        ("One line, two lines of text.", [21, 21]),
    ]
    assert len(told) == len(found)
    item = found[4]
    assert isinstance(item, Paragraph)
    assert [item.line_at(item.text.index(word)) for word in ("item", "goes", "while")] == [14, 15, 15]  # fmt: skip


def test_the_reference_is_read_and_no_other_dictionary(tmp_path: Path) -> None:
    text = "topics = {'a': 'This is what it says.\\n'\n '\\nAnd this is more of it.', 'b': 3}\n"
    found = paragraphs(tmp_path, text, "pydoc_data/topics.py")
    assert [x.text for x in found if isinstance(x, Paragraph)] == [
        "This is what it says.",
        "And this is more of it.",
    ]
    assert paragraphs(tmp_path, text, "other.py") == []
    assert paragraphs(tmp_path, text.replace("topics", "x"), "pydoc_data/topics.py") == []


FAULTS = {
    "not Python": (b"def f(:\n", 1),
    "NUL byte in the source": (b"x = 1\n\0", 2),
    "unknown or wrong encoding": (b'"""\xff"""', 0),
    "text is not valid Unicode": (b'x = 1\ndef f():\n    "Here is a lone \\ud800 one."', 3),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_files_that_cannot_be_read_are_faults(reason: str, tmp_path: Path) -> None:
    content, line = FAULTS[reason]
    [fault] = paragraphs(tmp_path, content)
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.file, fault.line) == (reason, "m.py", line)


def test_a_file_that_changes_stops_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text('"""This is the old text."""')
    file = source(path)
    path.write_text('"""This is the new text."""')
    with pytest.raises(RunError, match="changed while it was read"):
        list(docstring_paragraphs(file, "m.py"))


def test_python_files_among_texts(tmp_path: Path) -> None:
    """Each is read in its own way; an encoding that a Python file states is its own."""
    (tmp_path / "a.txt").write_text('"""This is text, quotes and all."""')
    (tmp_path / "b.py").write_bytes('# coding: latin-1\n"""Größe und Länge davon."""'.encode("latin-1"))  # fmt: skip
    (tmp_path / "c.py").write_text("def f(:")
    texts = make_text_source(str(tmp_path), pattern="*")
    assert peek(texts, None).problems == ()
    found = scan(texts, None, "skip")
    rows = rows_of(found.rows_digest).training
    assert sorted(zip(rows.queries, rows.places, strict=True)) == [
        ('"""This is text, quotes and all."""', "a.txt:1"),
        ("Größe und Länge davon.", "b.py:2"),
    ]
    assert [(bad.reason, bad.count) for bad in found.bad] == [("not Python", 1)]
    alone = scan(make_text_source(str(tmp_path / "b.py")), None, "skip")
    assert list(rows_of(alone.rows_digest).training.places) == ["b.py:2"]


def test_the_library_has_the_files_of_python_source() -> None:
    """Whatever else is installed below it."""
    root = sysconfig.get_path("stdlib")
    [texts] = list_inputs(make_text_source(root, pattern="**/*.py"), None)
    [pairs] = list_inputs(PythonSource(roots=(root,)), None)
    assert texts.input.digest == pairs.input.digest
    assert texts.files == pairs.files
    some = list_inputs(make_text_source(root, pattern="json/**"), None)[0]
    assert "json/decoder.py" in {file.name for file in some.files}
    assert all(file.name.startswith("json/") for file in some.files)


def test_the_library_says_how_json_is_decoded() -> None:
    """Sentences of a real module, and no code among them."""
    root = sysconfig.get_path("stdlib")
    found = scan(make_text_source(root, pattern="json/decoder.py"), None, "skip")
    texts = list(rows_of(found.rows_digest).training.queries)
    assert "Simple JSON <https://json.org> decoder" not in texts
    assert any("Python representation of" in text for text in texts)
    assert not any(">>>" in text or "+---" in text for text in texts)
