"""Digests of trees of arrays: one per leaf, and one for the whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from specrun.runtime.trees import flatten


class LeafDigest(TypedDict):
    """What a leaf must be to be the leaf that was written."""

    dtype: str
    shape: list[int]
    sha256: str


def leaf_digest(leaf: Any) -> LeafDigest:
    """Digest of one array, of the host or of a device."""
    array = np.ascontiguousarray(leaf)
    content = hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest()
    return LeafDigest(dtype=str(array.dtype), shape=list(np.shape(leaf)), sha256=content)


def leaf_digests(tree: Mapping[str, Any]) -> dict[str, LeafDigest]:
    """Digest of every leaf by dotted path."""
    return {path: leaf_digest(leaf) for path, leaf in flatten(tree).items()}


def whole_digest(leaves: Mapping[str, LeafDigest]) -> str:
    """One SHA-256 over paths, dtypes, shapes and contents, in sorted order of the paths."""
    return text_digest(json.dumps(leaves, sort_keys=True, separators=(",", ":")))


def text_digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def compare(expected: Mapping[str, LeafDigest], found: Mapping[str, LeafDigest]) -> list[str]:
    """What differs, one sentence a leaf; an empty list when all is well."""
    faults = [f"{path} is missing" for path in sorted(expected.keys() - found.keys())]
    faults += [f"{path} is not expected" for path in sorted(found.keys() - expected.keys())]
    for path in sorted(expected.keys() & found.keys()):
        for part in ("dtype", "shape", "sha256"):
            if expected[path][part] != found[path][part]:
                faults.append(f"{path}: {part} is {found[path][part]}, not {expected[path][part]}")
                break
    return faults


def first_non_finite(tree: Mapping[str, Any]) -> str | None:
    """Path of the first leaf that holds NaN or infinity."""
    for path, leaf in flatten(tree).items():
        array = np.asarray(leaf)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return path
    return None
