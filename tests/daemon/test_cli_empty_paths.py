"""An empty path would mean the folder that dfld was started in; nobody means that."""

from __future__ import annotations

import pytest

from daemon.cli import main
from daemon.errors import ExitCode

COMMANDS = [
    "status --config", "jobs list --config", "quarantine list --config", "pause --config", "scan --config",
    "reload --config", "forget alice --yes --config", "sync round --config", "rounds list --config",
    "machines list --config", "doctor --config", "run --config", "check", "average a b --out", "average --out c",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_path_is_refused_in_a_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), ""]) == ExitCode.USAGE
    assert "the path is empty" in capsys.readouterr().err


def test_an_unknown_backend_is_told_the_known_ones_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backends", "--json"]) == ExitCode.OK
    capsys.readouterr()
    for name in ("dlip", "zzz", "opencv"):
        assert main(["match", "a.jpg", "b.jpg", "--backend", name]) != ExitCode.OK
        assert "expected one of insightface, dlib, opencv_cascade" in capsys.readouterr().err
