"""What is wrong with a configuration is said in words that tell what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon import config
from daemon.config.load import config_adapter, read_config, sidecar_adapter
from daemon.config.words import PATTERNS
from daemon.errors import ConfigError

INBOX = '[[inbox]]\nname = "a"\npath = "in"\nworkspace = "ws"\nreferences = ["."]\n'


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_config(path)
    return [str(problem).removeprefix(f"{path}:") for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[inbox]\nname = 'a'\n", "found a table, expected tables that begin with [[inbox]]"),
        ("[[sync]]\nname = 'a'\nmachines = []\nstage = 3\n", "expected tables that begin with [[sync.stage]]"),
        ("[disk]\nreserve_percent = inf\n", "found inf, expected a number that is neither nan nor infinite"),
        (f"[watch]\ndone_marker = '{'a' * 70}'\n", "expected text of at most 64 characters"),
        ("[watch]\ndone_marker = 'a/b'\n", 'expected an ending without "/"'),
        ("[watch]\nignore = '*.x'\n", 'found "*.x", expected an array, such as ["*.x"]'),
        ("[service]\nstate_dir = ''\n", 'found "", expected a path that is not empty'),
        (INBOX.replace('"."', '""'), 'found "", expected a path that is not empty'),
        (INBOX.replace('"a"', '"a b/"'), "expected a name of letters, digits, _ . - (64 at most"),
        ("[[machine]]\nname = 'a'\naddress = 'a b'\nmodel_dir = 'm'\n", "expected a host name or an IP address"),
    ],
)
def test_what_was_expected_can_be_followed(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in problem for problem in problems(tmp_path, text)), problems(tmp_path, text)


def test_an_entry_that_is_wrong_is_one_problem_and_not_an_empty_array_too(tmp_path: Path) -> None:
    found = problems(tmp_path, INBOX.replace('["."]', "[3]"))
    assert [re.sub(r"^\d+: ", "", one) for one in found] == ["inbox[1].references[1]: found 3, expected text in quotes"]


def patterns_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        for inner in node.values():
            yield from patterns_in(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from patterns_in(inner)


def test_every_pattern_is_told_in_words() -> None:
    used = {*patterns_in(config_adapter().json_schema()), *patterns_in(sidecar_adapter().json_schema())}
    for source in Path(config.__path__[0]).glob("*.py"):  # pydantic leaves those behind a validator out of the schema
        used |= set(re.findall(r'pattern=r"([^"]+)"', source.read_text()))
    assert used == set(PATTERNS), json.dumps(sorted(used ^ set(PATTERNS)))
