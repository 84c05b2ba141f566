"""YAML text to a tree with places.

The tree is built from the parser's events, not by its constructor: events survive deep nesting, keep every
place, and leave the typing of scalars to us (YAML 1.2, core schema). Anything that would be read differently
elsewhere, or that costs more than it shows, is an error with its place.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from specrun.spec.diagnostics import Diagnostic
from specrun.spec.scalars import Refusal, clip, type_scalar
from specrun.spec.tree import Entry, Items, Node, Place, Scalar, Table, Texts

MAX_BYTES = 1 << 20
MAX_NODES = 10_000
MAX_DEPTH = 64
MAX_KEY = 128

_EXPLAINED_BYTES = 1 << 15
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Read:
    """What a text holds: its tree (None when it cannot be known) and what is wrong with it."""

    tree: Node | None
    diagnostics: tuple[Diagnostic, ...]


def read_bytes(data: bytes, file: str, texts: Texts) -> Read:
    """The tree of a file's bytes, which must be UTF-8 (a byte order mark is allowed)."""
    if len(data) > MAX_BYTES:
        return _failed(texts, Place(file), "too-large", f"more than {MAX_BYTES} bytes", _SMALLER)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _failed(texts, Place(file), "not-utf-8", "the file is UTF-16", "save it as UTF-8")
    try:
        return read_text(data.decode("utf-8-sig"), file, texts)
    except UnicodeDecodeError as error:
        return _not_utf8(data, error.start, file, texts)


def read_text(text: str, file: str, texts: Texts, *, column: int = 0) -> Read:
    """The tree of a text.

    ``column`` is given for one that stands inside a line of its own kind (an override, an environment
    variable): its places then have line 0 and columns that count from there.
    """
    if not column:
        texts.add(file, text)
    builder = _Builder(file=file, texts=texts, column=column)
    if len(text) > MAX_BYTES:
        builder.report(Place(file), "too-large", f"more than {MAX_BYTES} characters", _SMALLER)
    elif not builder.refuse_forbidden(text):
        builder.build(text)
    return Read(builder.tree, tuple(builder.diagnostics))


_SMALLER = "a spec is a few hundred lines; keep data in files of its own"


def _failed(texts: Texts, place: Place, code: str, message: str, hint: str) -> Read:
    return Read(None, (placed(texts, place, code, message, hint),))


def placed(texts: Texts, place: Place, code: str, message: str, hint: str = "") -> Diagnostic:
    """An error at a place, with its code frame."""
    return Diagnostic(
        code=code,
        message=message,
        file=place.file,
        line=place.line,
        column=place.column if place.line else 0,
        hint=hint,
        frame=texts.frame(place),
    )


def _not_utf8(data: bytes, at: int, file: str, texts: Texts) -> Read:
    texts.add(file, data.decode("utf-8", errors="replace"))
    before = data[:at].decode("utf-8-sig")
    lines = re.split(r"\r\n|\n|\r", before)
    place = Place(file, len(lines), len(lines[-1]) + 1)
    message = f"byte 0x{data[at]:02x} is not UTF-8"
    return _failed(texts, place, "not-utf-8", message, "save the file as UTF-8")


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    place: Place
    anchor: str | None
    items: list[Node] | None
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    key: tuple[str, Place, bool] | None = None
    merges: list[Table] = field(default_factory=list[Table])
    merged: Place | None = None
    size: int = 1
    height: int = 1

    @property
    def wants_key(self) -> bool:
        return self.items is None and self.key is None

    def close(self) -> Node:
        if self.items is not None:
            return Items(tuple(self.items), self.place)
        entries = dict(self.entries)
        for table in self.merges:
            for key, entry in table.entries.items():
                entries.setdefault(key, entry)
        return Table(entries, self.place)


@dataclass(frozen=True)
class _Anchored:
    node: Node
    size: int
    height: int


class _Stop(Exception):
    """Nothing after this point can be trusted."""


@dataclass
class _Builder:
    file: str
    texts: Texts
    column: int
    tree: Node | None = None
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    stack: list[_Open] = field(default_factory=list[_Open])
    anchors: dict[str, _Anchored] = field(default_factory=dict[str, _Anchored])
    documents: int = 0

    def report(self, place: Place, code: str, message: str, hint: str = "") -> None:
        self.diagnostics.append(placed(self.texts, place, code, message, hint))

    def stop(self, place: Place, code: str, message: str, hint: str = "") -> _Stop:
        self.report(place, code, message, hint)
        self.tree = None
        return _Stop()

    def place(self, line: int, column: int) -> Place:
        if not self.column:
            return Place(self.file, line + 1, column + 1)
        return Place(self.file, 0, self.column + (0 if line else column))

    def refuse_forbidden(self, text: str) -> bool:
        for found in itertools.islice(_FORBIDDEN.finditer(text), 20):
            before = re.split(r"\r\n|\n|\r", text[: found.start()])
            place = self.place(len(before) - 1, len(before[-1]))
            name = f"U+{ord(found.group()):04X}"
            hint = "remove it, or write it as an escape in double quotes"
            self.report(place, "bad-character", f"character {name} may not stand in YAML", hint)
        return bool(self.diagnostics)

    def build(self, text: str) -> None:
        import yaml

        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            for event in _events(text, loader):
                self.event(event)
        except _Stop:
            return
        except yaml.YAMLError as error:
            self.syntax_error(text, error)
        if self.tree is None and not self.diagnostics:
            self.tree = Scalar(None, self.place(0, 0))

    def syntax_error(self, text: str, error: Any) -> None:
        """Report with the Python parser's words, which are better than the C parser's."""
        import yaml

        if len(text) <= _EXPLAINED_BYTES:
            try:
                for _ in _events(text, yaml.SafeLoader):
                    pass
            except yaml.YAMLError as better:
                error = better
        mark = getattr(error, "problem_mark", None)
        place = self.place(mark.line, mark.column) if mark else self.place(0, 0)
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
        context = getattr(error, "context", None)
        opened = getattr(error, "context_mark", None)
        where = f" (opened at line {opened.line + 1})" if opened and context else ""
        message = f"{context}: {problem}{where}" if context else problem
        self.report(place, "syntax", message, _syntax_hint(problem))
        self.tree = None

    def event(self, event: Any) -> None:
        match type(event).__name__:
            case "ScalarEvent" | "SequenceStartEvent" | "MappingStartEvent" | "AliasEvent":
                self.node_event(event)
            case "SequenceEndEvent" | "MappingEndEvent":
                self.end()
            case "DocumentStartEvent":
                self.document(event)
            case _:
                pass

    def document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            place = self.place(event.start_mark.line, event.start_mark.column)
            tree = self.tree
            self.report(place, "second-document", "a second document begins here", "remove `---`")
            self.tree = tree
            raise _Stop

    def node_event(self, event: Any) -> None:
        place = self.place(event.start_mark.line, event.start_mark.column)
        kind = type(event).__name__
        if getattr(event, "tag", None) is not None:
            self.refuse_tag(event.tag, place)
        if kind == "AliasEvent":
            self.alias(event.anchor, place)
        elif kind == "ScalarEvent":
            self.scalar(event, place)
        else:
            self.open(event.anchor, place, kind == "SequenceStartEvent")

    def refuse_tag(self, tag: str, place: Place) -> None:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        hint = "remove the tag; quote a value to make it text"
        self.report(place, "tag", f"tag `{clip(shown)}` is not allowed", hint)

    def open(self, anchor: str | None, place: Place, is_list: bool) -> None:
        if self.stack and self.stack[-1].wants_key:
            raise self.stop(place, "complex-key", "a key must be text", "write `key: value`")
        if len(self.stack) >= MAX_DEPTH:
            raise self.stop(place, "too-deep", f"nested more than {MAX_DEPTH} levels deep")
        self.stack.append(_Open(place, anchor, [] if is_list else None))
        if anchor:
            self.anchors.pop(anchor, None)

    def end(self) -> None:
        done = self.stack.pop()
        node = done.close()
        if done.merges and isinstance(node, Table):
            done.size += sum(1 for _ in node.entries)
        self.attach(node, done.size, done.height, done.anchor)

    def alias(self, anchor: str, place: Place) -> None:
        target = self.anchors.get(anchor)
        if target is None:
            inside = any(o.anchor == anchor for o in self.stack)
            message = (
                f"`*{anchor}` stands inside what it names" if inside else f"no `&{anchor}` before"
            )
            raise self.stop(place, "alias-cycle" if inside else "unknown-alias", message)
        if len(self.stack) + target.height > MAX_DEPTH:
            raise self.stop(place, "too-deep", f"nested more than {MAX_DEPTH} levels deep")
        if self.stack and self.stack[-1].wants_key:
            if not isinstance(target.node, Scalar):
                raise self.stop(place, "complex-key", "a key must be text", "write `key: value`")
            self.key(str(target.node.value), place, plain=True)
            return
        self.attach(target.node, target.size, target.height, None, place)

    def scalar(self, event: Any, place: Place) -> None:
        is_plain = bool(event.implicit[0]) and not event.style
        if self.stack and self.stack[-1].wants_key:
            self.key(event.value, place, is_plain)
            if event.anchor:
                self.anchors[event.anchor] = _Anchored(Scalar(event.value, place), 1, 1)
            return
        node = self.typed(event.value, place) if is_plain else self.quoted(event.value, place)
        if event.tag is not None:
            node = Scalar(node.value, place, bad=True)
        self.attach(node, 1, 1, event.anchor)

    def key(self, name: str, place: Place, plain: bool) -> None:
        top = self.stack[-1]
        is_merge = plain and name == "<<"
        if _CONTROL.search(name):
            self.report(place, "bad-character", "a key may not hold control characters")
            name = _CONTROL.sub(" ", name)
        if len(name) > MAX_KEY:
            self.report(place, "long-key", f"a key of more than {MAX_KEY} characters")
            name = clip(name, MAX_KEY)
        first = top.merged if is_merge else None
        if name in top.entries and not is_merge:
            first = top.entries[name].key
        if first is not None:
            message = f"`{clip(name)}` is already given at line {first.line}"
            self.report(place, "duplicate-key", message, "keep one of them")
        if is_merge:
            top.merged = place
        top.key = (name, place, is_merge)

    def attach(
        self, node: Node, size: int, height: int, anchor: str | None, at: Place | None = None
    ) -> None:
        if anchor:
            self.anchors[anchor] = _Anchored(node, size, height)
        place = at or node.place
        if size > MAX_NODES or (self.stack and self.stack[-1].size + size > MAX_NODES):
            hint = "a spec is a few hundred values; keep data in files of its own"
            raise self.stop(place, "too-many-values", f"more than {MAX_NODES} values", hint)
        if not self.stack:
            self.tree = node
            return
        top = self.stack[-1]
        top.size += size
        top.height = max(top.height, height + 1)
        if top.items is not None:
            top.items.append(node)
            return
        assert top.key is not None
        name, key_place, is_merge = top.key
        top.key = None
        if is_merge:
            self.merge(top, node, place)
        else:
            top.entries.setdefault(name, Entry(key_place, node))

    def merge(self, top: _Open, node: Node, place: Place) -> None:
        parts = node.items if isinstance(node, Items) else (node,)
        for part in parts:
            if isinstance(part, Table):
                top.merges.append(part)
            else:
                hint = "write `<<: *name` or `<<: [*one, *two]`"
                self.report(place, "merge-key", "`<<` takes a mapping or a list of mappings", hint)
                return

    def quoted(self, text: str, place: Place) -> Scalar:
        if _CONTROL.search(text):
            self.report(place, "bad-character", "the text holds a control character")
            return Scalar("", place, bad=True)
        return Scalar(text, place)

    def typed(self, text: str, place: Place) -> Scalar:
        value = type_scalar(text)
        if isinstance(value, Refusal):
            self.report(place, value.code, value.message, value.hint)
            return Scalar(None, place, bad=True)
        return Scalar(value, place)


def _events(text: str, loader: Any) -> Iterator[Any]:
    import yaml

    yield from yaml.parse(text, Loader=loader)  # pyright: ignore[reportUnknownMemberType]


def _syntax_hint(problem: str) -> str:
    if "'\\t'" in problem or "tab" in problem:
        return "indent with spaces"
    if "mapping values are not allowed" in problem:
        return "quote a text that holds `: `, or check the indentation"
    if "cannot start any token" in problem:
        return "quote a text that begins with this character"
    return ""
