"""Where the rows are, and the rows that are held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import assert_never

from specrun.compiler.draft import Context, Draft
from specrun.compiler.locate import is_library, locate, locate_root
from specrun.compiler.passes.faults import report_all, require
from specrun.compiler.passes.stages import stage_formats
from specrun.spec.diagnostics import InputError
from specrun.spec.experiment import Experiment
from specrun.spec.plan.data import (
    CsvSource,
    EmojiSource,
    HeldOut,
    HeldOutFile,
    HeldOutFraction,
    HeldOutSplit,
    HuggingFaceSource,
    ImageSource,
    JsonlSource,
    ParquetSource,
    PythonSource,
    Source,
    Table,
    TextSource,
    TsvSource,
)
from specrun.spec.words.data import EmojiData, PythonSourceData
from specrun.spec.words.tables import (
    IMAGE_MODES,
    CsvData,
    HuggingFaceData,
    JsonlData,
    ParquetData,
    TsvData,
)
from specrun.spec.words.texts import TextData
from specrun.spec.words.validation import FileValidation, FractionValidation, SplitValidation

TableData = JsonlData | CsvData | TsvData | ParquetData | HuggingFaceData


def place_data(draft: Draft, context: Context) -> Draft:
    """Where rows and held-out rows are; each missing file or folder is an error at its key."""
    draft = replace(draft, source=_source(draft, context))
    return replace(draft, held_out=_held_out(draft, context))


def _source(draft: Draft, context: Context) -> Source | None:
    data = draft.spec.data
    match data:
        case PythonSourceData():
            roots = [locate_root(r, context.folder, context.local) for r in data.roots]
            for i, (name, root) in enumerate(zip(data.roots, roots, strict=True)):
                require(root.exists(), f"data.roots[{i}]", name, root, "folder or file", context)
            return PythonSource(roots=tuple(map(str, roots)), exclude=data.exclude)
        case EmojiData():
            return _emoji(data, context)
        case TextData():
            return _texts(data, draft.spec, context)
        case JsonlData() | CsvData() | TsvData() | ParquetData() | HuggingFaceData():
            split = data.split if isinstance(data, HuggingFaceData) else None
            table = _place_table(data, data.path, "data.path", split, context)
            if table.images is not None:
                root = Path(table.images.root)
                require(root.is_dir(), "data.image_root", data.image_root, root, "folder", context)
            return replace(table, max_negatives=data.max_negatives)
        case _:
            assert_never(data)


def _texts(data: TextData, spec: Experiment, context: Context) -> TextSource:
    """The text files, and the rows that the stages take of them."""
    path = locate_root(data.path, context.folder, context.local)
    usual = "**/*.py" if is_library(data.path, context.local) else "**/*.txt"
    require(path.exists(), "data.path", data.path, path, "text file or folder", context)
    if path.is_file() and data.pattern is not None:
        context.report.error(
            "data.pattern",
            "no-effect",
            f"{data.pattern!r} chooses files of a folder, and {path} is a file",
            hint="remove it, or name the folder",
        )
    return TextSource(
        path=str(path),
        pattern=usual if data.pattern is None else data.pattern,
        formats=stage_formats(spec),
        min_chars=data.min_chars,
        max_chars=data.max_chars,
        paragraph_max_sentences=data.paragraph_max_sentences,
        chunk_overlap=data.chunk_overlap,
    )


def _emoji(data: EmojiData, context: Context) -> EmojiSource:
    """The font, which is either known by name or a file beside the spec."""
    font = locate(data.font, context.folder, context.local)
    try:
        font = context.facts.font(str(font) if font.is_file() else data.font)
    except InputError as error:
        report_all(error, "data.font", context)
    return EmojiSource(
        path=str(font),
        size=data.size,
        sequences=data.sequences,
        retrieval_mode="t2i",
        images=ImageSource(root=str(font.parent), max_pixels=data.size**2),
    )


def _held_out(draft: Draft, context: Context) -> HeldOut | None:
    data = draft.spec.data
    held = data.validation
    match held:
        case None:
            return None
        case FractionValidation():
            return HeldOutFraction(fraction=held.fraction)
        case FileValidation():
            assert not isinstance(data, EmojiData)  # its validation has no file
            if isinstance(data, TextData):
                return _held_out_texts(held, draft, context)
            own = JsonlData(path="") if isinstance(data, PythonSourceData) else data
            table = _place_table(own, held.path, "data.validation.path", None, context)
            return HeldOutFile(source=table)
        case SplitValidation():
            assert isinstance(data, HuggingFaceData)  # no other kind's validation has it
            path = locate(data.path, context.folder, context.local)
            table = replace(_table(data, path, held.split), images=_images(data, context))
            assert isinstance(table, HuggingFaceSource)
            return HeldOutSplit(source=table)
        case _:
            assert_never(held)


def _held_out_texts(held: FileValidation, draft: Draft, context: Context) -> HeldOutFile | None:
    """Other texts, cut as those of the training are."""
    at, source = "data.validation.path", draft.source
    path = locate(held.path, context.folder, context.local)
    require(path.exists(), at, held.path, path, "text file or folder", context)
    assert isinstance(source, TextSource)
    return HeldOutFile(source=replace(source, path=str(path)))


def _place_table(data: TableData, name: str, at: str, split: str | None, context: Context) -> Table:
    """The rows of ``name``; an error where it is not what its format wants."""
    table = _table(data, locate(name, context.folder, context.local), split)
    table = replace(table, images=_images(data, context))
    path = Path(table.path)
    match table:
        case JsonlSource() | CsvSource() | TsvSource():
            wanted = "file"
        case ParquetSource():
            wanted = "file or folder"
        case HuggingFaceSource():
            wanted = "folder"
        case _:
            assert_never(table)
    require(is_there(table), at, name, path, wanted, context)
    return table


def _images(data: TableData, context: Context) -> ImageSource | None:
    """Where the images of rows lie; None where the rows have none."""
    if data.retrieval_mode not in IMAGE_MODES:
        return None
    root = locate(data.image_root, context.folder, context.local)
    return ImageSource(root=str(root), max_pixels=data.max_image_pixels)


def is_there(source: Source) -> bool:
    """Whether files and folders lie where they should."""
    match source:
        case PythonSource():
            return all(Path(root).exists() for root in source.roots)
        case JsonlSource() | CsvSource() | TsvSource() | EmojiSource():
            return Path(source.path).is_file()
        case ParquetSource() | TextSource():
            return Path(source.path).exists()
        case HuggingFaceSource():
            return Path(source.path).is_dir()
        case _:
            assert_never(source)


def _table(data: TableData, path: Path, split: str | None) -> Table:
    """The rows at a path, in the format and with the columns of ``data``, all negatives kept."""
    of = data.columns
    return replace(
        _bare(data, str(path), split),
        query=of.query,
        query_image=of.query_image,
        positive=of.positive,
        negatives=of.negatives,
        label=of.label,
        score=of.score,
        negative_scores=of.negative_scores,
        retrieval_mode=data.retrieval_mode,
    )


def _bare(data: TableData, path: str, split: str | None) -> Table:
    match data:
        case JsonlData():
            return JsonlSource(path=path)
        case CsvData():
            return CsvSource(path=path, delimiter=data.delimiter)
        case TsvData():
            return TsvSource(path=path)
        case ParquetData():
            return ParquetSource(path=path)
        case HuggingFaceData():
            return HuggingFaceSource(path=path, split=split)
        case _:
            assert_never(data)
