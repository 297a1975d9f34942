"""Every key of a TOML text is found on its line."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config.lines import KeyPath, key_lines, line_of

TEXT = '''# comment with [brackets] = "and quotes
top = 1
[a.b] # a table
"quoted key" = """
text = [[ "not a key" ]]
"""
x.y = 'lit # eral'
list = [ # comment
  1,
  { deep = "}", more = [2, 3] },
]
[[inbox]]
name = "one"
[inbox.extract]
size = 1979-05-27 07:32:00
[[inbox]]
name = \'\'\'a'b\'\'\'''
[[inbox.rule]]
n = """x"""""
[[inbox.rule]]
n = 2
'''


def test_keys_tables_and_elements_have_their_lines() -> None:
    lines = key_lines(TEXT)
    expected: dict[KeyPath, int] = {
        ("top",): 2,
        ("a",): 3,
        ("a", "b"): 3,
        ("a", "b", "quoted key"): 4,
        ("a", "b", "x", "y"): 7,
        ("a", "b", "list"): 8,
        ("a", "b", "list", 0): 9,
        ("a", "b", "list", 1, "deep"): 10,
        ("a", "b", "list", 1, "more", 1): 10,
        ("inbox", 0): 12,
        ("inbox", 0, "name"): 13,
        ("inbox", 0, "extract"): 14,
        ("inbox", 0, "extract", "size"): 15,
        ("inbox", 1): 16,
        ("inbox", 1, "name"): 17,
        ("inbox", 1, "rule", 0, "n"): 19,
        ("inbox", 1, "rule", 1): 20,
        ("inbox", 1, "rule", 1, "n"): 21,
    }
    assert {path: lines[path] for path in expected} == expected


def test_a_missing_key_is_placed_at_its_table() -> None:
    assert line_of(key_lines(TEXT), ("inbox", 1, "path")) == 16
    assert line_of(key_lines(TEXT), ("nowhere", 3)) == 1


KEYS = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True), st.text(max_size=6))
SCALARS = st.one_of(
    st.integers(-(2**40), 2**40), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def to_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(one):08x}" if not one.isalnum() else one for one in value) + '"'
    if isinstance(value, list):
        return "[\n" + "".join(f"{to_toml(one)},\n" for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_toml(key)} = {to_toml(one)}" for key, one in value.items()) + "}"
    return repr(value)


def paths_in(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return {found for key, one in items for found in ({(*path, key)} | paths_in(one, (*path, key)))}


def no_surrogates(value: Any) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in str(value))


@given(st.dictionaries(KEYS, VALUES, max_size=4).filter(no_surrogates))
def test_what_is_found_is_what_tomllib_reads(document: dict[str, Any]) -> None:
    text = "".join(f"{to_toml(key)} = {to_toml(value)}\n" for key, value in document.items())
    assert set(key_lines(text)) == paths_in(tomllib.loads(text))


@given(st.lists(st.dictionaries(KEYS, SCALARS, max_size=3), min_size=1, max_size=4).filter(no_surrogates))
def test_arrays_of_tables_are_counted_as_tomllib_does(tables: list[dict[str, Any]]) -> None:
    text = "".join(
        "[[one.two]]\n" + "".join(f"{to_toml(key)} = {to_toml(value)}\n" for key, value in table.items())
        for table in tables
    )
    assert set(key_lines(text)) == paths_in(tomllib.loads(text))


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a = 1", '"" = 1', "[a]\n[a.b]"])
def test_small_texts_are_read(text: str) -> None:
    assert set(key_lines(text)) == paths_in(tomllib.loads(text))
