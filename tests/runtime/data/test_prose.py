"""Text files to rows: what a file may be, what its paragraphs become, and where each row stands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specrun.runtime.data import prose
from specrun.runtime.data.peek import peek
from specrun.runtime.data.prose import pieces
from specrun.runtime.data.scan import rows_of, scan, verify_inputs
from specrun.runtime.data.sources import list_inputs
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.data import (
    DataPlan,
    FormatCount,
    HeldOut,
    HeldOutFile,
    HeldOutFraction,
    Scan,
    TextSource,
)
from tests.faults.full_disk import full_disk
from tests.runtime.plans import make_text_source

STORY = "The cat sat down. It was tired of the day! Was it raining?\nIt was.\n\nA second paragraph is here.\n"


def source_of(path: Path, **changes: Any) -> TextSource:
    return make_text_source(str(path), **changes)


def written(folder: Path, text: str | bytes, name: str = "a.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def texts_of(found: Scan) -> list[str]:
    return list(rows_of(found.rows_digest).training.queries)


def read(path: Path, held_out: HeldOut | None = None, **changes: Any) -> list[tuple[str, str]]:
    """(text, place) of the training rows."""
    found = scan(source_of(path, **changes), held_out, "skip")
    rows = rows_of(found.rows_digest).training
    return list(zip(rows.queries, rows.places, strict=True))


def test_sentences_with_their_lines(tmp_path: Path) -> None:
    assert read(written(tmp_path, STORY)) == [
        ("The cat sat down.", "a.txt:1"),
        ("It was tired of the day!", "a.txt:1"),
        ("Was it raining?", "a.txt:1"),
        ("It was.", "a.txt:2"),
        ("A second paragraph is here.", "a.txt:4"),
    ]


def test_pairs_lie_within_a_paragraph(tmp_path: Path) -> None:
    assert read(written(tmp_path, STORY), formats=("pairs",)) == [
        ("The cat sat down. [SEP] It was tired of the day!", "a.txt:1"),
        ("It was tired of the day! [SEP] Was it raining?", "a.txt:1"),
        ("Was it raining? [SEP] It was.", "a.txt:1"),
    ]


def test_paragraphs_are_folded(tmp_path: Path) -> None:
    assert read(written(tmp_path, STORY), formats=("paragraphs",)) == [
        ("The cat sat down. It was tired of the day! Was it raining? It was.", "a.txt:1"),
        ("A second paragraph is here.", "a.txt:4"),
    ]


def test_a_paragraph_of_many_sentences_is_several(tmp_path: Path) -> None:
    lines = "\n".join(f"Sentence {i} stands here." for i in range(7))
    path = written(tmp_path, lines)
    found = read(path, formats=("paragraphs",), paragraph_max_sentences=3)
    assert [(text.count("Sentence"), place) for text, place in found] == [
        (3, "a.txt:1"),
        (3, "a.txt:4"),
        (1, "a.txt:7"),
    ]
    pairs = [text for text, _ in read(path, formats=("pairs",), paragraph_max_sentences=3)]
    assert len(pairs) == 4, "two in each group of three, none in the last of one"
    assert not any("2" in text and "3" in text for text in pairs)
    alone = scan(source_of(path, formats=("pairs",), paragraph_max_sentences=3), None, "skip")
    assert alone.formats[0].alone == 1


def test_each_row_has_the_number_of_its_format(tmp_path: Path) -> None:
    formats = ("sentences", "pairs", "paragraphs")
    found = scan(source_of(written(tmp_path, STORY), formats=formats), None, "skip")
    split = rows_of(found.rows_digest).training
    assert split.fields["format"].tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 0, 2]
    assert split.texts_only
    assert split.positives is split.queries
    field = next(f for f in found.fields if f.name == "format")
    assert (field.count, field.minimum, field.maximum) == (10, 0, 2)


def test_counts_of_a_format_add_up(tmp_path: Path) -> None:
    text = (
        "Short. The same sentence again. The same  sentence AGAIN.\n\nThe same sentence again.\n\n"
    )
    written(tmp_path, text + " ".join(f"w{i}" for i in range(10, 50)) + " end.")
    source = source_of(tmp_path, formats=("sentences", "pairs"), min_chars=8, max_chars=100)
    found = scan(source, None, "skip")
    assert found.formats == (
        FormatCount(
            format="sentences",
            rows_read=6,
            cut=1,
            too_short=1,
            alone=0,
            duplicates=2,
            dropped_by_split=0,
            training_rows=4,
            validation_rows=0,
        ),
        FormatCount(
            format="pairs",
            rows_read=2,
            cut=0,
            too_short=0,
            alone=2,
            duplicates=0,
            dropped_by_split=0,
            training_rows=2,
            validation_rows=0,
        ),
    )
    assert found.rows_read == 8
    assert (found.duplicates, found.training_rows, found.repeated) == (2, 6, 0)


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        (0, ["aa bb cc", "dd ee ff", "gg"]),
        (1, ["aa bb cc", "cc dd ee", "ee ff gg"]),
        (9, ["aa bb cc", "cc dd ee", "ee ff gg"]),  # at most half of three words
    ],
)
def test_pieces_share_words(overlap: int, expected: list[str]) -> None:
    found = pieces("aa bb cc dd ee ff gg", 8, overlap)
    assert [piece.text for piece in found] == expected
    for piece in found:
        assert "aa bb cc dd ee ff gg"[piece.start :].startswith(piece.text)


def test_overlap_gives_way_to_a_long_word() -> None:
    found = [piece.text for piece in pieces("a b c d eeeeeee f", 8, 9)]
    assert found == ["a b c d", "eeeeeee", "f"]


def test_a_word_that_is_too_long_is_cut() -> None:
    assert [p.text for p in pieces("abcdefghij kl", 4, 50)] == ["abcd", "efgh", "ij", "kl"]


@given(
    st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=40),
    st.integers(1, 30),
    st.integers(0, 10),
)
def test_pieces_cover_a_text_in_order(words: list[str], most: int, overlap: int) -> None:
    text = " ".join(words)
    found = pieces(text, most, overlap)
    ends = [piece.start + len(piece.text) for piece in found]
    assert all(text[p.start : end] == p.text for p, end in zip(found, ends, strict=True))
    assert all(0 < len(piece.text) <= most for piece in found)
    assert (found[0].start, ends[-1]) == (0, len(text))
    for before, piece, end in zip(ends, found[1:], ends[1:], strict=False):
        assert piece.start <= before + 1, "nothing is left out between"
        assert end > before, "every piece goes on"
        shared = text[piece.start : before].split()
        assert len(shared) <= overlap
        assert len(shared) * 2 <= max(1, len(text[:before].split()))
    if overlap == 0:
        assert "".join(p.text for p in found).replace(" ", "") == "".join(words)


def test_a_long_text_is_cut_into_rows_with_their_lines(tmp_path: Path) -> None:
    text = "\n".join(" ".join(f"w{i}x{j}" for j in range(10)) for i in range(4)) + "."
    found = read(written(tmp_path, text), max_chars=60, chunk_overlap=2)
    assert [place for _, place in found] == ["a.txt:1", "a.txt:2", "a.txt:3", "a.txt:4"]
    joined = [word for row, _ in found for word in row.split()]
    assert len(joined) == 40 + 2 * (len(found) - 1)


def test_the_second_sentence_of_a_pair_keeps_its_line(tmp_path: Path) -> None:
    text = "One two three four.\nFive six seven eight nine ten eleven."
    found = read(written(tmp_path, text), formats=("pairs",), max_chars=30, chunk_overlap=0)
    assert found == [
        ("One two three four. [SEP] Five", "a.txt:1"),
        ("six seven eight nine ten", "a.txt:2"),
        ("eleven.", "a.txt:2"),
    ]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_mark_change_nothing(tmp_path: Path, ends: str) -> None:
    path = written(tmp_path, ("\ufeff" + STORY.replace("\n", ends)).encode())
    assert read(path) == read(written(tmp_path / "other", STORY))


FAULTS = {
    "latin.txt": ("Fine.\ncaf\xe9".encode("latin-1"), "not UTF-8", "latin.txt:2"),
    "nul.txt": (b"Fine.\n\nA\0B", "NUL byte in the text", "nul.txt:3"),
    "utf16.txt": ("Wide.".encode("utf-16"), "NUL byte in the text", "utf16.txt:1"),
    "cut.txt": ("caf\u00e9".encode()[:-1], "not UTF-8", "cut.txt:1"),
}


def test_bad_files_are_told_by_class(tmp_path: Path) -> None:
    for name, (raw, _, _) in FAULTS.items():
        written(tmp_path, raw, name)
    written(tmp_path, STORY, "good.txt")
    written(tmp_path, "", "empty.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    found = scan(source_of(tmp_path), None, "skip")
    expected: dict[str, set[str]] = {"unreadable file": {"pipe.txt", "gone.txt"}}
    for _, reason, place in FAULTS.values():
        expected.setdefault(reason, set()).add(place)
    assert {bad.reason: set(bad.places) for bad in found.bad} == expected
    assert len(texts_of(found)) == 5
    assert found.rows_read == 5 + 6
    with pytest.raises(InputError) as raised:
        scan(source_of(tmp_path), None, "error")
    assert {(d.file, d.line) for d in raised.value.diagnostics} == {
        ("latin.txt", 2),
        ("nul.txt", 3),
        ("utf16.txt", 1),
        ("cut.txt", 1),
        ("pipe.txt", 0),
        ("gone.txt", 0),
    }


def test_a_file_too_large_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prose, "MAX_BYTES", 10)
    found = scan(source_of(written(tmp_path, STORY)), None, "skip")
    assert [(bad.reason, bad.places) for bad in found.bad] == [("file too large", ("a.txt",))]


def test_a_file_that_changes_stops_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, STORY)
    inner = prose.read_prose

    def late(*given: Any) -> Any:
        path.write_text(STORY + "More.")
        return inner(*given)

    monkeypatch.setattr("specrun.runtime.data.scan.read_prose", late)
    with pytest.raises(RunError, match="changed while it was read"):
        scan(source_of(path), None, "skip")


def test_a_folder_is_walked_in_the_order_of_names(tmp_path: Path) -> None:
    for name in (
        "b.txt",
        "a/z.txt",
        "a.txt",
        ".hidden.txt",
        ".git/x.txt",
        "no.md",
        "node_modules/in.txt",
    ):
        written(tmp_path, f"The text of {name} is here.", name)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    found = scan(source_of(tmp_path), None, "skip")
    places = list(rows_of(found.rows_digest).training.places)
    assert places == ["a/z.txt:1", "a.txt:1", "b.txt:1", "node_modules/in.txt:1"]
    assert found.duplicates == 1, "the link to a file is read too"
    assert found.inputs[0].files == 5


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt:1"]),
        ("**/*.md", ["x/c.md:1"]),
        ("x", ["x/b.txt:1", "x/c.md:1"]),
        ("**/[ab].*", ["a.txt:1", "x/b.txt:1"]),
    ],
)
def test_patterns_choose(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    for name in ("a.txt", "x/b.txt", "x/c.md"):
        written(tmp_path, f"The text of {name} is here.", name)
    assert [place for _, place in read(tmp_path, pattern=pattern)] == expected


@pytest.mark.parametrize(
    ("pattern", "code"),
    [("/abs/*.txt", "bad-pattern"), ("../*.txt", "bad-pattern"), ("*.rst", "no-files")],
)
def test_a_pattern_that_gives_no_file_is_refused(tmp_path: Path, pattern: str, code: str) -> None:
    written(tmp_path, STORY)
    source = source_of(tmp_path, pattern=pattern)
    with pytest.raises(InputError) as raised:
        scan(source, None, "skip")
    assert [d.code for d in raised.value.diagnostics] == [code]
    problems = peek(source, None).problems
    assert [problem[0] for problem in problems] == [code]


def test_a_look_sees_what_is_wrong_with_every_file(tmp_path: Path) -> None:
    written(tmp_path, b"\xff\xfe", "a.txt")
    (code, path, message, _), *rest = peek(source_of(tmp_path), None).problems
    assert (code, path, rest) == ("bad-row", "data.path", [])
    assert "not UTF-8" in message
    assert "a.txt:1" in message
    written(tmp_path, STORY, "b.txt")
    found = peek(source_of(tmp_path), None)
    assert found.problems == ()
    assert "format" in found.fields


def test_a_look_at_a_long_file_may_end_within_a_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specrun.runtime.data.peek.TEXT_BYTES", 4)
    assert peek(source_of(written(tmp_path, "caf\u00e9 au lait.")), None).problems == ()


def test_rows_do_not_depend_on_where_the_texts_lie(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        written(tmp_path / folder, STORY)
    first, second = (scan(source_of(tmp_path / name), None, "skip") for name in ("one", "two"))
    assert first.rows_digest == second.rows_digest


def test_changed_texts_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, STORY)
    source = source_of(tmp_path)
    plan = DataPlan(
        source=source,
        validation=None,
        bad_rows="skip",
        scan=scan(source, None, "skip"),
        max_query_length=8,
        max_positive_length=0,
    )
    verify_inputs(plan)
    path.write_text(STORY.replace("cat", "dog"))
    with pytest.raises(InputError, match="changed since the plan was compiled"):
        verify_inputs(plan)


def corpus(folder: Path, count: int = 200) -> Path:
    paragraphs = [
        " ".join(f"Paragraph {i} says thing {j} of {i * 7 + j}." for j in range(1 + i % 5))
        for i in range(count)
    ]
    return written(folder, "\n\n".join(paragraphs))


FORMATS = ("sentences", "pairs", "paragraphs")


def test_a_paragraph_is_held_out_in_all_its_formats(tmp_path: Path) -> None:
    source = source_of(corpus(tmp_path), formats=FORMATS)
    found = scan(source, HeldOutFraction(fraction=0.25), "skip")
    rows = rows_of(found.rows_digest)
    numbers = [
        {text.split()[1] for text in split.queries} for split in (rows.training, rows.validation)
    ]
    assert numbers[0].isdisjoint(numbers[1])
    assert len(numbers[0]) + len(numbers[1]) == 200
    assert 25 <= len(numbers[1]) <= 75
    assert found.dropped_by_split == 0
    for number in range(3):
        held = rows.validation.fields["format"] == number
        assert held.any()
    alone = scan(source_of(corpus(tmp_path)), HeldOutFraction(fraction=0.25), "skip")
    own = rows_of(alone.rows_digest).validation
    is_sentence = rows.validation.fields["format"] == 0
    assert list(own.queries) == [
        text for text, yes in zip(rows.validation.queries, is_sentence, strict=True) if yes
    ], "which are held out does not depend on the other formats"


def test_no_sentence_of_a_held_out_paragraph_is_trained_on(tmp_path: Path) -> None:
    """A sentence that stands in several paragraphs is held out where one of them is."""
    shared = "This sentence is in every paragraph."
    paragraphs = [f"Paragraph {i} begins here. {shared}" for i in range(100)]
    path = written(tmp_path, "\n\n".join(paragraphs))
    found = scan(source_of(path, formats=FORMATS), HeldOutFraction(fraction=0.2), "skip")
    rows = rows_of(found.rows_digest)
    assert shared in list(rows.validation.queries)
    assert shared not in list(rows.training.queries)
    sentences, pairs, whole = found.formats
    assert sentences.dropped_by_split == 1
    assert (pairs.dropped_by_split, whole.dropped_by_split) == (0, 0)
    for count in found.formats:
        kept = count.training_rows + count.validation_rows
        assert count.rows_read == kept + count.duplicates + count.dropped_by_split


def test_more_texts_move_none_to_the_training(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    held = HeldOutFraction(fraction=0.3)
    before = rows_of(scan(source_of(path, formats=FORMATS), held, "skip").rows_digest)
    written(tmp_path, "Aardvarks come first. " + path.read_text().split("\n\n")[3], "0.txt")
    after = rows_of(scan(source_of(tmp_path, formats=FORMATS), held, "skip").rows_digest)
    assert set(before.validation.queries) <= set(after.validation.queries)


def test_a_held_out_folder_is_cut_in_the_same_way(tmp_path: Path) -> None:
    written(tmp_path / "own", STORY)
    other = written(tmp_path / "other", "It was. Another evening came.")
    held = HeldOutFile(source=source_of(other.parent, formats=FORMATS))
    found = scan(source_of(tmp_path / "own", formats=FORMATS), held, "skip")
    rows = rows_of(found.rows_digest)
    assert list(rows.validation.queries) == [
        "It was.",
        "Another evening came.",
        "It was. [SEP] Another evening came.",
        "It was. Another evening came.",
    ]
    assert "It was." not in list(rows.training.queries)
    assert [count.dropped_by_split for count in found.formats] == [1, 0, 0]
    assert [x.role for x in found.inputs] == ["data", "validation"]


def test_texts_of_a_long_paragraph_are_read_in_linear_time(tmp_path: Path) -> None:
    """Sentences are told apart by what is near their end: 40,000 in one paragraph are no matter."""
    text = " ".join(f"Number {i} stood there at noon." for i in range(40_000))
    found = scan(source_of(written(tmp_path, text)), None, "skip")
    assert found.training_rows == 40_000


@given(
    st.text(st.sampled_from("ab Q.!?\n\r\t…。\u00a0\u2028\x1c"), max_size=120),
    st.integers(1, 12),
    st.integers(1, 3),
)
def test_no_word_is_lost_and_each_row_begins_on_its_line(
    tmp_path_factory: pytest.TempPathFactory, text: str, most: int, sentences: int
) -> None:
    path = written(tmp_path_factory.mktemp("texts"), text)
    source = source_of(
        path,
        formats=("sentences", "paragraphs"),
        max_chars=most,
        paragraph_max_sentences=sentences,
        chunk_overlap=0,
    )
    [listing] = list_inputs(source, None)
    rows = list(prose.read_prose(listing.files[0], source, prose.Prose()))
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number in range(2):
        own = [row for row in rows if row.numbers["format"] == [0.0, 2.0][number]]
        assert "".join("".join(row.query.split()) for row in own) == "".join(text.split())
        for row in own:
            line = int(row.place.rpartition(":")[2])
            assert row.query.split()[0][:1] in lines[line - 1]
            assert len(row.query) <= most


def test_a_name_of_any_bytes_is_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("A text is here.")
    assert read(tmp_path) == [("A text is here.", "\ufffd.txt:1")]


def test_a_folder_that_may_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, STORY)

    def refused(folder: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InputError, match="Permission denied") as raised:
        scan(source_of(tmp_path), None, "skip")
    assert [(d.code, d.path) for d in raised.value.diagnostics] == [("unreadable", "data.path")]


def test_a_full_disk_leaves_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, STORY)

    monkeypatch.setattr("specrun.runtime.data.rows._write_texts", full_disk)
    with pytest.raises(RunError, match="No space left on device"):
        scan(source_of(path), None, "skip")
