"""The front of the compiler: a spec, its levels, its checks; everything known before facts are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.compiler.check import check
from specrun.compiler.meaning.checks import check_meaning
from specrun.compiler.presets import FamilyOf, model_of, pick
from specrun.compiler.repair import repair
from specrun.compiler.reporter import Reporter
from specrun.spec.codec import from_plain
from specrun.spec.defaults import fill
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.experiment import Experiment
from specrun.spec.files import Local, Preset, PresetReader, read_file, read_local
from specrun.spec.levels import (
    Merging,
    Origin,
    Patch,
    environment_patches,
    override_patches,
)
from specrun.spec.record import record
from specrun.spec.source import Read, placed, read_text
from specrun.spec.tree import Items, Node, Place, Scalar, Table, Texts, format_path, plain
from specrun.spec.tree import Path as SpecPath

TEXT_LABEL = "<text>"


@record
class Loaded:
    """A spec, read, merged and checked.

    ``experiment`` is None when there are errors; ``draft`` is then, where possible, the spec with its
    mistakes replaced by stand-ins, so that later passes can go on reporting (the reporter drops what
    rests on a mistake). ``tree`` holds the merged values, all defaults filled in; ``history`` every
    setting of every path, the strongest last; ``folder`` is the base of relative inputs.
    """

    experiment: Experiment | None
    draft: Experiment | None
    tree: Mapping[str, Any]
    history: Mapping[str, tuple[Origin, ...]]
    reporter: Reporter
    folder: Path
    label: str
    local: Mapping[str, Path]

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return self.reporter.diagnostics

    def require(self) -> Experiment:
        """The experiment. Raises InputError with every diagnostic when there are errors."""
        if self.experiment is None or self.reporter.has_errors:
            raise InputError(self.diagnostics)
        return self.experiment


def load(
    spec: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    local: Mapping[str, Path] | None = None,
    family_of: FamilyOf | None = None,
) -> Loaded:
    """Read and check a spec: a path, or a text if it holds a newline. Never raises for bad input.

    ``family_of`` reads the family of a model's directory, by which a preset is picked where the spec
    names none; without it the model's name decides.
    """
    texts = Texts()
    read, folder, label = _read(spec, texts)
    merging = Merging(texts)
    merging.diagnostics.extend(read.diagnostics)
    names = read_local((folder, Path.cwd()), texts) if local is None else Local(local)
    merging.diagnostics.extend(names.diagnostics)
    variables = tuple((os.environ if environ is None else environ).items())
    presets, patches = _sources(read, label, folder, merging, variables, overrides)
    if _extends(patches.environment, _own(read, label), patches.overrides) is None:
        bare = plain(_merge(read, label, (), patches, Merging(texts)))
        found = pick(*model_of(bare), folder, names.paths, family_of)
        if found is not None:
            presets.pick(found.preset)
    tree = _merge(read, label, presets.found, patches, merging)
    filled = fill(Experiment, tree, merging.history)
    reporter = Reporter(tree=tree, history=merging.history, texts=texts)
    reporter.incomplete = presets.failed
    reporter.found.extend(merging.diagnostics)
    draft = _check(filled, tree, reporter) if read.tree is not None else None
    return Loaded(
        experiment=None if reporter.has_errors else draft,
        draft=draft,
        tree=filled,
        history={format_path(path): origins for path, origins in merging.history.items()},
        reporter=reporter,
        folder=folder,
        label=label,
        local=names.paths,
    )


def _read(spec: str | os.PathLike[str], texts: Texts) -> tuple[Read, Path, str]:
    if isinstance(spec, str) and "\n" in spec:
        return _as_table(read_text(spec, TEXT_LABEL, texts), TEXT_LABEL, texts), Path(), TEXT_LABEL
    path = Path(spec)
    label = path.name or str(path)
    return _as_table(read_file(path, label, texts), label, texts), path.parent, label


def _as_table(read: Read, label: str, texts: Texts) -> Read:
    """A spec must be a mapping; an empty one is said to be empty."""
    match read.tree:
        case None | Table():
            return read
        case Scalar(value=None):
            hint = "`specrun init` writes one to start from"
            wrong = placed(texts, Place(label, 1, 1), "empty-file", "the spec is empty", hint)
        case Scalar() | Items():
            message = "the spec must be a mapping of keys to values"
            wrong = placed(texts, read.tree.place, "wrong-type", message, "write `version: 1`")
    return Read(None, (*read.diagnostics, wrong))


@dataclass(frozen=True)
class _Patches:
    """What the environment and the command line set."""

    environment: Sequence[Patch]
    overrides: Sequence[Patch]


def _sources(
    read: Read,
    label: str,
    folder: Path,
    merging: Merging,
    variables: Sequence[tuple[str, str]],
    overrides: Sequence[str],
) -> tuple[PresetReader, _Patches]:
    """Everything beside the spec itself that sets values."""
    low, found = environment_patches(variables, merging.texts)
    merging.diagnostics.extend(found)
    high, found = override_patches(overrides, merging.texts)
    merging.diagnostics.extend(found)
    presets = PresetReader(folder, merging.texts)
    chain = (os.path.abspath(folder / label),)
    presets.extend(_extends(low, _own(read, label), high), folder, chain)
    merging.diagnostics.extend(presets.diagnostics)
    return presets, _Patches(low, high)


def _own(read: Read, label: str) -> Table:
    """The spec's own values. ``$schema`` speaks to editors only."""
    own = read.tree if isinstance(read.tree, Table) else Table({}, Place(label, 1, 1))
    return Table({k: e for k, e in own.entries.items() if k != "$schema"}, own.place)


def _merge(
    read: Read, label: str, presets: Sequence[Preset], patches: _Patches, merging: Merging
) -> Table:
    own = _own(read, label)
    tree: Node = Table({}, own.place)
    for preset in presets:
        tree = merging.over(tree, preset.tree, preset.level)
    tree = merging.over(tree, own, "spec")
    tree = merging.under(tree, _environment(patches.environment, merging), "environment")
    for patch in patches.overrides:
        tree = merging.over(tree, patch.tree, "override", (), len(patch.path))
    return Table(tree.entries if isinstance(tree, Table) else {}, own.place)


def _environment(patches: Sequence[Patch], outer: Merging) -> Node:
    """The environment's variables as one tree; its history is noted where it meets the rest."""
    merging = Merging(outer.texts, diagnostics=outer.diagnostics)
    tree: Node = Table({}, Place("environment"))
    for patch in patches:
        tree = merging.over(tree, patch.tree, "environment", (), len(patch.path))
    return tree


def _extends(low: Sequence[Patch], own: Table, high: Sequence[Patch]) -> Node | None:
    """The list of presets by the strongest level that gives one."""
    sources = [own, *(patch.tree for patch in high)]
    weakest = [patch.tree for patch in low]
    given = [t.entries["extends"].node for t in (*weakest, *sources) if "extends" in t.entries]
    return given[-1] if given and not _is_null(given[-1]) else None


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None and not node.bad


def _taint_bad(node: Node, path: SpecPath, reporter: Reporter) -> None:
    """Values that the reader refused are not judged again."""
    match node:
        case Scalar():
            if node.bad:
                unknown = path[-1:] == ("kind",) and not isinstance(node.value, str)
                reporter.taint(path[:-1] if unknown else path)
        case Items():
            for index, item in enumerate(node.items):
                _taint_bad(item, (*path, index), reporter)
        case Table():
            for key, entry in node.entries.items():
                _taint_bad(entry.node, (*path, key), reporter)


def _check(filled: Mapping[str, Any], tree: Table, reporter: Reporter) -> Experiment | None:
    """Report every mistake; the typed spec, with stand-ins where it is wrong."""
    _taint_bad(tree, (), reporter)
    check(Experiment, filled, reporter)
    if reporter.incomplete:
        return None
    if reporter.has_errors:
        draft = repair(Experiment, dict(filled), reporter.tainted)
    else:
        draft = from_plain(Experiment, filled)
    if draft is not None:
        check_meaning(draft, reporter)
    return draft
