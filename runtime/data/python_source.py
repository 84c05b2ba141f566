"""Pairs from Python source: first paragraph of a docstring → the function without its docstring.

Sources are parsed, never imported or run.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import textwrap
import tokenize
import warnings
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from specrun.runtime.data.faults import Faults
from specrun.runtime.data.rows import Row
from specrun.spec.plan.data import Input, PythonSource

SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "__pycache__", "node_modules"})
"""Never read: installed packages and caches."""

TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
"""Not read of a standard library, whose tests are larger than itself. Of other roots, ``exclude`` decides."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def source_files(source: PythonSource) -> list[tuple[Path, str]]:
    """(file, its path relative to its root), in a fixed order; links to folders are not followed."""
    found: list[tuple[Path, str]] = []
    for root in map(Path, source.roots):
        if root.is_file():
            found.append((root, root.name))
        else:
            found += sorted(_walk(root, source.exclude), key=lambda item: item[1])
    return found


def source_input(files: list[tuple[Path, str]], root: str) -> Input:
    """The digest of all files: of their relative names and contents."""
    total, size = hashlib.sha256(), 0
    for path, name in files:
        content = _bytes(path)
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode("utf-8", "surrogateescape"))
        size += len(content)
    return Input(role="data", path=root, digest="sha256:" + total.hexdigest(), bytes=size, files=len(files))


def read_functions(files: list[tuple[Path, str]], faults: Faults) -> Iterator[Row]:
    """The pairs of every file. Files that cannot be read or parsed are counted in ``faults``."""
    for path, name in files:
        label = name.encode("utf-8", "replace").decode()
        text = _text(path, label, faults)
        tree = None if text is None else _parse(text, label, faults)
        if text is not None and tree is not None:
            yield from _pairs(tree, text, label)


def _walk(root: Path, exclude: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    skipped = SKIPPED_FOLDERS | (TEST_FOLDERS if _is_standard_library(root) else frozenset())
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in skipped)
        for file in sorted(files):
            path = Path(folder, file)
            name = path.relative_to(root).as_posix()
            if file.endswith(".py") and path.is_file() and not any(fnmatchcase(name, p) for p in exclude):
                yield path, name


def _is_standard_library(root: Path) -> bool:
    return (root / "os.py").is_file() and (root / "ast.py").is_file()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _text(path: Path, label: str, faults: Faults) -> str | None:
    try:
        content = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return io.TextIOWrapper(io.BytesIO(content), encoding).read()
    except OSError as error:
        faults.add(f"file cannot be read ({error.strerror})", label)
    except (UnicodeDecodeError, SyntaxError, LookupError):
        faults.add("file is not text in its declared encoding", label)
    return None


def _parse(text: str, label: str, faults: Faults) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError):
        faults.add("file is not Python of this version", label)
    except (RecursionError, MemoryError):
        faults.add("file nests too deeply to be parsed", label)
    return None


def _pairs(tree: ast.Module, text: str, label: str) -> Iterator[Row]:
    lines = [line + b"\n" for line in text.encode("utf-8", "surrogatepass").split(b"\n")]
    for prefix, node in _functions(tree):
        query = _first_paragraph(ast.get_docstring(node) or "")
        if not query or len(node.body) < 2:
            continue  # nothing to find it by, or nothing to find
        body = _without_docstring(node, lines)
        yield Row(
            query=_encodable(query),
            positive=_encodable(body),
            place=f"{label}:{node.lineno}",
            name=_encodable(prefix + node.name),
        )


def _functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Every function with the dotted prefix of the classes and functions around it, in source order."""
    stack: list[tuple[str, ast.AST]] = [("", tree)]
    while stack:
        prefix, node = stack.pop()
        if isinstance(node, Function):
            yield prefix, node
        inside = f"{prefix}{node.name}." if isinstance(node, (*Function.__args__, ast.ClassDef)) else prefix
        stack += [(inside, child) for child in reversed(list(ast.iter_child_nodes(node)))]


def _first_paragraph(docstring: str) -> str:
    lines: list[str] = []
    for line in docstring.strip().splitlines():
        if not line.strip():
            break
        lines.append(line.strip())
    return " ".join(" ".join(lines).split())


def _without_docstring(node: Function, lines: list[bytes]) -> str:
    """The function's source from its first decorator to its end, the docstring cut out. Columns count bytes."""
    start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    docstring = node.body[0]
    end_line, end_column = docstring.end_lineno or docstring.lineno, docstring.end_col_offset or 0
    before = b"".join(lines[start - 1 : docstring.lineno - 1]) + lines[docstring.lineno - 1][: docstring.col_offset]
    after = lines[end_line - 1][end_column:] + b"".join(lines[end_line : node.end_lineno])
    before, after = before.rstrip(b" \t"), after.lstrip(b" \t;")
    joint = b" " if not before.endswith(b"\n") else b""
    whole = before + joint + (after.removeprefix(b"\n") if not joint else after)
    return textwrap.dedent(whole.decode("utf-8", "replace")).strip()


def _encodable(text: str) -> str:
    """Source may hold lone surrogates as escapes only; docstrings may hold them for real."""
    return text.encode("utf-8", "backslashreplace").decode()
