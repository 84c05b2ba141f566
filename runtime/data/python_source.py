"""Pairs from Python source: the first paragraph of a docstring and the function without it.

Files are parsed, never imported or run. A function is a ``def`` or ``async def`` at any depth whose
docstring holds a word. Its text starts at its decorators, loses its indentation, and loses the
docstrings of everything defined inside it too, so that no query occurs inside another function.
"""

from __future__ import annotations

import ast
import bisect
import io
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from specrun.runtime.data.raw import Fault, Row, is_unicode, printable
from specrun.runtime.data.sources import SourceFile, content_of

MAX_BYTES = 8 << 20
"""Larger files are generated tables; a syntax tree takes a hundred times their size."""

_BLOCKS = {
    kind: tuple(
        f for f in kind._fields if f in ("body", "orelse", "finalbody", "handlers", "cases")
    )
    for kind in vars(ast).values()
    if isinstance(kind, type)
    and issubclass(kind, ast.stmt | ast.mod | ast.excepthandler | ast.match_case)
}
"""The fields of a statement that hold statements, by its type."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
_Span = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Found:
    """The functions of a file by qualified name, and the (line, column, end line, end column) of all docstrings."""

    functions: list[tuple[str, Function]]
    docstrings: list[_Span]


def read_file(file: SourceFile, prefix: str = "") -> tuple[list[Row], list[Fault]]:
    """The pairs of one file in the order of their lines, and what had to be left out.

    ``prefix`` goes before the file's name in places. RunError when the file is no longer the listed one.
    """
    name = prefix + printable(file.name)
    parsed = parse(file, name)
    if isinstance(parsed, Fault):
        return [], [parsed]
    text, tree = parsed
    return _pairs(text, _collect(tree), name)


def first_paragraph(docstring: str) -> str:
    """The docstring up to its first blank line, on one line; empty when there is no word in it."""
    words: list[str] = []
    for line in docstring.strip().split("\n"):
        found = line.split()
        if not found:
            break
        words += found
    return " ".join(words)


def parse(file: SourceFile, name: str) -> tuple[str, ast.Module] | Fault:
    """The text of a file and its syntax tree, or why there is none. RunError when the file changed."""
    raw = content_of(file, name, MAX_BYTES)
    if isinstance(raw, Fault):
        return raw
    try:
        text = _decode(raw)
    except SyntaxError as error:
        return Fault("unknown or wrong encoding", name, detail=str(error.msg))
    except (UnicodeError, LookupError) as error:
        return Fault("unknown or wrong encoding", name, detail=str(error))
    if "\0" in text:
        return Fault("NUL byte in the source", name, text[: text.index("\0")].count("\n") + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return text, ast.parse(text)
    except SyntaxError as error:
        return Fault("not Python", name, error.lineno or 0, str(error.msg))
    except (RecursionError, MemoryError):
        return Fault("nested too deeply", name)
    except ValueError as error:
        return Fault("not Python", name, detail=str(error))


def _decode(raw: bytes) -> str:
    """Text as the interpreter would read it, by byte order mark or coding line, with ``\\n`` as line ends."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    return io.TextIOWrapper(io.BytesIO(raw), encoding).read()


def _collect(tree: ast.Module) -> _Found:
    functions: list[tuple[str, Function]] = []
    docstrings: list[_Span] = []
    for name, node in definitions(tree):
        if (statement := docstring_of(node)) is not None:
            docstrings.append(_span(statement))
            if isinstance(node, Function):
                functions.append((name, node))
    return _Found(functions, sorted(docstrings))


def definitions(tree: ast.Module) -> list[tuple[str, Function | ast.ClassDef]]:
    """Functions and classes at any depth with their qualified names, in the order of lines."""
    found: list[tuple[str, Function | ast.ClassDef]] = []
    pending: list[tuple[ast.AST, str]] = [(tree, "")]
    while pending:
        node, prefix = pending.pop()
        if isinstance(node, Function | ast.ClassDef):
            found.append((prefix + node.name, node))
            prefix = f"{prefix}{node.name}."
        pending.extend((child, prefix) for child in statements(node))
    return sorted(found, key=lambda d: (d[1].lineno, d[1].col_offset))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements within a statement: only there can a ``def`` be."""
    for block in _BLOCKS.get(type(node), ()):
        yield from getattr(node, block)


def docstring_of(node: Function | ast.ClassDef | ast.Module) -> ast.Expr | None:
    """The statement that is a definition's docstring."""
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return first if isinstance(first.value.value, str) else None
    return None


def _span(node: ast.stmt) -> _Span:
    end_line, end_column = node.end_lineno, node.end_col_offset
    assert end_line is not None
    assert end_column is not None
    return node.lineno, node.col_offset, end_line, end_column


def _pairs(text: str, found: _Found, name: str) -> tuple[list[Row], list[Fault]]:
    lines = text.split("\n")
    rows: list[Row] = []
    faults: list[Fault] = []
    for qualified, node in found.functions:
        statement = docstring_of(node)
        assert statement is not None
        query = first_paragraph(ast.literal_eval(statement.value))
        if not query:
            continue
        positive = _without_docstrings(lines, node, found.docstrings)
        if is_unicode(query) and is_unicode(positive):
            rows.append(Row(query, positive, f"{name}:{node.lineno}", qualified))
        else:
            faults.append(Fault("text is not valid Unicode", name, node.lineno))
    return rows, faults


def _without_docstrings(lines: list[str], node: Function, docstrings: list[_Span]) -> str:
    first, last = min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno
    assert last is not None
    own = lines[first - 1 : last]
    inside = docstrings[bisect.bisect_left(docstrings, (first,)) :]
    for span in reversed(inside[: bisect.bisect_left(inside, (last + 1,))]):
        _cut(own, span, first)
    indent = lines[node.lineno - 1][: node.col_offset]
    return "\n".join(line.removeprefix(indent).rstrip() for line in own).rstrip()


def _cut(own: list[str], span: _Span, first: int) -> None:
    """Remove a docstring, the semicolon after it, and the lines that become or follow blank."""
    start, end = span[0] - first, span[2] - first
    head = own[start].encode()[: span[1]].decode()
    tail = own[end].encode()[span[3] :].decode().lstrip()
    kept = (head + tail.removeprefix(";").lstrip()).rstrip()
    after = end + 1
    while not kept and after < len(own) and not own[after].strip():
        after += 1
    own[start:after] = [kept] if kept else []
