"""Commands that dfld advises can be copied as they are: they name the configuration that was given."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from daemon.cli import build_parser, main
from daemon.commands.hints import COMMANDS_WITH_CONFIG, config_in, with_config
from docs.command_line import all_parsers


def test_the_commands_that_take_a_configuration_are_those_of_the_parser() -> None:
    parsers = all_parsers(build_parser())
    have = {one.prog.removeprefix("dfld ") for one in parsers if "--config" in one._option_string_actions}
    assert set(COMMANDS_WITH_CONFIG) == have


@pytest.mark.parametrize(
    "line",
    [
        "sync init alice --from gpu1",
        "machines trust gpu1",
        "rounds show 12",
        "rollback alice",
        "jobs retry 3",
        "doctor",
    ],
)
def test_an_advised_command_with_its_configuration_is_one_that_can_be_run(line: str) -> None:
    told = with_config(f"compare it, then: dfld {line}", "my own.toml")
    command = shlex.split(told.partition("dfld ")[2])
    options, plain = build_parser().parse_args(command), build_parser().parse_args(line.split())
    assert str(options.config) == "my own.toml"
    assert {**vars(options), "config": None} == vars(plain)


def test_what_is_no_such_command_stays_as_it_is() -> None:
    for text in (
        "dfld check FILE tells more", "what dfld runs with", "dfld sync --config a.toml NAME", "dfld works without",
        "dfld sync init NAME --config x.toml",
    ):  # fmt: skip
        assert with_config(text, "b.toml") == text
    assert with_config("dfld rounds lists them", None) == "dfld rounds lists them"
    two = "dfld sync init A, then dfld rounds"
    assert with_config(two, "b") == "dfld sync --config b init A, then dfld rounds --config b"


def test_the_configuration_is_known_of_a_command_line_that_cannot_be_read() -> None:
    assert config_in(["sync", "--config", "a b.toml", "--nonsense"]) == "a b.toml"
    assert config_in(["sync", "--config=c.toml"]) == "c.toml"
    assert config_in(["sync", "--config"]) is None


def test_an_error_advises_with_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "my config.toml"
    config.write_text(
        f'[service]\nstate_dir = "{tmp_path / "state"}"\n[[machine]]\nname = "gpu1"\naddress = "localhost"\n'
        f'transfer = "local"\nmodel_dir = "{tmp_path}"\nstatus = "false"\n'
        '[[sync]]\nname = "alice"\nmachines = ["gpu1"]\nquorum = 1\n'
    )
    assert main(["rounds", "show", "7", "--config", str(config)]) == 2
    assert f"dfld rounds --config {shlex.quote(str(config))} lists them" in capsys.readouterr().err
    assert main(["rounds", "--config", str(config)]) == 0
    assert f"dfld sync --config {shlex.quote(str(config))} init NAME" in capsys.readouterr().out
