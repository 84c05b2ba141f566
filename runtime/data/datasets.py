"""Folders that ``save_to_disk`` of Hugging Face's datasets wrote: which Arrow files hold the rows.

A Dataset is a folder with ``state.json`` and Arrow streams; a DatasetDict is a folder of such
folders with ``dataset_dict.json``. Both are read without that library.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from specrun.runtime.data.columns import shown
from specrun.runtime.data.raw import FileError
from specrun.spec.plan.data import HuggingFaceSource

_DICT, _STATE = "dataset_dict.json", "state.json"
_MAX_BYTES = 64 << 20
_MEND = "give the folder that `save_to_disk` wrote"


def dataset_folder(source: HuggingFaceSource) -> Path:
    """The folder of the Dataset that is meant. FileError when the split and the folder do not fit.

    Raises OSError when a file cannot be read.
    """
    root = Path(source.path)
    names = _splits(root)
    if names is None:
        if source.split is not None:
            message = (
                f"{root} is one Dataset without splits, and `{shown(source.split)}` is asked for"
            )
            raise FileError("unknown-split", message, "leave the split out", "split")
        return root
    listed = ", ".join(f"`{shown(name)}`" for name in names) or "none"
    if source.split is None:
        message = f"{root} is a DatasetDict, and no split is named"
        hint = f"its splits are {listed}; each is a folder of its own, too"
        raise FileError("unknown-split", message, hint, "split")
    if source.split not in names:
        message = f"{root} has no split `{shown(source.split)}`"
        raise FileError("unknown-split", message, f"its splits are {listed}", "split")
    return root / source.split


def data_files(folder: Path) -> list[Path]:
    """The Arrow files of a Dataset in the order of its rows. FileError for what is none."""
    if not (folder / _STATE).exists():
        raise FileError("no-dataset", f"{folder} holds no {_STATE}", _MEND)
    state = _read(folder / _STATE)
    if isinstance(state, dict) and state.get("_indices_data_files"):
        message = f"{folder} holds rows chosen by indices, as old versions of datasets saved them"
        raise FileError("no-dataset", message, "load it and save it with a version from 2.0 on")
    try:
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (TypeError, KeyError) as error:
        message = f"{folder / _STATE} does not list the data files"
        raise FileError("no-dataset", message, _MEND) from error
    for name in names:
        if not name or "/" in name or "\\" in name or name in (".", ".."):
            message = f"{folder / _STATE} names a file outside its folder: {shown(name)}"
            raise FileError("no-dataset", message, _MEND)
        if not (folder / name).is_file():
            message = f"{folder} lacks the file {shown(name)}, which {_STATE} names"
            raise FileError("no-dataset", message, "copy the whole folder")
    return [folder / name for name in names]


def _splits(root: Path) -> list[str] | None:
    """The names of a DatasetDict's splits; None for anything else."""
    if not (root / _DICT).exists():
        return None
    found = _read(root / _DICT)
    names = found.get("splits") if isinstance(found, dict) else None
    if not isinstance(names, list) or not all(_is_name(name) for name in names):
        raise FileError("no-dataset", f"{root / _DICT} does not list the splits", _MEND)
    return names


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and not set(name) & set("/\\") and name != ".."


def _read(path: Path) -> Any:
    if path.stat().st_size > _MAX_BYTES:
        raise FileError("no-dataset", f"{path} is larger than {_MAX_BYTES} bytes", _MEND)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FileError("no-dataset", f"{path} is not JSON: {error}", _MEND) from error
