"""Records to rows: which column is what, and which texts, images, negatives, labels and numbers are usable.

This is the one place for that, whatever the format. A row that lacks its negatives or its label has
none; everything else that is not as it should be is a fault, with a class of its own.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from specrun.runtime.data.items import both
from specrun.runtime.data.raw import Fault, FileError, Record, Row, Unusable, is_unicode
from specrun.runtime.data.split import normalise
from specrun.spec.plan.data import TableSource, modality

MAX_TEXT = 16 << 20
"""Characters of a text; a longer one is a fault."""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_SHOWN = 8

MAPPED = ("query", "query_image", "positive", "negatives", "label", "score")
"""What the columns of a table may be."""

FindImage = Callable[[str], str]
"""The item that stands for the image of a path (``items.py``). Raises Unusable."""


def rows_of_records(
    found: Iterable[Record | Fault], columns: TableSource, image: FindImage | None = None
) -> Iterator[Row | Fault]:
    """A row or a fault for each record; faults go through. ``image`` is needed where rows have images."""
    for x in found:
        yield x if isinstance(x, Fault) else row_of(x, columns, image)


def row_of(record: Record, columns: TableSource, image: FindImage | None = None) -> Row | Fault:
    """The row of a record, or why there is none."""
    place = Fault("", record.file, record.line).place
    try:
        query = _query(record, columns, image)
        positive = _positive(record, columns, image)
        numbers = _numbers(record, columns)
        _check_score(record, columns.score, numbers)
        return Row(
            query,
            positive,
            place,
            "",
            numbers,
            _negatives(record, columns, positive, image),
            _label(record, columns.label),
        )
    except Unusable as bad:
        return Fault(bad.reason, record.file, record.line, bad.detail)


def need_columns(header: Sequence[str], columns: TableSource, file: str) -> None:
    """FileError unless a file with these columns has the named ones, each once."""
    if twice := [name for name, count in Counter(header).items() if name and count > 1]:
        message = f"{file} has two columns named `{shown(twice[0])}`"
        raise FileError("doubled-column", message, "rename one of them")
    named = {key: getattr(columns, key) for key in MAPPED}
    if modality(columns, "query") == "image":
        named.pop("query")  # nothing is read of it
    missing = {key: name for key, name in named.items() if name and name not in header}
    if missing:
        key, name = next(iter(missing.items()))
        listed = " and no column ".join(
            f"`{shown(name)}`" for name in dict.fromkeys(missing.values())
        )
        message = f"{file} has no column {listed}"
        raise FileError("unknown-column", message, nearest(name, header), f"columns.{key}")


def nearest(name: str, columns: Sequence[str]) -> str:
    """What columns there are, the most similar one first."""
    close = difflib.get_close_matches(name, columns, n=1)
    named = ", ".join(f"`{shown(column)}`" for column in columns[:_SHOWN])
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    found = f"the columns are {named}{more}" if named else "there are no columns"
    return (f"did you mean `{close[0]}`? " if close else "") + found


def shown(name: str) -> str:
    """A name as messages may hold it: short, and valid Unicode."""
    return name[:40].encode("utf-8", "replace").decode()


def image_names(record: Record, columns: TableSource) -> list[str]:
    """The paths of images that a record names, as far as it can be read. None where it names none."""
    named: list[object] = []
    if columns.query_image is not None:
        named.append(record.values.get(columns.query_image))
    if modality(columns, "positive") == "image":
        named.append(record.values.get(columns.positive))
        with suppress(Unusable):  # a fault of the row, told of when it is made
            named += _list(record, columns.negatives)
    return [name for name in named if isinstance(name, str) and name and is_unicode(name)]


def _query(record: Record, columns: TableSource, image: FindImage | None) -> str:
    match modality(columns, "query"):
        case "text":
            return _text(record, columns.query)
        case "image":
            return _image(record, columns.query_image, image)
        case "both":
            return both(_text(record, columns.query), _image(record, columns.query_image, image))


def _positive(record: Record, columns: TableSource, image: FindImage | None) -> str:
    if modality(columns, "positive") == "text":
        return _text(record, columns.positive)
    return _image(record, columns.positive, image)


def _image(record: Record, key: str | None, image: FindImage | None) -> str:
    """The item of the image whose path stands under ``key``."""
    assert key is not None  # the compiler sees to it
    assert image is not None  # the scan does
    return image(_text(record, key))


def _text(record: Record, key: str) -> str:
    if key not in record.values:
        raise Unusable(f"no key `{key}`", f"it has {_keys(record.values)}")
    text = record.values[key]
    if not isinstance(text, str):
        raise Unusable(f"`{key}` is not text")
    if not is_unicode(text):
        raise Unusable(f"`{key}` is not valid Unicode")
    if len(text) > MAX_TEXT:
        raise Unusable(f"`{key}` is longer than {MAX_TEXT} characters")
    if not text.strip():
        raise Unusable(f"`{key}` is empty")
    return text


def _negatives(
    record: Record, columns: TableSource, positive: str, image: FindImage | None
) -> tuple[str, ...]:
    """What ``columns.negatives`` holds, differing from one another; none where it is missing or null."""
    key = columns.negatives
    found: dict[str, str] = {}
    for text in _list(record, key):
        reason = _negative_fault(text)
        if reason:
            raise Unusable(f"`{key}` holds {reason}")
        item = text if modality(columns, "positive") == "text" or image is None else image(text)
        found.setdefault(normalise(item), item)
    if normalise(positive) in found:
        raise Unusable("a negative is the row's own positive")
    return tuple(found.values())


def _list(record: Record, key: str | None) -> list[str]:
    """The values under ``key``: one, several, or none where it is missing or null."""
    value = None if key is None else record.values.get(key)
    if record.textual and isinstance(value, str):
        value = _cell(key, value)
    if value is None:
        return []
    if not isinstance(value, str | list):
        raise Unusable(f"`{key}` is neither a text nor a list of texts")
    return [value] if isinstance(value, str) else value


def _negative_fault(text: object) -> str:
    if not isinstance(text, str):
        return "what is not text"
    if not is_unicode(text):
        return "what is not valid Unicode"
    if len(text) > MAX_TEXT:
        return f"a text longer than {MAX_TEXT} characters"
    return "" if text.strip() else "an empty text"


def _cell(key: str | None, text: str) -> Any:
    """The negatives of a text format's cell: none, a JSON list, or the text itself."""
    if not text.strip():
        return None
    if not text.lstrip().startswith("["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"`{key}` begins with [ and is no JSON list", str(error)) from error


def _label(record: Record, key: str | None) -> str:
    """The label's text, so that 3 and "3" are one label whatever the format; empty where there is none."""
    value = None if key is None else record.values.get(key)
    if isinstance(value, float) and value.is_integer():  # a column of integers with gaps
        value = int(value)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Unusable(f"`{key}` is neither a whole number nor a text")
    text = str(value)
    if not is_unicode(text):
        raise Unusable(f"`{key}` is not valid Unicode")
    return text if text.strip() else ""


def _check_score(record: Record, key: str | None, numbers: Mapping[str, float]) -> None:
    """The score is one of the row's numbers; a row lacks one where its value is missing, null or an empty cell."""
    value = None if key is None else record.values.get(key)
    absent = value is None or (record.textual and isinstance(value, str) and not value.strip())
    if key is not None and not absent and key not in numbers:
        raise Unusable(f"`{key}` is not a number")


def _numbers(record: Record, columns: TableSource) -> dict[str, float]:
    texts = (columns.query, columns.query_image, columns.positive, columns.negatives)
    found: dict[str, float] = {}
    for key, value in record.values.items():
        if record.textual and isinstance(value, str) and key and key not in texts:
            value = _parsed(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        try:
            found[key] = float(value)
        except OverflowError:
            found[key] = math.inf
        if not math.isfinite(found[key]):
            raise Unusable("number too large", f"`{shown(key)}`")
        if not is_unicode(key):
            raise Unusable("a key is not valid Unicode")
    return found


def _parsed(text: str) -> float | None:
    """The number that a cell is, if it is one."""
    bare = text.strip()
    return float(bare) if len(bare) < 400 and _NUMBER.fullmatch(bare) else None


def _keys(value: Mapping[str, Any]) -> str:
    names = ", ".join(f"`{shown(k)}`" for k in list(value)[:_SHOWN])
    return f"the keys {names}" if names else "no keys"
