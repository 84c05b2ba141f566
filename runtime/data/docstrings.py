"""The prose of Python files: paragraphs of docstrings, and of the reference that ``help()`` shows.

Files are parsed, never imported or run. Texts are the docstrings of modules, classes and functions, and the
strings of the dictionary ``topics`` in a file ``pydoc_data/topics.py``, which is the language's reference.

A paragraph ends at a blank line, and where the indentation changes unless it is that of a list's item. It is
prose where all of this holds; the rest is left out, because it is code, a table or a heading:

- No line of it, nor of those above it without a blank line between, begins with ``>>>``.
- It has four words or more, and ends like a sentence or announces what follows: ``.``, ``!``, ``?`` or ``:``.
- It does not describe a parameter (``:param x: …``, ``x -- …``, ``x : …``), and its lines have no columns.
- Three of four of its words are letters alone but for quotes, brackets, hyphens, emphasis and punctuation around.

The mark of a list's item is cut off.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from specrun.runtime.data.python_source import docstring_of, parse, statements
from specrun.runtime.data.raw import Fault, is_unicode
from specrun.runtime.data.sentences import Paragraph
from specrun.runtime.data.sources import SourceFile

TOPICS = ("pydoc_data/topics.py", "topics")
"""The end of the name of the file that holds the reference, and the dictionary in it."""

LEAST_WORDS = 4
PLAIN_SHARE = 0.75

_ITEM = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.)])\s+(?=\S)")
_COLUMNS = re.compile(r"[^\s.!?:] {2,}\S|\t")
_PARAMETER = re.compile(r":\w+[^:]*:|@\w+|\S+(?:, \S+)*\s+(?:--?|:|=)\s")
_END = re.compile(r"[.!?:][\"'”’)\]*`]*$")
_PLAIN = re.compile(
    r"[\"'“‘(\[*`]*[^\W\d_]+(?:['’/-][^\W\d_]+)*[\"'”’)\]*`]*[.,;:!?…]*[\"'”’)\]*`]*|--|-|–|—"
)


@dataclass
class _Block:
    """Lines of one paragraph: where its text stands from the left, and (line of the docstring from 0, text) of each."""

    indent: int
    lines: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def docstring_paragraphs(file: SourceFile, name: str) -> Iterator[Paragraph | Fault]:
    """The paragraphs of prose of one file in the order of their lines, and what had to be left out.

    Lines are those of the file. RunError when the file is no longer the listed one.
    """
    parsed = parse(file, name)
    if isinstance(parsed, Fault):
        yield parsed
        return
    _, tree = parsed
    found = _strings(tree)
    if file.name.endswith(TOPICS[0]):
        found += _topics(tree)
    for node in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        if is_unicode(str(node.value)):
            yield from _paragraphs(node)
        else:
            yield Fault("text is not valid Unicode", name, node.lineno)


def prose(text: str) -> Iterator[tuple[str, list[int], list[int]]]:
    """(paragraph, where each of its lines begins in it, the lines' numbers from 0) of a docstring."""
    for block in _blocks(text):
        lines = [(number, " ".join(line.split())) for number, line in block.lines]
        if item := _ITEM.match(lines[0][1]):
            lines[0] = (lines[0][0], lines[0][1][item.end() :])
        whole = " ".join(line for _, line in lines)
        if not _is_prose(whole) or any(_COLUMNS.search(line) for _, line in block.lines):
            continue
        starts = [0]
        for _, line in lines[:-1]:
            starts.append(starts[-1] + len(line) + 1)
        yield whole, starts, [number for number, _ in lines]


def _strings(tree: ast.Module) -> list[ast.Constant]:
    """The docstrings of everything in a file."""
    found: list[ast.Constant] = []
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            statement = docstring_of(node)
            if statement is not None and isinstance(statement.value, ast.Constant):
                found.append(statement.value)
        pending.extend(statements(node))
    return found


def _topics(tree: ast.Module) -> list[ast.Constant]:
    """The strings of the reference."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            names = [x.id for x in statement.targets if isinstance(x, ast.Name)]
            if names == [TOPICS[1]]:
                values = statement.value.values
                return [
                    x for x in values if isinstance(x, ast.Constant) and isinstance(x.value, str)
                ]
    return []


def _paragraphs(node: ast.Constant) -> Iterator[Paragraph]:
    """The prose of a string. A line that an escape made stands on the last line that it can."""
    assert isinstance(node.value, str)
    last = node.end_lineno or node.lineno
    for text, starts, lines in prose(node.value):
        yield Paragraph(text, starts, [min(node.lineno + number, last) for number in lines])


def _blocks(text: str) -> Iterator[_Block]:
    """The lines of a docstring between blank ones, told apart by indentation too; sessions left out."""
    block: _Block | None = None
    session = False
    for number, (indent, line) in enumerate(_indented(text)):
        if not line:
            session = False
        elif line.startswith(">>>"):
            session = True
        if block is not None and (
            session or not line or indent != block.indent or _ITEM.match(line)
        ):
            yield block
            block = None
        if not line or session:
            continue
        if block is None:
            item = _ITEM.match(line)
            block = _Block(indent + (item.end() if item else 0))
        block.lines.append((number, line))
    if block is not None:
        yield block


def _indented(text: str) -> list[tuple[int, str]]:
    """(indentation, rest) of each line; the first, which stands behind the quotes, has that of the others."""
    lines = [line.expandtabs() for line in text.split("\n")]
    found = [(len(line) - len(line.lstrip()), line.strip()) for line in lines]
    margin = min((indent for indent, line in found[1:] if line), default=0)
    return [(margin, found[0][1]), *found[1:]]


def _is_prose(text: str) -> bool:
    words = text.split(" ")
    if len(words) < LEAST_WORDS or not _END.search(text) or _PARAMETER.match(text):
        return False
    plain = sum(_PLAIN.fullmatch(word) is not None for word in words)
    return plain >= PLAIN_SHARE * len(words)
