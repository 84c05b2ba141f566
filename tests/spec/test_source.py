"""Text to tree: typing by YAML 1.2, places, and everything that is refused."""

from __future__ import annotations

from typing import Any

import pytest

from specrun.spec.diagnostics import Diagnostic
from specrun.spec.source import MAX_NODES, Read, read_bytes, read_text
from specrun.spec.tree import Items, Scalar, Table, Texts, format_path, parse_path, plain


def read(text: str) -> Read:
    return read_text(text, "spec.yaml", Texts())


def values(text: str) -> Any:
    found = read(text)
    assert found.diagnostics == ()
    assert found.tree is not None
    return plain(found.tree)


def only(found: Read) -> Diagnostic:
    assert len(found.diagnostics) == 1, found.diagnostics
    return found.diagnostics[0]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("+3", 3),
        ("-0", 0),
        ("0o17", 15),
        ("0xFF", 255),
        ("9007199254740992", 2**53),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("Null", None),
        ("", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("''", ""),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("0b11", "0b11"),
        ("1e", "1e"),
        ("=", "="),
        ("é 日本", "é 日本"),
    ],
)
def test_scalars_are_typed_by_yaml_1_2(written: str, value: object) -> None:
    found = values(f"a: {written}\n")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a: 017\n", "ambiguous-number", 1, 4),
        ("a: 08\n", "ambiguous-number", 1, 4),
        ("a:\n  - .inf\n", "not-finite", 2, 5),
        ("a: -.INF\n", "not-finite", 1, 4),
        ("a: .NaN\n", "not-finite", 1, 4),
        ("a: 1e999\n", "too-big", 1, 4),
        ("a: 9007199254740993\n", "too-big", 1, 4),
        ("a: " + "9" * 5000 + "\n", "too-big", 1, 4),
        ("a: 1\nb: 2\na: 3\n", "duplicate-key", 3, 1),
        ("a: {x: 1, x: 2}\n", "duplicate-key", 1, 11),
        ("a: !!python/object:os.system x\n", "tag", 1, 4),
        ("a: !!str 5\n", "tag", 1, 4),
        ("a: !mine {b: 1}\n", "tag", 1, 4),
        ("a: ! 5\n", "tag", 1, 4),
        ("a: &x [*x]\n", "alias-cycle", 1, 8),
        ("a: *x\n", "unknown-alias", 1, 4),
        ("a: 1\n---\nb: 2\n", "second-document", 2, 1),
        ("? [a]\n: 1\n", "complex-key", 1, 3),
        ("? {a: 1}\n: 1\n", "complex-key", 1, 3),
        ("<<: 3\n", "merge-key", 1, 5),
        ("a: &a {x: 1}\nb: {<<: *a, <<: *a}\n", "duplicate-key", 2, 13),
        ("a: \x07\n", "bad-character", 1, 4),
        ("a: x\u2028\n", "bad-character", 1, 5),
        ("a: \ud800\n", "bad-character", 1, 4),
        ('a: "\\0"\n', "bad-character", 1, 4),
        ("a: b: c\n", "syntax", 1, 5),
        ("a:\n\tb: 1\n", "syntax", 2, 1),
        ("a: [1, 2\n", "syntax", 2, 1),
        ("a: 'x\n", "syntax", 2, 1),
        ("a: @x\n", "syntax", 1, 4),
    ],
)
def test_what_is_refused_has_its_place(text: str, code: str, line: int, column: int) -> None:
    found = only(read(text))
    assert (found.code, found.line, found.column) == (code, line, column)
    assert found.file == "spec.yaml"
    assert found.frame.splitlines()[0].startswith(f"{line} | ")


def test_mistakes_in_one_text_are_all_reported() -> None:
    found = read("a: 017\nb: .nan\na: !x 1\nc: 1e999\n")
    codes = [(d.line, d.code) for d in found.diagnostics]
    assert codes == [
        (1, "ambiguous-number"),
        (2, "not-finite"),
        (3, "duplicate-key"),
        (3, "tag"),
        (4, "too-big"),
    ]


def test_octal_says_both_readings() -> None:
    found = only(read("a: 017\n"))
    assert "octal in YAML 1.1" in found.message
    assert "0o17" in found.hint


def test_a_duplicate_names_the_first_line_and_the_first_value_stays() -> None:
    found = read("a: 1\nb: 2\na: 3\n")
    assert "line 1" in only(found).message
    assert found.tree is not None
    assert plain(found.tree) == {"a": 1, "b": 2}


def test_merge_keys_take_lists_and_explicit_keys_win() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 9}\nd: {<<: *b}\n"
    assert values(text)["c"] == {"x": 9, "y": 1, "z": 2}
    assert values(text)["d"] == {"y": 2, "z": 2}
    assert values("'<<': 1\n") == {"<<": 1}


def test_places_of_aliases_point_at_the_text_they_repeat() -> None:
    tree = read("a: &a\n  x: 1\nb: *a\n").tree
    assert isinstance(tree, Table)
    node = tree.entries["b"].node
    assert (node.place.line, tree.entries["b"].key.line) == (1, 3)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert values("1: a\ntrue: b\nnull: c\n1e3: d\n") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "1e3": "d",
    }


def test_columns_count_characters_and_lines_count_as_editors_do() -> None:
    tree = read("日本: x\r\nb: 'é' \r\nc: [日, y]\n").tree
    assert isinstance(tree, Table)
    third = tree.entries["c"].node
    assert isinstance(third, Items)
    place = third.items[1].place
    assert (place.line, place.column) == (3, 8)


def test_an_alias_bomb_is_counted_by_what_it_means() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert only(read("\n".join(lines))).code == "too-many-values"


def test_depth_is_limited_also_through_aliases() -> None:
    assert only(read("[" * 100_000)).code == "too-deep"
    assert only(read("a: " + "[" * 64 + "]" * 64)).code == "too-deep"
    assert read("a: " + "[" * 60 + "]" * 60).diagnostics == ()
    lines = ["a0: &a0 x"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 80)]
    assert only(read("\n".join(lines))).code == "too-deep"


def test_too_many_values() -> None:
    assert only(read("a: [" + "1, " * (MAX_NODES + 1) + "]")).code == "too-many-values"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff\n"])
def test_nothing_is_null(text: str) -> None:
    found = read_bytes(text.encode(), "spec.yaml", Texts())
    assert found.diagnostics == ()
    assert found.tree is None or plain(found.tree) is None


def test_bytes_must_be_utf_8() -> None:
    found = only(read_bytes(b"a: 1\nb: caf\xe9\n", "spec.yaml", Texts()))
    assert (found.code, found.line, found.column) == ("not-utf-8", 2, 7)
    found = only(read_bytes("a: 1\n".encode("utf-16"), "spec.yaml", Texts()))
    assert "UTF-16" in found.message


def test_a_byte_order_mark_is_skipped() -> None:
    tree = read_bytes(b"\xef\xbb\xbfa: 1\n", "spec.yaml", Texts()).tree
    assert isinstance(tree, Table)
    assert tree.entries["a"].key.column == 1


def test_too_many_bytes() -> None:
    assert only(read_bytes(b"#" * (1 << 20) + b"\n", "s", Texts())).code == "too-large"


def test_a_refused_value_is_marked_so_that_it_is_not_judged_again() -> None:
    tree = read("a: .nan\nb: 1\n").tree
    assert isinstance(tree, Table)
    marks = {k: e.node.bad for k, e in tree.entries.items() if isinstance(e.node, Scalar)}
    assert marks == {"a": True, "b": False}


@pytest.mark.parametrize(
    "path", [("a",), ("a", 0, "b"), ("a", "b.c", 12), ('x"y\\z',), (0, "a"), ("1e3", "-")]
)
def test_paths_survive_their_text(path: tuple[str | int, ...]) -> None:
    assert parse_path(format_path(path)) == path


@pytest.mark.parametrize("text", ["", ".a", "a..b", "a.", "a[", "a[x]", "a[-1]", 'a["x', "a]b"])
def test_what_is_no_path(text: str) -> None:
    assert parse_path(text) is None


def test_a_long_line_is_cut_around_its_column() -> None:
    texts = Texts()
    found = only(read_text("a: [" + "x, " * 500 + "017]\n", "s", texts))
    line, caret = found.frame.splitlines()
    assert len(line) < 120
    assert line[caret.index("^") :].startswith("017")
