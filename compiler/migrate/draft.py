"""What migrating gathers: settings of the spec with where they came from, and what has no place in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.compiler.migrate.dialects import Dialect


@dataclass(frozen=True)
class Old:
    """A key as another tool has it. ``line`` is 0 for a default of that tool, which the file does not write."""

    name: str
    value: Any
    line: int
    tool: str
    lines: Mapping[str, int] = field(default_factory=dict[str, int])
    """Lines of the keys below the value, by path: ``[1].epochs``."""

    @property
    def origin(self) -> str:
        """Where it stands, for a comment."""
        return f"`{self.name}`, line {self.line}" if self.line else f"the default of {self.tool}"


@dataclass(frozen=True)
class Setting:
    """A value of the spec. ``weak`` ones give way to what the file says; ``old`` is the key that said it."""

    value: Any
    comment: str
    weak: bool
    old: Old | None = None


@dataclass(frozen=True)
class Left:
    """A key that is not in the spec, and why; or ``wrong``, which is in it with a value that it may not have."""

    name: str
    line: int
    reason: str
    wrong: bool = False

    @property
    def told(self) -> str:
        """The key, its line and the reason, in one sentence."""
        at = f", line {self.line}" if self.line else ""
        return (
            f"{'wrong value' if self.wrong else 'not in the spec'}: {self.name}{at}: {self.reason}"
        )


@dataclass
class Draft:
    """The spec in the making. ``devices`` is None where the file does not say how many; ``teacher``
    is set where it distils, ``encoder`` is a key that asks for a composed model. ``idle`` has no meaning here; ``unmet`` would change what is trained;
    ``notes`` tell where the spec departs from the tool; ``lines`` are those of the items of lists, by path."""

    dialect: Dialect
    devices: int | None = None
    settings: dict[str, Setting] = field(default_factory=dict[str, Setting])
    idle: list[Left] = field(default_factory=list[Left])
    unmet: list[Left] = field(default_factory=list[Left])
    notes: list[str] = field(default_factory=list[str])
    lines: dict[str, int] = field(default_factory=dict[str, int])
    teacher: bool = False
    encoder: Old | None = None

    def set(self, path: str, value: Any, old: Old, note: str = "") -> None:
        """Put ``value`` at ``path`` (``losses[0].kind``); two keys that disagree are both told."""
        comment = f"from {old.origin}" if old.line else old.origin
        new = Setting(value, f"{comment}: {note}" if note else comment, not old.line, old)
        before = self.settings.get(path)
        if before is None or (before.weak and not new.weak):
            self.settings[path] = new
        elif before.value == value and type(before.value) is type(value):
            self.drop(old, f"it says the same as `{path}`, which is {before.comment}")
        elif not new.weak:
            self.miss(old, f"it says otherwise than `{path}`, which is {before.comment}")

    def assume(self, path: str, value: Any, why: str, old: Old | None = None) -> None:
        """A value that nothing in the file says, where there is none yet; ``old`` is a key that it follows from."""
        self.settings.setdefault(path, Setting(value, why, weak=True, old=old))

    def drop(self, old: Old, reason: str) -> None:
        """A key without meaning here."""
        if old.line:
            self.idle.append(Left(old.name, old.line, reason))

    def miss(self, old: Old, reason: str) -> None:
        """A key that would change what is trained, and cannot be said."""
        if old.line:
            self.unmet.append(Left(old.name, old.line, reason))

    def lack(self, name: str, reason: str) -> None:
        """What a spec needs and the file does not say."""
        self.unmet.append(Left(name, 0, reason))

    def origin_of(self, path: str) -> Old | None:
        """The file's key that the value at ``path`` comes from, or the value that holds it."""
        whole = [p for p in self.settings if p == path or path.startswith((f"{p}.", f"{p}["))]
        found = self.settings[max(whole, key=len)].old if whole else None
        return found if found is not None and found.line else None

    def origins_below(self, path: str) -> list[Old]:
        """The file's keys that values of the section ``path`` come from, by line."""
        inside = [s.old for p, s in self.settings.items() if p.startswith((f"{path}.", f"{path}["))]
        return sorted((o for o in inside if o is not None and o.line), key=lambda old: old.line)

    def line_of(self, path: str) -> int:
        """The line where the item of a list begins that ``path`` is in; 0 for what no list holds."""
        item, bracket, _ = path.rpartition("]")
        return self.lines.get(item + bracket, 0)

    def get(self, path: str) -> Any:
        """The value at ``path``; None where there is none."""
        found = self.settings.get(path)
        return None if found is None else found.value

    def has(self, prefix: str) -> bool:
        """Whether the section ``prefix`` holds anything."""
        return any(path.startswith((f"{prefix}.", f"{prefix}[")) for path in self.settings)

    def forget(self, path: str, why: str) -> None:
        """Take a key out that has no meaning beside the others, and tell it where the file wrote it."""
        dropped = self.settings.pop(path, None)
        if dropped is not None and not dropped.weak:
            self.idle.append(Left(path, 0, f"{why} ({dropped.comment})"))

    def remove(self, prefix: str) -> None:
        """Take a section out, and tell nothing."""
        for path in [p for p in self.settings if p == prefix or p.startswith(f"{prefix}.")]:
            del self.settings[path]
