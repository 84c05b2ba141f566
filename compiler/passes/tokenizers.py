"""How the tokenizer comes to be."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.draft import Context, Draft
from specrun.compiler.locate import locate
from specrun.compiler.objective import hides_tokens
from specrun.compiler.passes.faults import report_all, require
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import TokenizerFile, TokenizerSource, TrainedTokenizer
from specrun.spec.words.tokenizer import LEAST_VOCABULARY, FileTokenizer, TrainTokenizer


def place_tokenizer(draft: Draft, context: Context) -> Draft:
    """How the tokenizer comes to be: trained, a file, or the pretrained model's own."""
    return replace(draft, tokenizer_source=_tokenizer_source(draft, context))


def make_tokenizer(draft: Draft, context: Context) -> Draft:
    """Train or read the tokenizer."""
    try:
        tokenizer = context.facts.tokenizer(draft.need("tokenizer_source"), draft.need("scan"))
    except InputError as error:
        report_all(error, "tokenizer", context)
        return draft
    _warn_of_few_ids(draft, tokenizer.vocab_size, context)
    return replace(draft, tokenizer=tokenizer)


def _warn_of_few_ids(draft: Draft, found: int, context: Context) -> None:
    """A vocabulary that the texts are too few for is smaller than it was asked to be."""
    words = draft.spec.tokenizer
    if isinstance(words, TrainTokenizer) and found < words.vocab_size:
        fewer = f", or ask for {found}" if found >= LEAST_VOCABULARY else ""
        context.report.warning(
            "tokenizer.vocab_size",
            "small-vocabulary",
            f"{words.vocab_size:,} ids are asked for, and the texts give {found:,}",
            hint=f"no other pair of ids occurs {words.min_frequency} times: give more texts{fewer}",
        )


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
            require(
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
