"""Folders of parameters that stand alone: ``parameters.safetensors`` and a manifest that vouches for it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from safetensors.numpy import save

from specrun.runtime.loop import digests
from specrun.runtime.loop.folder import replace_folder, write_atomic, write_json
from specrun.runtime.trees import Tree, flatten, unflatten
from specrun.runtime.weights.safetensors_file import read_safetensors
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import ModelPlan

PARAMETERS = "parameters.safetensors"
MANIFEST = "manifest.json"


def write_parameters(
    folder: Path,
    tree: Mapping[str, Any],
    facts: Mapping[str, Any],
    texts: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Write all leaves and the manifest as ``folder``, in one move. Returns the digest of the whole.

    The manifest holds ``facts``, the digest of every leaf and ``parameters_sha256``. ``texts`` are
    further files by name, for people: the manifest does not vouch for them.
    """
    leaves = {path: _own(leaf) for path, leaf in flatten(tree).items()}
    found = digests.leaf_digests(leaves)
    whole = digests.whole_digest(found)
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    write_atomic(new / PARAMETERS, save(leaves))
    for name, text in texts.items():
        write_atomic(new / name, text.encode())
    write_json(new / MANIFEST, {**facts, "parameters_sha256": whole, "leaves": found})
    replace_folder(new, folder)
    return whole


def first_saved(run: Path, names: tuple[str, ...]) -> Path:
    """The first of these folders of a run's folder that is there. InputError where none is."""
    for name in names:
        if (run / name).is_dir():
            return run / name
    raise InputError(
        f"{run} holds no {' or '.join(f'{name}/' for name in names)}: that run has saved no such parameters yet",
        code="unfinished-run",
        hint="let it finish: `specrun run` on its plan goes on where it stopped",
    )


def copy_parameters(source: Path, folder: Path) -> None:
    """Make ``folder`` hold what ``source`` holds, in one move. Shares the bytes where links work."""
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for name in sorted(p.name for p in source.iterdir()):
        try:
            os.link(source / name, new / name)
        except OSError:
            shutil.copyfile(source / name, new / name)
    replace_folder(new, folder)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest; None when there is none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    leaves = manifest.get("leaves") if isinstance(manifest, dict) else None
    known = isinstance(leaves, dict) and all(_is_digest(leaf) for leaf in leaves.values())
    return manifest if known else None


def read_parameters(folder: Path) -> Tree:
    """All leaves as a nested dict of numpy arrays, verified. InputError names what is damaged."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise _damaged(folder / MANIFEST, "it is missing or is not a manifest of parameters")
    path = folder / PARAMETERS
    try:
        contents = read_safetensors(path)
        leaves = {t.name: np.array(t.view()) for t in contents.tensors}
    except OSError as error:
        raise _damaged(path, f"it cannot be read: {error.strerror}") from error
    if contents.faults:
        raise InputError(contents.faults)
    found = digests.leaf_digests(leaves)
    if faults := digests.compare(manifest["leaves"], found):
        raise _damaged(path, "; ".join(faults[:5]))
    if digests.whole_digest(found) != manifest.get("parameters_sha256"):
        raise _damaged(folder / MANIFEST, "parameters_sha256 does not match the leaves")
    return unflatten(leaves)


def check_leaves(model: ModelPlan, tree: Tree, source: Path) -> None:
    """InputError where the leaves are not those of the plan: a folder of another run's parameters."""
    expected = {p.path: (p.shape, "float32") for p in model.parameters}
    found = {path: (x.shape, str(x.dtype)) for path, x in flatten(tree).items()}
    wrong = sorted(p for p in expected.keys() | found.keys() if expected.get(p) != found.get(p))
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InputError(
            f"the parameters in {source} are not those of the plan beside them: "
            + ", ".join(wrong[:5])
            + more,
            code="other-parameters",
            hint="put the folder's own files back, or run the plan again in a new folder",
        )


def is_good(folder: Path) -> bool:
    """Whether the folder's parameters are there and match their manifest."""
    try:
        read_parameters(folder)
    except InputError:
        return False
    return True


def _is_digest(leaf: Any) -> bool:
    return isinstance(leaf, dict) and leaf.keys() == digests.LeafDigest.__annotations__.keys()


def _own(leaf: Any) -> np.ndarray:
    return np.array(leaf, order="C")


def _damaged(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is damaged: {what}",
        code="damaged-parameters",
        hint="put the file back, or run the plan again in a new folder",
    )
