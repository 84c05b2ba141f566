"""Passes that turn names into places and read what lies there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import assert_never

from specrun.compiler.draft import Context, Draft
from specrun.compiler.facts import Pretrained
from specrun.compiler.locate import is_library, locate, locate_model, locate_root
from specrun.compiler.objective import hides_tokens
from specrun.compiler.passes.lengths import bad_rows
from specrun.compiler.passes.repeated import warn_of_repeated
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
    Scan,
    Source,
    Table,
    TableSource,
    TextSource,
    TokenizerFile,
    TokenizerSource,
    TrainedTokenizer,
    TsvSource,
    modality,
)
from specrun.spec.plan.model import TextImageConfig
from specrun.spec.words.data import (
    IMAGE_MODES,
    CsvData,
    EmojiData,
    FileValidation,
    FractionValidation,
    HuggingFaceData,
    JsonlData,
    ParquetData,
    PythonSourceData,
    SplitValidation,
    TextData,
    TsvData,
)
from specrun.spec.words.losses import CoSENTLoss
from specrun.spec.words.model import (
    AutoModel,
    ClipModel,
    ComposedModel,
    Image,
    Model,
    PretrainedModel,
    SiglipModel,
    VitModel,
)
from specrun.spec.words.tokenizer import FileTokenizer, TrainTokenizer

TableData = JsonlData | CsvData | TsvData | ParquetData | HuggingFaceData


def place_data(draft: Draft, context: Context) -> Draft:
    """Where rows and held-out rows are; each missing file or folder is an error at its key."""
    draft = replace(draft, source=_source(draft, context))
    return replace(draft, held_out=_held_out(draft, context))


def place_model(draft: Draft, context: Context) -> Draft:
    """The directories of pretrained networks, inspected; nothing for a model from scratch."""
    model = draft.spec.model
    if isinstance(model, ComposedModel):
        return _place_image(
            _place_text(draft, model.text, "model.text", context), model.image, context
        )
    return _place_text(draft, model, "model", context)


def _place_text(draft: Draft, model: Model, at: str, context: Context) -> Draft:
    """The directory of a network of texts, or of texts and images."""
    if not isinstance(model, PretrainedModel | ClipModel | SiglipModel):
        return draft
    directory = _model_directory(model.name_or_path, at, context)
    if directory is None:
        return draft
    try:
        found = context.facts.pretrained(directory)
    except InputError as error:
        _report_all(error, f"{at}.name_or_path", context)
        return draft
    kind = _kind(found)
    if (model.kind != "auto" or at != "model") and kind not in _suiting(model, at):
        context.report.error(
            f"{at}.kind",
            "other-family",
            f"{directory} holds a model of the kind `{kind}`, not `{model.kind}`",
            hint=f"write `kind: {kind}`" if at == "model" else "name a directory of texts alone",
        )
        return draft
    return replace(draft, model_directory=directory, pretrained=found, pretrained_image=found.image)


def _suiting(model: Model, at: str) -> tuple[str, ...]:
    """The kinds that a directory may be of; within a composed model ``auto`` is any network of texts."""
    if isinstance(model, AutoModel) and at != "model":
        return ("bert", "roberta", "mpnet", "qwen3", "modernbert")
    return (model.kind,)


def _kind(found: Pretrained) -> str:
    """What ``kind`` says of a directory."""
    config = found.config
    return (
        config.text.kind.removesuffix("_text")
        if isinstance(config, TextImageConfig)
        else config.kind
    )


def _place_image(draft: Draft, model: Image, context: Context) -> Draft:
    """The directory of a network of images."""
    if not isinstance(model, VitModel):
        return draft
    directory = _model_directory(model.name_or_path, "model.image", context)
    if directory is None:
        return draft
    try:
        found = context.facts.pretrained_image(directory)
    except InputError as error:
        _report_all(error, "model.image.name_or_path", context)
        return draft
    return replace(draft, pretrained_image=found)


def _model_directory(name: str, at: str, context: Context) -> Path | None:
    directory = locate_model(name, context.folder, context.local)
    if directory is None:
        context.report.error(
            f"{at}.name_or_path",
            "model-not-found",
            f"no model {name!r}: it is no directory, no name in specrun.local.yaml, and not in the Hugging Face cache",
            hint="download it first (`hf download NAME`), or map the name to a directory in specrun.local.yaml",
        )
    return directory


def place_tokenizer(draft: Draft, context: Context) -> Draft:
    """How the tokenizer comes to be: trained, a file, or the pretrained model's own."""
    return replace(draft, tokenizer_source=_tokenizer_source(draft, context))


def peek_data(draft: Draft, context: Context) -> Draft:
    """Look at the first rows, for ``check``: the columns there are, and the faults that show at once."""
    source: Source = draft.need("source")
    held = draft.held_out
    if not _is_there(source) or (isinstance(held, HeldOutFile) and not _is_there(held.source)):
        return draft  # which is told already
    if modality(source, "query") != "text" and getattr(source, "query_image", None) is None:
        return draft  # told too: the column is missing
    try:
        found = context.facts.peek(source, held)
    except InputError as error:
        _report_all(error, "data", context)
        return draft
    for code, path, message, hint in found.problems:
        context.report.error(path, code, message, hint=hint)
    return replace(draft, fields=found.fields)


def scan_data(draft: Draft, context: Context) -> Draft:
    """Read all rows: counts, faults, split, digest."""
    data = draft.spec.data
    try:
        scan = context.facts.scan(draft.need("source"), draft.held_out, bad_rows(data))
    except InputError as error:
        _report_all(error, "data", context)
        return draft
    if scan.training_rows == 0:
        context.report.error(
            "data", "no-rows", "the data holds no training row", hint=_why_none(scan)
        )
    if draft.held_out is not None and scan.validation_rows == 0:
        context.report.error(
            "data.validation",
            "no-rows",
            "no row is held out",
            hint="raise the fraction, or check the file",
        )
    _need_values(draft, scan, context)
    warn_of_repeated(draft, scan, context)
    for bad in scan.bad:
        context.report.warning(
            "data",
            "bad-rows",
            f"{bad.count} left out: {bad.reason}",
            hint="for instance " + ", ".join(bad.places),
        )
    return replace(draft, scan=scan, fields=tuple(f.name for f in scan.fields))


def make_tokenizer(draft: Draft, context: Context) -> Draft:
    """Train or read the tokenizer."""
    try:
        tokenizer = context.facts.tokenizer(draft.need("tokenizer_source"), draft.need("scan"))
    except InputError as error:
        _report_all(error, "tokenizer", context)
        return draft
    return replace(draft, tokenizer=tokenizer)


def _source(draft: Draft, context: Context) -> Source | None:
    data = draft.spec.data
    match data:
        case PythonSourceData():
            roots = [locate_root(r, context.folder, context.local) for r in data.roots]
            for i, (name, root) in enumerate(zip(data.roots, roots, strict=True)):
                _require(root.exists(), f"data.roots[{i}]", name, root, "folder or file", context)
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
                _require(root.is_dir(), "data.image_root", data.image_root, root, "folder", context)
            return replace(table, max_negatives=data.max_negatives)
        case _:
            assert_never(data)


def _texts(data: TextData, spec: Experiment, context: Context) -> TextSource:
    """The text files, and the rows that the stages take of them."""
    path = locate_root(data.path, context.folder, context.local)
    usual = "**/*.py" if is_library(data.path, context.local) else "**/*.txt"
    _require(path.exists(), "data.path", data.path, path, "text file or folder", context)
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
        _report_all(error, "data.font", context)
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
    _require(path.exists(), at, held.path, path, "text file or folder", context)
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
    _require(_is_there(table), at, name, path, wanted, context)
    return table


def _images(data: TableData, context: Context) -> ImageSource | None:
    """Where the images of rows lie; None where the rows have none."""
    if data.retrieval_mode not in IMAGE_MODES:
        return None
    root = locate(data.image_root, context.folder, context.local)
    return ImageSource(root=str(root), max_pixels=data.max_image_pixels)


def _is_there(source: Source) -> bool:
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


def _need_values(draft: Draft, scan: Scan, context: Context) -> None:
    """A column that is named and gives nothing would be ignored."""
    source: Source = draft.need("source")
    if not isinstance(source, TableSource) or scan.training_rows == 0:
        return
    for key, count, what in (
        ("negatives", scan.negatives, "an explicit negative"),
        ("label", scan.labels, "a label"),
        ("score", scan.scores, "a score"),
        ("negative_scores", scan.negative_scores, "a score of a negative"),
    ):
        name = getattr(source, key)
        if name is not None and count == 0:
            message = f"no training row has {what}: the column {name!r} is missing or empty"
            hint = f"check the name, or remove columns.{key}"
            context.report.error(f"data.columns.{key}", "no-values", message, hint=hint)
    if scan.scores == 1 and any(isinstance(x, CoSENTLoss) for x in draft.spec.losses):
        message = (
            f"all scores of the column {source.score!r} are the same, so none is above another"
        )
        hint = "check the data, or remove the loss and columns.score"
        context.report.error("data.columns.score", "one-value", message, hint=hint)


def _tokenizer_source(draft: Draft, context: Context) -> TokenizerSource | None:
    tokenizer = draft.spec.tokenizer
    match tokenizer:
        case TrainTokenizer():
            writes = hides_tokens(draft.spec)
            return TrainedTokenizer(
                vocab_size=tokenizer.vocab_size,
                min_frequency=tokenizer.min_frequency,
                lowercase=_or(tokenizer.lowercase, not writes),
                split_identifiers=_or(tokenizer.split_identifiers, not writes),
                masks=writes,
            )
        case FileTokenizer():
            path = locate(tokenizer.path, context.folder, context.local)
            path = path / "tokenizer.json" if path.is_dir() else path
            _require(
                path.is_file(), "tokenizer.path", tokenizer.path, path, "tokenizer.json", context
            )
            return TokenizerFile(path=str(path))
        case None:
            return _own_tokenizer(draft, context)


def _or(given: bool | None, default: bool) -> bool:
    return default if given is None else given


def _own_tokenizer(draft: Draft, context: Context) -> TokenizerSource | None:
    if draft.start is not None:
        return TokenizerFile(path=str(draft.start.tokenizer))
    if draft.pretrained is None:
        return None
    if draft.pretrained.tokenizer is None:
        context.report.error(
            "model.name_or_path",
            "no-tokenizer",
            f"{draft.model_directory} holds no tokenizer.json",
            hint="add the section tokenizer with kind file and its path",
        )
        return None
    found = draft.pretrained
    return TokenizerFile(path=str(found.tokenizer), lowercase=found.lowercase)


def _require(there: bool, path: str, name: str, place: Path, wanted: str, context: Context) -> None:
    if not there:
        context.report.error(
            path,
            "not-found",
            f"{name!r} is no {wanted}: looked at {place}",
            hint="paths are relative to the spec's folder; names can be mapped in specrun.local.yaml",
        )


def _report_all(error: InputError, path: str, context: Context) -> None:
    for d in error.diagnostics:
        where = f" ({d.file}:{d.line})" if d.file and d.line else (f" ({d.file})" if d.file else "")
        context.report.error(d.path or path, d.code, d.message + where, hint=d.hint)


def _why_none(scan: Scan) -> str:
    """What became of all rows."""
    short = sum(count.too_short for count in scan.formats)
    if short or (scan.formats and (scan.validation_rows or scan.dropped_by_split)):
        return (
            f"of the texts {short} are shorter than data.min_chars; of the rows {scan.validation_rows} are held out, "
            f"and {scan.dropped_by_split} repeat such"
        )
    if scan.bad:
        return "every row was left out as bad; see the warnings"
    return "check the path" if scan.formats else "check the path and the columns"
