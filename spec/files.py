"""Reading the files that a spec is made of: itself, its presets, and the local file of machine paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.scalars import clip
from specrun.spec.source import MAX_BYTES, Read, placed, read_bytes
from specrun.spec.tree import Items, Node, Place, Scalar, Table, Texts

LOCAL_FILE = "specrun.local.yaml"
_MAX_PRESETS = 32


@dataclass(frozen=True)
class Preset:
    """One preset's own values, without its ``extends``."""

    label: str
    tree: Table
    level: Literal["picked", "preset"] = "preset"


def read_file(path: Path, label: str, texts: Texts, blame: Place | None = None) -> Read:
    """The tree of a file; one that cannot be read is reported at ``blame``, or at the file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return _unreadable(texts, blame or Place(label), f"`{clip(label)}` is not a file")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return _unreadable(texts, blame or Place(label), f"there is no file `{clip(label)}`")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "bad name"
        return _unreadable(texts, blame or Place(label), f"cannot read `{clip(label)}`: {reason}")
    return read_bytes(data, label, texts)


def _unreadable(texts: Texts, place: Place, message: str) -> Read:
    return Read(None, (placed(texts, place, "unreadable-file", message),))


@dataclass
class PresetReader:
    """Collects the presets that a spec extends, the weakest first, each once.

    ``failed`` says that something which is extended could not be read.
    """

    folder: Path
    texts: Texts
    found: list[Preset] = field(default_factory=list[Preset])
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    done: set[str] = field(default_factory=set[str])
    failed: bool = False

    def extend(self, extends: Node | None, base: Path, chain: tuple[str, ...]) -> None:
        """Read every entry of a list ``extends`` that stands in a file of the folder ``base``."""
        for item in extends.items if isinstance(extends, Items) else ():
            if isinstance(item, Scalar) and isinstance(item.value, str) and not item.bad:
                self.one(item.value, item.place, base, chain)

    def pick(self, name: str) -> None:
        """The packaged preset ``name``, which no file names."""
        self.one(name, Place(name), self.folder, ())
        self.found = [replace(preset, level="picked") for preset in self.found]

    def one(self, name: str, place: Place, base: Path, chain: tuple[str, ...]) -> None:
        packaged = packaged_preset(name)
        path = packaged or base / name
        label = f"presets/{path.name}" if packaged else _relative(path, self.folder)
        identity = os.path.abspath(path) if "\0" not in name else name
        if identity in chain:
            names = " -> ".join(Path(link).name for link in (*chain, identity))
            self.report(place, "extends-cycle", f"`{clip(name)}` extends itself: {names}")
            return
        if identity in self.done:
            return
        if len(self.done) >= _MAX_PRESETS:
            self.report(place, "too-many-presets", f"more than {_MAX_PRESETS} presets")
            return
        self.done.add(identity)
        if packaged is None and not _is_path(name):
            self.report(place, "unknown-preset", f"no preset `{clip(name)}`", _preset_hint(name))
            return
        read = read_file(path, label, self.texts, blame=place)
        self.diagnostics.extend(read.diagnostics)
        self.failed = self.failed or read.tree is None
        if isinstance(read.tree, Table):
            entries = dict(read.tree.entries)
            extends = entries.pop("extends", None)
            entries.pop("$schema", None)
            below = extends.node if extends else None
            self.extend(below, path.parent, (*chain, identity))
            self.found.append(Preset(label, Table(entries, read.tree.place)))
        elif isinstance(read.tree, Scalar) and read.tree.value is None:
            self.report(place, "empty-file", f"`{label}` is empty")
        elif read.tree is not None:
            self.report(read.tree.place, "wrong-type", "a preset must be a mapping")

    def report(self, place: Place, code: str, message: str, hint: str = "") -> None:
        self.failed = True
        self.diagnostics.append(placed(self.texts, place, code, message, hint))


def packaged_preset(name: str) -> Path | None:
    """The file of a preset that comes with specrun."""
    if not name.replace("_", "").replace("-", "").isalnum() or len(name) > 100:
        return None
    path = _presets_folder() / f"{name}.yaml"
    return path if path.is_file() else None


def preset_names() -> tuple[str, ...]:
    """The presets that come with specrun."""
    return tuple(sorted(path.stem for path in _presets_folder().glob("*.yaml")))


def _presets_folder() -> Path:
    from importlib.resources import files

    return Path(str(files("specrun.configs"))) / "presets"


def _is_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.endswith((".yaml", ".yml"))


def _preset_hint(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name[:100], preset_names(), n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    listed = ", ".join(f"`{known}`" for known in preset_names())
    return f"presets are {listed}; a file's path ends in .yaml"


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.name


@dataclass(frozen=True)
class Local:
    """Names of models and data on this machine, and what is wrong with the file that gives them."""

    paths: Mapping[str, Path]
    diagnostics: tuple[Diagnostic, ...] = ()


def read_local(folders: tuple[Path, ...], texts: Texts) -> Local:
    """The first local file in ``folders``; no paths where there is none."""
    for folder in folders:
        path = folder / LOCAL_FILE
        if os.path.lexists(path):
            return _local(path, texts)
    return Local({})


def load_local(folder: Path | str) -> Mapping[str, Path]:
    """The names that ``specrun.local.yaml`` in a folder maps to paths. Raises InputError."""
    local = read_local((Path(folder),), Texts())
    if local.diagnostics:
        raise InputError(local.diagnostics)
    return local.paths


def _local(path: Path, texts: Texts) -> Local:
    read = read_file(path, LOCAL_FILE, texts)
    wrong = list(read.diagnostics)
    paths: dict[str, Path] = {}
    if isinstance(read.tree, Table):
        for name, entry in read.tree.entries.items():
            value = entry.node.value if isinstance(entry.node, Scalar) else None
            if isinstance(value, str) and value:
                paths[name] = path.parent / Path(value).expanduser()
            elif not (isinstance(entry.node, Scalar) and entry.node.bad):
                message = f"`{clip(name)}` must be a path"
                place = entry.node.place
                wrong.append(placed(texts, place, "wrong-type", message, "write name: path"))
    elif read.tree is not None and not (isinstance(read.tree, Scalar) and read.tree.value is None):
        message = "the file maps names to paths"
        wrong.append(placed(texts, read.tree.place, "wrong-type", message, "write name: path"))
    return Local(paths, tuple(wrong))
