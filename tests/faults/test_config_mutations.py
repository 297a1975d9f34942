"""Whatever a configuration file holds, it gives a Config or a ConfigError; never a traceback."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.text import escaped
from daemon.config.load import read_config
from daemon.errors import ConfigError, ConfigProblem

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
MUTATIONS = int(os.environ.get("DFLD_CONFIG_MUTATIONS", "300"))
"""Of the text, and again as many of the values."""
LONGEST_PROBLEM = 2000

PIECES = (
    *(
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        '"',
        "'",
        '"""',
        "=",
        ".",
        ",",
        "#",
        "\\",
        "inf",
        "nan",
        "-1",
        "0x",
        "1e999",
        "true",
    ),
    *("1979-05-27", "07:32:00", "a.b.c=1", "[inbox]", "[[service]]", "[[inbox.extract]]", "[sync.stage]", '"\\ud800"'),
    *('"\\u0000"', "credential:../x", "~nobody", "__class__=1", '""=1', "loc={}"),
)
LONG = ("9" * 400, "9" * 5000, "[" * 300, '"' + "a" * 5000 + '"', "\n", "\r\n", "\x00", "\ufeff", "é")
SNIPPETS = st.one_of(st.sampled_from([*PIECES, *LONG]), st.text(max_size=5))
EDITS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 30), SNIPPETS), min_size=1, max_size=6)


def source_text() -> str:
    """The example with every key put in force."""
    keys = r"^(?:# )*(\w+ = (?:[\"\[\d]|true$|false$).*|\[.*\])$"
    return "\n".join(re.findall(keys, EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE))


SOURCE = source_text()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated") / "config.toml"


def read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    problems: tuple[ConfigProblem, ...] = ()
    try:
        read_config(path)
    except ConfigError as error:
        problems = error.problems
        if not problems:
            raise
    lines = content.decode("utf-8", "replace").count("\n") + 1
    for problem in problems:
        assert 0 < problem.line <= lines
        assert problem.expected
        assert str(problem).startswith(f"{path}:{problem.line}: ")
        assert escaped(str(problem)) == str(problem), "it could steer a terminal"
        assert len(str(problem)) < LONGEST_PROBLEM


@settings(max_examples=MUTATIONS, deadline=None, derandomize=True)
@given(edits=EDITS)
def test_mutated_text_never_gives_a_traceback(path: Path, edits: list[tuple[int, int, str]]) -> None:
    text = SOURCE
    for place, cut, snippet in edits:
        start = place % (len(text) + 1)
        text = text[:start] + snippet + text[start + cut :]
    read(path, text.encode("utf-8", "surrogatepass"))


def every_place(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inner for place in ((*path, key), *every_place(one, (*path, key)))]


def as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(one):08x}" if not one.isalnum() else one for one in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(key)} = {as_toml(one)}" for key, one in value.items()) + "}"
    return repr(value)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ODD_TEXTS = ["auto", "10s", "-5s", "99999999999d", "20GiB", "0B", "/", ".", "..", "~", "~root", "0.0.0.0:1", "[::1]:9"]
ODD_VALUES = st.recursive(
    st.one_of(st.integers(-(2**70), 2**70), st.booleans(), st.floats(), WORDS, st.sampled_from(ODD_TEXTS)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=5,
)
DOCUMENT = tomllib.loads(SOURCE)
PLACES = every_place(DOCUMENT)


def changed(value: Any, place: tuple[str | int, ...], odd: Any, action: str) -> Any:
    if not place:
        return odd
    copied = dict(value) if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
    if place[0] in copied and not (action == "remove" and len(place) == 1):
        copied[place[0]] = changed(copied[place[0]], place[1:], odd, action)
    elif action == "remove":
        copied.pop(place[0], None)
    if action == "add" and len(place) == 1 and isinstance(value, dict):
        copied[str(place[0]) + "x"] = odd
    return list(copied.values()) if isinstance(value, list) else copied


ACTIONS = st.sampled_from(["set", "set", "remove", "add"])
CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), ODD_VALUES, ACTIONS), min_size=1, max_size=5)


@settings(max_examples=MUTATIONS, deadline=None, derandomize=True)
@given(changes=CHANGES)
def test_odd_values_anywhere_never_give_a_traceback(path: Path, changes: list[Any]) -> None:
    document = DOCUMENT
    for place, odd, action in changes:
        document = changed(document, place, odd, action)
    text = "".join(f"{as_toml(key)} = {as_toml(value)}\n" for key, value in document.items())
    read(path, text.encode())


def test_bytes_that_are_no_text_are_told_with_their_line(path: Path) -> None:
    read(path, b'[service]\nstate_dir = "\xff\xfe"\n')
    read(path, bytes(range(256)))
    read(path, b"\xef\xbb\xbf[service]\n")
