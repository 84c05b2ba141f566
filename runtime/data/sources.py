"""The files that a source of rows reads, and the digests by which a change of them is noticed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from specrun.runtime.cache import file_digest
from specrun.runtime.data.pictures import look_all, named_images
from specrun.runtime.data.raw import Fault, FileError
from specrun.runtime.data.tables import as_table, need_regular, table_files, table_root
from specrun.spec.diagnostics import Diagnostic, InputError, RunError
from specrun.spec.plan.data import (
    EmojiSource,
    HeldOut,
    HeldOutFile,
    HeldOutFraction,
    HeldOutSplit,
    ImageSource,
    Input,
    PythonSource,
    Source,
    Table,
    TableSource,
    TextSource,
)

LEFT_OUT = frozenset({"__pycache__", "site-packages", "dist-packages", "node_modules"})
"""Folders never read below a root; neither are hidden folders and virtual environments."""

LIBRARY_LEFT_OUT = frozenset({"test", "tests", "idlelib", "turtledemo"})
"""Folders not read below Python's own library: tests, which quote what they test, and applications."""

_LIBRARY_MARKS = ("os.py", "abc.py", "site.py", "_collections_abc.py")


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file to read. ``name`` is its path below the root with ``/``; ``error`` says why it is unreadable."""

    name: str
    path: Path
    digest: str
    bytes: int
    error: str = ""


def content_of(file: SourceFile, name: str, most: int) -> bytes | Fault:
    """What a file holds, at most ``most`` bytes, or why it cannot be read. RunError when it changed since it was listed."""
    if file.error:
        return Fault("unreadable file", name, detail=file.error)
    if file.bytes > most:
        limit = f"{file.bytes} bytes; at most {most} are read"
        return Fault("file too large", name, detail=limit)
    try:
        raw = file.path.read_bytes()
    except OSError as error:
        return Fault("unreadable file", name, detail=error.strerror or str(error))
    if "sha256:" + hashlib.sha256(raw).hexdigest() != file.digest:
        raise RunError(f"{file.path} changed while it was read; start again")
    return raw


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What one input consists of, ``files`` in the order of their names."""

    input: Input
    files: tuple[SourceFile, ...]


def list_inputs(source: Source, held_out: HeldOut | None) -> tuple[Listing, ...]:
    """Every input with the digests of its files: the rows', the held-out rows', and then all images that they name.

    Raises InputError, all at once, for roots and files that are missing and for patterns that
    cannot match.
    """
    problems: list[Diagnostic] = []
    font, source = source, as_table(source)
    at = list(places(source, held_out))
    found = [_attempt(place, problems) for place in at]
    if problems:
        raise InputError(problems)
    listings = [listing for listing in found if listing is not None]
    if not isinstance(source, TableSource) or source.images is None:
        return tuple(listings)
    listings.append(_list_images(source.images, list(zip(at, listings, strict=True))))
    if isinstance(font, EmojiSource):  # wherever they are drawn, the font is what they come from
        listings = [replace(x, input=replace(x.input, path=font.path)) for x in listings]
    return tuple(listings)


@dataclass(frozen=True)
class Place:
    """An input before it is read: ``key`` is where the spec names it, ``path`` what it names."""

    role: str
    key: str
    path: str
    source: Source


def places(source: Source, held_out: HeldOut | None) -> Iterator[Place]:
    """Every input."""
    if isinstance(source, PythonSource):
        for i, root in enumerate(source.roots):
            yield Place("data", f"data.roots[{i}]", root, source)
    else:
        yield Place("data", "data.path", source.path, source)
    match held_out:
        case HeldOutFile():
            yield Place("validation", "data.validation.path", held_out.source.path, held_out.source)
        case HeldOutSplit():
            inner = held_out.source
            yield Place("validation", "data.validation.split", inner.path, inner)
        case HeldOutFraction() | None:
            pass
        case _:
            assert_never(held_out)


def unreadable(place: Place, error: OSError | FileError) -> Diagnostic:
    """What is wrong with an input as a whole, at the key that mends it."""
    if isinstance(error, FileError):
        own = place.role == "data" or error.key == "kind"
        path = f"data.{error.key}" if own else place.key
        return Diagnostic(code=error.code, path=path, message=error.message, hint=error.hint)
    return Diagnostic(
        code="unreadable",
        path=place.key,
        message=f"cannot read {place.path}: {error.strerror or error}",
        hint="check that it exists and may be read",
    )


def walk(root: Path, exclude: Sequence[re.Pattern[str]]) -> Iterator[tuple[str, Path]]:
    """(name, path) of the Python files below ``root`` in the order of their names, or of the one file.

    Links to folders are not followed, so cycles do no harm.
    """
    skipped = LEFT_OUT | LIBRARY_LEFT_OUT if is_library(root) else LEFT_OUT
    yield from _walk(root, exclude, lambda folder: _entries(folder, skipped))


def walk_texts(root: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, Path]]:
    """(name, path) of the files below ``root`` whose name fits, in the order of their names, or of the one file.

    Links to folders are not followed, and what begins with a dot is left out. Of Python's own library there are
    the files that ``walk`` gives, so that what is installed beside it is not among them.
    """
    alone = not root.is_dir()
    for name, path in walk(root, ()) if is_library(root) else _walk(root, (), _visible):
        if alone or pattern.fullmatch(name):
            yield name, path


def _walk(
    root: Path, exclude: Sequence[re.Pattern[str]], entries: Callable[[Path], Iterator[str]]
) -> Iterator[tuple[str, Path]]:
    if not root.is_dir():
        yield root.name, root
        return
    pending = [("", root)]
    while pending:
        name, path = pending.pop()
        if name and not os.path.isdir(path):
            yield name, path
            continue
        below = (_join(name, entry) for entry in entries(path))
        kept = [(n, root / n) for n in below if not any(p.fullmatch(n) for p in exclude)]
        pending.extend(sorted(kept, reverse=True))


def is_library(root: Path) -> bool:
    """Whether a folder is the standard library of some Python, told by files that only it has together."""
    return all((root / mark).is_file() for mark in _LIBRARY_MARKS)


def is_python(name: str) -> bool:
    """Whether a file is Python source, by its name."""
    return name.endswith(".py")


def compile_patterns(patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Glob patterns over names below a root: ``*`` and ``?`` stay within a folder, ``**`` does not.

    A pattern that matches a folder leaves out all that is in it. InputError for patterns that
    cannot match any name.
    """
    return _compiled([(f"data.exclude[{i}]", p) for i, p in enumerate(patterns)], "tests/**")


def text_pattern(source: TextSource) -> re.Pattern[str]:
    """Which files below a folder are read. InputError where it can match no name."""
    return _compiled([("data.pattern", source.pattern)], "**/*.txt")[0]


def _compiled(patterns: Sequence[tuple[str, str]], example: str) -> tuple[re.Pattern[str], ...]:
    """Patterns given with where they are written."""
    compiled = [_compile(p) for _, p in patterns]
    wrong = [
        Diagnostic(
            code="bad-pattern",
            path=at,
            message=f"the pattern {text!r} can match nothing below a root",
            hint=f"write it without a leading `/` and without `..`, such as `{example}`",
        )
        for (at, text), pattern in zip(patterns, compiled, strict=True)
        if pattern is None
    ]
    if wrong:
        raise InputError(wrong)
    return tuple(p for p in compiled if p is not None)


def _attempt(place: Place, problems: list[Diagnostic]) -> Listing | None:
    try:
        if isinstance(place.source, PythonSource):
            return _list_tree(Path(place.path), place.source.exclude)
        if isinstance(place.source, TextSource):
            return _list_texts(place, place.source)
        return _list_table(place.role, place.source)
    except (OSError, FileError) as error:
        problems.append(unreadable(place, error))
    except InputError as error:
        problems.extend(d for d in error.diagnostics if d not in problems)
    return None


def _list_table(role: str, source: Table) -> Listing:
    root = table_root(source)
    files = tuple(_table_file(name, path) for name, path in table_files(source))
    alone = len(files) == 1 and files[0].path == root
    return Listing(
        input=Input(
            role=role,
            path=str(root),
            digest=files[0].digest if alone else _digest_of(files),
            bytes=sum(f.bytes for f in files),
            files=len(files),
        ),
        files=files,
    )


def _table_file(name: str, path: Path) -> SourceFile:
    need_regular(path)
    digest, size = "sha256:" + file_digest(path), path.stat().st_size
    return SourceFile(name=name, path=path, digest=digest, bytes=size)


def _list_tree(root: Path, exclude: Sequence[str]) -> Listing:
    root.stat()
    found = walk(root, compile_patterns(exclude))
    return _listed("data", root, tuple(_source_file(name, path) for name, path in found))


def _list_texts(place: Place, source: TextSource) -> Listing:
    root = Path(place.path)
    root.stat()
    found = walk_texts(root, text_pattern(source))
    files = tuple(_source_file(name, path) for name, path in found)
    if not files:
        raise InputError([no_texts(place, source)])
    return _listed(place.role, root, files)


def no_texts(place: Place, source: TextSource) -> Diagnostic:
    """No file of a folder is named as the pattern wants."""
    return Diagnostic(
        code="no-files",
        path=place.key,
        message=f"no file below {place.path} has a name that fits {source.pattern!r}",
        hint="check the folder, and data.pattern",
    )


def _listed(role: str, root: Path, files: tuple[SourceFile, ...]) -> Listing:
    """Files by their names and contents."""
    return Listing(
        input=Input(
            role=role,
            path=str(root),
            digest=_digest_of(files),
            bytes=sum(f.bytes for f in files),
            files=len(files),
        ),
        files=files,
    )


def _list_images(source: ImageSource, tables: list[tuple[Place, Listing]]) -> Listing:
    """The images that rows name, those among them that cannot be read told by their ``error``."""
    names: dict[str, None] = {}
    for place, listing in tables:
        assert isinstance(place.source, TableSource)
        try:
            names |= dict.fromkeys(named_images(place.source, listing.files))
        except (OSError, FileError) as error:
            raise InputError([unreadable(place, error)]) from error
    looked = look_all(source, list(names))
    files = tuple(
        SourceFile(name=name, path=path, digest=digest, bytes=size, error=error)
        for name, (path, digest, size, error) in zip(names, looked, strict=True)
    )
    return Listing(
        input=Input(
            role="images",
            path=source.root,
            digest=_digest_of(files),
            bytes=sum(f.bytes for f in files),
            files=len(files),
        ),
        files=files,
    )


def _digest_of(files: Sequence[SourceFile]) -> str:
    """SHA-256 over names and contents."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\0{file.digest}\n".encode("utf-8", "surrogateescape"))
    return "sha256:" + total.hexdigest()


def _source_file(name: str, path: Path) -> SourceFile:
    try:
        need_regular(path)
        digest, size = "sha256:" + file_digest(path), path.stat().st_size
        return SourceFile(name=name, path=path, digest=digest, bytes=size)
    except OSError as error:
        why = error.strerror or str(error)
        return SourceFile(name=name, path=path, digest="", bytes=0, error=why)


def _entries(folder: Path, skipped: frozenset[str]) -> Iterator[str]:
    """Names of a folder's Python files and of the folders to go into."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} in {folder}") from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            hidden = entry.name.startswith(".") or entry.name in skipped
            if not hidden and not os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                yield entry.name
        elif is_python(entry.name) and not os.path.isdir(entry.path):
            yield entry.name


def _visible(folder: Path) -> Iterator[str]:
    """Names of a folder's files and folders that are not hidden, links to folders left out."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} in {folder}") from error
    for entry in entries:
        link = entry.is_symlink() and os.path.isdir(entry.path)
        if not entry.name.startswith(".") and not link:
            yield entry.name


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _compile(pattern: str) -> re.Pattern[str] | None:
    """A glob as a regular expression; None when it can match nothing."""
    if pattern.startswith("/") or ".." in pattern.split("/") or not pattern.strip("/"):
        return None
    try:
        return re.compile(_expression(pattern.rstrip("/")))
    except re.error:
        return None


def _expression(pattern: str) -> str:
    """The regular expression's text; a bracket without its end stands for itself."""
    parts = re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?|\[!?\]?[^\]/]*\])", pattern)
    return "".join(_piece(part) for part in parts) + r"(?:/.*)?"


def _piece(part: str) -> str:
    known = {"**/": r"(?:.*/)?", "/**": r"/.*", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    if part in known:
        return known[part]
    if part.startswith("[") and part.endswith("]") and len(part) > 2:
        inner = part[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
    return re.escape(part)
