"""Loading is a bijection between the table and the files: every misfit is named, in one error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from specrun.runtime.models.tables import vocabulary_rows
from specrun.runtime.weights import files as weight_files
from specrun.runtime.weights.head import PATH as HEAD
from specrun.runtime.weights.head import load_head
from specrun.runtime.weights.names import (
    Layout,
    canonical,
    file_name,
    file_shape,
    is_unused,
    layout_of,
    orient,
)
from specrun.runtime.weights.tensors import READABLE, Tensor
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.model import WeightsPlan
from specrun.spec.plan.networks import BertShape, EncoderConfig
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.towers import TowerConfig


@dataclass(frozen=True)
class Match:
    """Every row of the table with its tensor; ``unused`` are names known to take no part in an embedding."""

    layout: Layout
    files: tuple[Path, ...]
    pairs: tuple[tuple[TableRow, Tensor], ...]
    unused: tuple[str, ...]


def match_weights(
    start: Path, config: EncoderConfig | TowerConfig, rows: tuple[TableRow, ...]
) -> Match:
    """Pair the rows that are read from files with the tensors found from ``start`` on. Nothing is allocated.

    Raises one InputError for all that is damaged, missing, unexpected, doubled, misshapen or of a wrong dtype.
    """
    found = weight_files.read(start)
    if found.faults:
        raise InputError(found.faults)
    if found.written_by == "tf":
        raise InputError(
            f"{start.name} was written by TensorFlow, whose orientation is not read",
            code="weights-layout",
            hint="write it again with torch or flax",
        )
    layout = layout_of(found.tensors, found.written_by)
    used: dict[str, list[Tensor]] = {}
    unused: list[str] = []
    for tensor in found.tensors:
        name = canonical(tensor.name, config)
        if is_unused(name, config):
            unused.append(tensor.name)
        else:
            used.setdefault(name, []).append(tensor)
    expected = {file_name(row, config, layout): row for row in rows if not row.new}
    faults = [*_set_faults(expected, used), *_tensor_faults(expected, used, layout)]
    if faults:
        raise InputError([_diagnostic(start, code, message) for code, message in faults])
    pairs = tuple((row, used[name][0]) for name, row in expected.items())
    return Match(layout, found.files, pairs, tuple(sorted(unused)))


def load_weights(
    plan: WeightsPlan, config: EncoderConfig | TowerConfig, rows: tuple[TableRow, ...]
) -> dict[str, np.ndarray]:
    """Leaves by logical path, f32, in our orientation.

    Raises InputError when a file is not the one the plan was compiled with, or does not fit the table.
    """
    changed = [f for f in (_changed(Path(i.path), i.digest) for i in plan.files) if f]
    if changed:
        raise InputError(changed)
    match = match_weights(Path(plan.files[0].path), config, rows)
    leaves = {row.path: orient(tensor.float32(), row, match.layout) for row, tensor in match.pairs}
    if isinstance(config, BertShape) and config.vocabulary_head is not None:
        leaves |= load_vocabulary(Path(plan.files[0].path), config)
    if plan.head is not None and config.projection_dim is not None:
        shape = (config.hidden_size, config.projection_dim)
        leaves[HEAD] = load_head(Path(plan.head.path), shape)
    return leaves


def vocabulary_faults(start: Path, config: BertShape) -> tuple[str, ...] | None:
    """What is wrong with the head that scores ids in files found from ``start`` on; None where they have no head.

    The files have been read as those of ``config``, and that head is no part of an embedding.
    """
    rows, used, layout = _vocabulary(start, config)
    if not used:
        return None
    expected = {file_name(row, config, layout): row for row in rows}
    faults = [*_set_faults(expected, used), *_tensor_faults(expected, used, layout)]
    return tuple(message for _, message in faults)


def load_vocabulary(start: Path, config: BertShape) -> dict[str, np.ndarray]:
    """The leaves of that head by logical path, f32; none where the files have no head. InputError where it has faults."""
    faults = vocabulary_faults(start, config)
    if faults:
        raise InputError([_diagnostic(start, "weights-missing", message) for message in faults])
    rows, used, layout = _vocabulary(start, config)
    found = {row: used[file_name(row, config, layout)][0] for row in rows} if used else {}
    return {row.path: orient(tensor.float32(), row, layout) for row, tensor in found.items()}


def _vocabulary(
    start: Path, config: BertShape
) -> tuple[tuple[TableRow, ...], dict[str, list[Tensor]], Layout]:
    """The head's rows, its tensors by their names, and the layout of the files."""
    found = weight_files.read(start)
    layout = layout_of(found.tensors, found.written_by)
    rows = vocabulary_rows(replace(config, vocabulary_head="tied"))
    names = {file_name(row, config, layout) for row in rows}
    used: dict[str, list[Tensor]] = {}
    for tensor in found.tensors:
        name = canonical(tensor.name, config)
        if name in names:
            used.setdefault(name, []).append(tensor)
    return rows, used, layout


def load_beside(
    plan: WeightsPlan, config: EncoderConfig | TowerConfig, rows: tuple[TableRow, ...]
) -> dict[str, np.ndarray]:
    """Leaves of ``rows`` that the files hold beside the encoder, f32; none of these need be there.

    Nothing is taken from a file that is gone or is not the one the plan was compiled with.
    """
    if any(_changed(Path(i.path), i.digest) for i in plan.files):
        return {}
    found = weight_files.read(Path(plan.files[0].path))
    by_name = {canonical(t.name, config): t for t in found.tensors}
    leaves: dict[str, np.ndarray] = {}
    for row in rows:
        tensor = by_name.get(file_name(row, config, plan.layout))
        fits = tensor is not None and tensor.shape == file_shape(row, plan.layout)
        if tensor is not None and fits and tensor.dtype in READABLE:
            leaves[row.path] = orient(tensor.float32(), row, plan.layout)
    return leaves


def _changed(path: Path, digest: str) -> Diagnostic | None:
    if not path.is_file():
        return Diagnostic(
            code="weights-missing",
            message="a weights file of the plan is not there",
            file=str(path),
            hint="put it back, or compile again",
        )
    if weight_files.digest(path, "weights").digest == digest:
        return None
    return Diagnostic(
        code="input-changed",
        message="the weights file changed since the plan was compiled",
        file=str(path),
        hint="put the old file back, or compile again",
    )


def _set_faults(
    expected: dict[str, TableRow], used: dict[str, list[Tensor]]
) -> list[tuple[str, str]]:
    faults = [
        ("weights-missing", f"{name} is missing (for {row.path})")
        for name, row in expected.items()
        if name not in used
    ]
    for name, tensors in used.items():
        if name not in expected:
            faults.append(("weights-unexpected", f"{tensors[0].name} is unexpected"))
        elif len(tensors) > 1:
            names = " and ".join(f"{t.name} in {t.file.name}" for t in tensors)
            faults.append(("weights-doubled", f"{name} is doubled: {names}"))
    return faults


def _tensor_faults(
    expected: dict[str, TableRow], used: dict[str, list[Tensor]], layout: Layout
) -> list[tuple[str, str]]:
    faults = []
    for name, row in expected.items():
        for tensor in used.get(name, []):
            shape = file_shape(row, layout)
            if tensor.shape != shape:
                message = f"{tensor.name} has shape {list(tensor.shape)}, expected {list(shape)}"
                faults.append(("weights-shape", message))
            if tensor.dtype not in READABLE:
                message = f"{tensor.name} is {tensor.dtype}, expected one of {', '.join(READABLE)}"
                faults.append(("weights-dtype", message))
    return faults


_MEND = {
    "weights-missing": "the file must hold every parameter of config.json; nothing is filled in",
    "weights-unexpected": "is config.json that of this file? another architecture is not guessed",
    "weights-doubled": "keep one of the two",
    "weights-shape": "is config.json that of this file?",
    "weights-dtype": "write the model in float32, float16 or bfloat16",
}


def _diagnostic(start: Path, code: str, message: str) -> Diagnostic:
    return Diagnostic(code=code, message=message, file=str(start), hint=_MEND[code])
