"""Texts to embed or to search in: a run's own rows, a file of rows or of lines, a tree of Python code."""

from __future__ import annotations

import ast
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from specrun.runtime.cache import file_digest
from specrun.runtime.data.columns import rows_of_records
from specrun.runtime.data.items import image_item, image_of
from specrun.runtime.data.pictures import place_of
from specrun.runtime.data.python_source import Function, definitions, read_file
from specrun.runtime.data.raw import Fault, FileError, Row
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.sources import SourceFile, list_inputs
from specrun.runtime.data.split import normalise
from specrun.runtime.data.tables import open_table, table_files
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.data import (
    CsvSource,
    ImageSource,
    JsonlSource,
    ParquetSource,
    PythonSource,
    TsvSource,
)

SHOWN = 20
"""Faults of a file that are named, one by one."""

COLUMNS = ("positive", "text")
"""Columns of a corpus's texts, after the plan's own."""

FORMATS = {".jsonl": JsonlSource, ".csv": CsvSource, ".tsv": TsvSource, ".parquet": ParquetSource}
"""Formats of files with columns, by their names' endings."""

IMAGES = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of the names of images."""

Format = JsonlSource | CsvSource | TsvSource | ParquetSource


@dataclass(frozen=True)
class Corpus:
    """Texts with their places (``file:line``) and labels: a function's name, or empty.

    Or images: ``images`` are their files, ``texts`` what stands for them (``data.items``), labels their names.
    """

    texts: tuple[str, ...]
    places: tuple[str, ...]
    labels: tuple[str, ...]
    images: tuple[Path, ...] = ()


def read_lines(path: Path, column: str) -> list[str]:
    """The texts of a ``column`` where the file has columns (see ``FORMATS``), else the lines of a text file.

    InputError with file and line for what cannot be read.
    """
    if path.suffix in FORMATS:
        return [row.query for row in _table_rows(path, column)]
    text = _decoded(path)
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def read_pairs(path: Path, own: tuple[str, str] | None = None) -> list[Row]:
    """The rows of a file with columns (see ``FORMATS``): ``own`` names those of query and positive.

    Without it, or where the file lacks them, they are `query` and `positive`. InputError names every bad line.
    """
    if path.suffix not in FORMATS:
        raise InputError(
            f"rows are a {', '.join(FORMATS)} file, found {path}",
            code="corpus",
            hint="check the path" if not path.exists() else "put the rows into a .jsonl file",
        )
    pairs = dict.fromkeys(pair for pair in (own, ("query", "positive")) if pair is not None)
    for query, positive in pairs:
        source = FORMATS[path.suffix](path=str(path), query=query, positive=positive)
        if (query, positive) == list(pairs)[-1] or _fits(source):
            return _usable(path, _records(source))
    raise AssertionError("internal error: the last pair of columns is always tried")


def _fits(source: Format) -> bool:
    """Whether the first row has both texts."""
    try:
        return isinstance(next(_records(source), None), Row)
    except (FileError, OSError):
        return False


def rows_corpus(rows: Rows, images: ImageSource | None = None) -> Corpus:
    """The positives of both splits, training first; equal texts once, at their first place.

    Where they are images, ``images`` says where these lie. Explicit negatives are not among them: they may be texts made up to be wrong.
    """
    found: dict[str, Row] = {}
    for split in (rows.training, rows.validation):
        for row in zip(split.positives, split.places, split.names, strict=True):
            found.setdefault(normalise(row[0]), Row("", *row))
    corpus = _corpus(found.values())
    if images is None:
        return corpus
    names = [rows.images[image_of(item)] for item in corpus.texts]
    return replace(
        corpus, labels=tuple(names), images=tuple(place_of(images.root, name) for name in names)
    )


def folder_of_images(path: Path) -> Corpus:
    """Every image below a folder, by the names of their files. InputError when there is none."""
    if not path.is_dir():
        raise InputError(
            f"a corpus of images is a folder, found {path}",
            code="corpus",
            hint="check the path" if not path.exists() else "put the images into a folder",
        )
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGES and p.is_file())
    if not files:
        raise InputError(
            f"there is no image below {path}",
            code="corpus",
            hint=f"names of images end in {', '.join(IMAGES)}",
        )
    names = tuple(str(file.relative_to(path)) for file in files)
    items = tuple(image_item(file_digest(file)) for file in files)
    return Corpus(texts=items, places=names, labels=names, images=tuple(files))


def read_corpus(path: Path, own_column: str | None = None) -> Corpus:
    """A file with columns (see ``FORMATS``), a Python file, or a folder of Python code with all functions.

    The column is the first of ``own_column``, ``positive`` and ``text`` that the first row has.
    InputError when there is nothing to search in; a UserWarning names Python files left out.
    """
    if path.suffix in FORMATS:
        column = _column(path, own_column)
        found = _corpus(Row("", r.query, r.place, "") for r in _table_rows(path, column))
    elif path.is_dir() or path.suffix == ".py":
        found = _corpus(_functions(path))
    else:
        raise InputError(
            f"a corpus is a {', '.join(FORMATS)} file or a folder of Python code, found {path}",
            code="corpus",
            hint="check the path" if not path.exists() else "put the texts into a .jsonl file",
        )
    if not found.texts:
        raise InputError(f"there is nothing to search in {path}", code="corpus")
    return found


def _corpus(rows: Iterable[Row]) -> Corpus:
    listed = list(rows)
    return Corpus(
        texts=tuple(r.positive for r in listed),
        places=tuple(r.place for r in listed),
        labels=tuple(r.name for r in listed),
    )


def _table(path: Path, column: str) -> Iterator[Row | Fault]:
    """The rows of a file of which one column is wanted, as query and positive both."""
    yield from _records(FORMATS[path.suffix](path=str(path), query=column, positive=column))


def _records(source: Format) -> Iterator[Row | Fault]:
    for name, file in table_files(source):
        yield from rows_of_records(open_table(source, name, file), source)


def _table_rows(path: Path, column: str) -> list[Row]:
    return _usable(path, _table(path, column))


def _usable(path: Path, records: Iterable[Row | Fault]) -> list[Row]:
    """The rows; InputError for those that cannot be read, each with its line."""
    rows: list[Row] = []
    faults: list[Fault] = []
    try:
        for found in records:
            if isinstance(found, Fault):
                faults.append(found)
            else:
                rows.append(found)
    except (OSError, FileError) as error:
        raise _unreadable(path, error) from error
    if faults:
        raise InputError(_diagnostic(path, fault) for fault in faults[:SHOWN])
    return rows


def _diagnostic(path: Path, fault: Fault) -> Diagnostic:
    detail = f": {fault.detail}" if fault.detail else ""
    return Diagnostic(
        code="bad-row",
        message=fault.reason + detail,
        file=str(path),
        line=fault.line,
        column=1,
        hint="mend the line or take it out; the column of the text is named by --column",
    )


def _column(path: Path, own: str | None) -> str:
    """The first of the known keys under which the first rows have a text."""
    wanted = [c for c in dict.fromkeys((own, *COLUMNS)) if c]
    for column in wanted:
        try:
            first = next(_table(path, column), None)
        except FileError as error:
            if error.code == "unknown-column":
                continue
            raise _unreadable(path, error) from error
        except OSError as error:
            raise _unreadable(path, error) from error
        if isinstance(first, Row):
            return column
    return wanted[0]


def _functions(root: Path) -> Iterator[Row]:
    """Every function below ``root``, without docstrings, as a run's own rows have them."""
    left_out: list[Fault] = []
    for listing in list_inputs(PythonSource(roots=(str(root),)), None):
        for file in listing.files:
            documented, faults = read_file(file)
            left_out += faults
            if not faults:
                yield from _with_others(file, documented)
    if left_out:
        named = ", ".join(f"{f.place} ({f.reason})" for f in left_out[:5])
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        warnings.warn(f"left out of the corpus: {named}{more}", UserWarning, stacklevel=4)


def _with_others(file: SourceFile, documented: list[Row]) -> list[Row]:
    """The documented functions of a file and those without a docstring, in the order of lines."""
    known = {row.place: row for row in documented}
    with tokenize.open(file.path) as source:
        text = source.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    lines = text.split("\n")
    file_name = file.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return [
        known.get(place) or Row("", _source(lines, node), place, name)
        for name, node in definitions(tree)
        if isinstance(node, Function) and (place := f"{file_name}:{node.lineno}")
    ]


def _source(lines: list[str], node: Function) -> str:
    """A function's text from its decorators on, without its indentation."""
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    indent = lines[node.lineno - 1][: node.col_offset]
    own = lines[first - 1 : node.end_lineno]
    return "\n".join(line.removeprefix(indent).rstrip() for line in own).rstrip()


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            [
                Diagnostic(
                    code="not-utf-8",
                    message=f"the line is not UTF-8: {error.reason}",
                    file=str(path),
                    line=raw.count(b"\n", 0, error.start) + 1,
                    column=1,
                    hint="save the file as UTF-8",
                )
            ]
        ) from error


def _unreadable(path: Path, error: OSError | FileError) -> InputError:
    if isinstance(error, FileError):
        return InputError(error.message, code=error.code, hint=error.hint)
    return InputError(
        f"cannot read {path}: {error.strerror or error}", code="unreadable", hint="check the path"
    )
