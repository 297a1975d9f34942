"""Example, JSON Schema and docs say what the code does."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from daemon.config.docs import json_schema
from daemon.config.load import config_adapter, read_config
from daemon.config.schema import Config
from daemon.config.schema_nodes import every_key
from daemon.config.values import format_duration, format_size, parse_duration, parse_size
from daemon.generated_files import GENERATED, write_generated
from engine.types import ExtractSettings

ROOT = Path(__file__).parents[2]


def test_files_are_written_only_where_they_differ(tmp_path: Path) -> None:
    assert len(write_generated(tmp_path)) == len(GENERATED)
    assert write_generated(tmp_path) == []


def test_a_generated_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_generated(tmp_path)
    page = tmp_path / "docs" / "metrics.md"
    page.write_text("an older one")

    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_generated(tmp_path)
    assert page.read_text() == "an older one"


def test_the_example_is_a_configuration() -> None:
    config = read_config(ROOT / "config.example.toml", missing_files="warn").config
    assert config.inboxes[0].name == "alice"
    assert dataclasses.replace(config, inboxes=()) == Config()


def uncommented() -> str:
    text = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    keys = "|".join({key[-1] for key in every_key(config_adapter().json_schema())})
    for _ in range(2):  # tables that are commented out hold keys that are commented out
        text = re.sub(rf"^# (# |(?:{keys}) = |\[)", r"\1", text, flags=re.MULTILINE)
    return text


def test_the_example_names_every_key_with_a_value_that_is_accepted() -> None:
    document = tomllib.loads(uncommented())
    named = set(keys_of(document))
    assert {".".join(key) for key in every_key(config_adapter().json_schema())} == named
    config = config_adapter().validate_json(json.dumps(document), context={"folder": Path("/etc/dfld")})
    assert config.machines[0].key == Path("~/.ssh/dfld_ed25519").expanduser()


def keys_of(value: Any, path: tuple[str, ...] = ()) -> list[str]:
    if isinstance(value, list):
        return [key for one in value for key in keys_of(one, path)] if value and isinstance(value[0], dict) else []
    if not isinstance(value, dict):
        return []
    return [key for name, one in value.items() for key in (".".join((*path, name)), *keys_of(one, (*path, name)))]


def test_the_defaults_shown_are_the_defaults() -> None:
    text = uncommented()
    head = text[: text.index("[[inbox]]")].replace('root = "/var/lib/dfld/models"', "")
    config = config_adapter().validate_json(json.dumps(tomllib.loads(head)), context={"folder": Path("/")})
    assert config == Config()


def test_every_key_is_explained() -> None:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in text.splitlines() if "| `" in line]
    assert len(rows) > 60
    assert not [row for row in rows if not row[-2]]


def test_settings_of_an_extraction_are_the_engines_own() -> None:
    table = json_schema()["$defs"]["ExtractTable"]["properties"]
    assert list(table) == [field.name for field in dataclasses.fields(ExtractSettings)]


def test_the_json_schema_writes_units() -> None:
    watch = json_schema()["$defs"]["WatchConfig"]["properties"]["stable_for"]
    assert watch["default"] == "10s"
    assert re.fullmatch(watch["pattern"], "10s")
    assert not re.fullmatch(watch["pattern"], "10")


@pytest.mark.parametrize("seconds", [0, 0.05, 1, 90, 300, 3600, 5400, 86400, 7 * 86400])
def test_durations_are_written_as_they_are_read(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("size", [0, 1, 1000, 1024, 20 * 2**30, 2**41])
def test_sizes_are_written_as_they_are_read(size: int) -> None:
    assert parse_size(format_size(size)) == size
