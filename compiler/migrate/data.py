"""Data of other tools: where it lies, its format, and what is held out."""

from __future__ import annotations

from specrun.compiler.migrate.dialects import DIFFUSION
from specrun.compiler.migrate.draft import Draft, Old
from specrun.compiler.migrate.values import NULL_IS_DEFAULT


def lengths(old: Old, path: str, note: str, draft: Draft) -> None:
    """Tokens kept of a text, of either side."""
    if old.value is None:
        draft.drop(old, NULL_IS_DEFAULT)
        return
    if draft.dialect is DIFFUSION:
        draft.set(path, old.value, old)
        return
    for side in ("query", "positive"):
        draft.set(f"data.max_length.{side}", old.value, old)
    if draft.dialect.name == "retnet-hrm":
        draft.set("model.max_position_embeddings", old.value, old)


def data_path(old: Old, path: str, note: str, draft: Draft) -> None:
    """Where the rows are."""
    if old.value is None:
        draft.drop(old, "null is none")
        return
    draft.set("data.path", old.value, old)


_ENDINGS = {
    **{".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"},
    **{".parquet": "parquet"},
}


def format_of(path: str) -> str:
    """The kind of data that a path's ending tells; a folder is a saved Hugging Face dataset."""
    return next((k for ending, k in _ENDINGS.items() if path.endswith(ending)), "huggingface")


def held_out(old: Old, path: str, note: str, draft: Draft) -> None:
    """A share of the rows, or another file."""
    if old.value is None or old.value == 0:
        draft.drop(old, "null holds nothing out")
        return
    draft.set("data.validation.kind", "fraction" if path.endswith("fraction") else "file", old)
    draft.set(path, old.value, old)
