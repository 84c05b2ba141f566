"""Findings about a spec, each placed by the path it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from specrun.spec.diagnostics import Diagnostic, Severity
from specrun.spec.levels import Origin
from specrun.spec.scalars import clip
from specrun.spec.tree import Items, Node, Path, Place, Table, Texts, format_path, parse_path

Blame = Literal["key", "value"]


@dataclass
class Reporter:
    """Turns a path of the spec into a diagnostic at the place where the path was set.

    ``reporter.error("train.batch_size", "not-divisible", "…", hint="…")``. A path that no source sets is
    placed at the nearest section that one does. A finding is dropped when its path
    lies at or below a mistake, or when one of its ``related`` paths is wrong or holds a mistake: it would
    only repeat that. ``incomplete`` says that a preset could not be read, so that nothing can be said of
    keys that are missing.
    """

    tree: Node
    history: Mapping[Path, tuple[Origin, ...]]
    texts: Texts
    found: list[Diagnostic] = field(default_factory=list[Diagnostic])
    tainted: set[Path] = field(default_factory=set[Path])
    above: set[Path] = field(default_factory=set[Path])
    incomplete: bool = False

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All findings so far, sorted by place, without doubles."""
        unique = dict.fromkeys(self.found)
        return tuple(sorted(unique, key=lambda d: (d.file, d.line, d.column, d.path, d.code)))

    @property
    def has_errors(self) -> bool:
        return any(d.severity == "error" for d in self.found)

    def error(
        self,
        path: str | Path,
        code: str,
        message: str,
        *,
        hint: str = "",
        blame: Blame = "value",
        related: Iterable[str | Path] = (),
    ) -> None:
        """Report a mistake. ``related`` are other paths that the finding rests on."""
        self.report("error", path, code, message, hint, blame, related)

    def warning(
        self,
        path: str | Path,
        code: str,
        message: str,
        *,
        hint: str = "",
        blame: Blame = "value",
        related: Iterable[str | Path] = (),
    ) -> None:
        """Report what is allowed and probably not meant."""
        self.report("warning", path, code, message, hint, blame, related)

    def report(
        self,
        severity: Severity,
        path: str | Path,
        code: str,
        message: str,
        hint: str,
        blame: Blame,
        related: Iterable[str | Path],
    ) -> None:
        at = as_path(path)
        if self.is_below_mistake(at) or any(self.is_tainted(as_path(p)) for p in related):
            return
        place = self.place(at, blame)
        self.found.append(
            Diagnostic(
                code=code,
                message=message,
                severity=severity,
                file=place.file,
                line=place.line,
                column=place.column if place.line else 0,
                path=format_path(at),
                hint=hint,
                notes=self.who_set(at),
                frame=self.texts.frame(place),
            )
        )

    def taint(self, path: str | Path) -> None:
        """Mark a path as wrong, so that nothing more is said of it."""
        wrong = as_path(path)
        self.tainted.add(wrong)
        self.above.update(wrong[:n] for n in range(1, len(wrong)))

    def is_below_mistake(self, path: Path) -> bool:
        """True for a path that is wrong itself, or lies below one that is."""
        return any(path[:n] in self.tainted for n in range(1, len(path) + 1))

    def is_tainted(self, path: Path) -> bool:
        """True for a path that is wrong itself, lies below one that is, or holds one."""
        return self.is_below_mistake(path) or path in self.above

    def place(self, path: Path, blame: Blame = "value") -> Place:
        """Where a path was set last; for one that no source sets, its nearest section."""
        node, place = self.tree, self.tree.place
        for step in path:
            if isinstance(node, Table) and step in node.entries:
                entry = node.entries[str(step)]
                node, place = entry.node, entry.key
            elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
                place = node.place
            else:
                return place
        return node.place if blame == "value" else place

    def who_set(self, path: Path) -> tuple[str, ...]:
        """The chain of levels that set a value, strongest first, where two or more did; and that its preset was picked."""
        origins = [o for o in self.history.get(path, ()) if o.level != "default"]
        picked = (_PICKED,) if origins and origins[-1].level == "picked" else ()
        if len(origins) < 2:
            return picked
        chain = " <- ".join(_brief(origin) for origin in reversed(origins))
        return (f"set by {chain}", *picked)


_PICKED = "this preset is picked by the model's name; `extends: []` leaves it out"


def as_path(path: str | Path) -> Path:
    """A path given as text or as steps, as steps."""
    return path if isinstance(path, tuple) else (parse_path(path) or ())


def show(value: object) -> str:
    """A value as a user would write it, shortened."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return f'"{clip(value, 40)}"'
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case _:
            return clip(str(value), 40)


def _brief(origin: Origin) -> str:
    place = f"{origin.source}:{origin.line}:{origin.column}" if origin.line else origin.source
    return f"{show(origin.value)} ({place})"
