"""No name, wherever it comes from, steers the terminal or forges a line: every command is driven over hostile names."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.cli import build_parser, main
from daemon.commands.output import HarmlessStream, harmless, prepared_streams
from daemon.log import JsonFormatter, TextFormatter
from docs.command_line import all_parsers
from tests.daemon_rig import ROOT, InProcess, Rig, wait_until
from tests.fake_worker import fake_video

STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
HOSTILE = "a\x1b[2J\x9b31m\x07\u202e\nFORGED\rb"


def require_harmless(text: str) -> None:
    assert not STEERS.search(text), ascii(text)
    assert not re.search("^FORGED", text, re.M), ascii(text)


@given(st.text())
def test_a_harmless_text_holds_nothing_that_steers_and_keeps_its_lines(text: str) -> None:
    assert not STEERS.search(harmless(text))
    assert harmless(text).count("\n") == text.count("\n")
    assert harmless(harmless(text)) == harmless(text)


def test_whoever_writes_to_the_streams_writes_harmlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with prepared_streams():
        sys.stdout.write(HOSTILE)
        sys.stderr.writelines([HOSTILE, "\x1b]0;title\x07"])
        logging.lastResort.handle(logging.makeLogRecord({"msg": HOSTILE, "levelno": logging.ERROR}))  # type: ignore[union-attr]
        assert isinstance(sys.stdout, HarmlessStream)
    assert sys.stdout is out
    for text in (out.getvalue(), err.getvalue()):
        assert not STEERS.search(text)
        assert "\\x1b[2J" in text


@pytest.mark.parametrize(
    "formatter", [TextFormatter(for_journal=False), TextFormatter(for_journal=True), JsonFormatter()]
)
def test_a_log_line_is_one_harmless_line(formatter: logging.Formatter) -> None:
    record = logging.makeLogRecord(
        {
            "msg": "%s",
            "args": (HOSTILE,),
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "fields": {"file": HOSTILE},
        }
    )
    line = formatter.format(record)
    require_harmless(line)
    assert "\n" not in line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files whose names and contents are hostile."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / HOSTILE).write_text(f'x = "{HOSTILE}"\n[[inbox]]\n"na\\u001bme" = 1\n')
    (tmp_path / f"{HOSTILE}.mp4").write_bytes(b"no video" * 1000)
    (tmp_path / f"{HOSTILE}.jpg").write_bytes(b"no photo")
    (tmp_path / f"{HOSTILE}.d").mkdir()
    (tmp_path / f"{HOSTILE}.d" / f"{HOSTILE}.npy").write_bytes(b"no weights")
    good = (
        f'[service]\nstate_dir = "{tmp_path}/state"\n[[machine]]\nname = "gpu1"\ntransfer = "local"\nmodel_dir = '
        f'"{tmp_path}/none"\ncontrol = "none"\n[[sync]]\nname = "m"\nmachines = ["gpu1"]\nquorum = 1\n'
    )
    (tmp_path / "good.toml").write_text(good)
    return tmp_path


H, CONFIG = HOSTILE, ("--config", "good.toml")
COMMANDS: dict[str, list[list[str]]] = {
    "demo": [["--" + H]],
    "extract": [[H], [H, "--" + H], [f"{H}.mp4", "--ref", f"{H}.jpg", "--backend", "opencv_cascade"]],
    "tune": [[H], [f"{H}.mp4", "--ref", f"{H}.jpg"]],
    "match": [[H, f"{H}.jpg"], [f"{H}.jpg", f"{H}.jpg", "--backend", "opencv_cascade"]],
    "reference": [[f"{H}.jpg", "--backend", "opencv_cascade"], [f"{H}.d"], [H, "--backend", H]],
    "backends": [["--model-root", f"{H}.d"]],
    "run": [["--config", H], [H]],
    "check": [[H], ["--config", H], [f"{H}.none"]],
    "average": [[f"{H}.d", f"{H}.d", "--out", f"{H}.out"], [H, H, "--out", H], [f"{H}.d", "--model", H, "--out", H]],
    "sync": [[H, *CONFIG], ["init", H, *CONFIG], ["m", "--config", H], ["hook", H, *CONFIG]],
    "rounds": [[H, *CONFIG]],
    "rollback": [[H, "--to", "1", *CONFIG], [H, *CONFIG]],
    "machines": [["trust", H, *CONFIG], ["check", "--config", H], [H]],
    "status": [["--config", H], CONFIG],
    "jobs": [["show", H, *CONFIG], [H, *CONFIG], ["--state", H, *CONFIG]],
    "quarantine": [["release", H, *CONFIG], ["--config", H]],
    "pause": [[H, *CONFIG]],
    "drain": [[H, *CONFIG]],
    "resume": [[H, *CONFIG]],
    "scan": [[H, *CONFIG], ["--dry-run", "--config", H]],
    "reload": [["--config", H], CONFIG],
    "forget": [[H, "--yes", *CONFIG], [H, *CONFIG]],
    "verify": [[H, *CONFIG], [f"{H}.d", *CONFIG], [f"{H}.d", "--repair", *CONFIG], ["--config", H, H]],
    "curate": [[H, *CONFIG], [f"{H}.d", "--dry-run", *CONFIG], [f"{H}.d", "--match", H], ["--config", H, f"{H}.d"]],
    "coverage": [[H], [f"{H}.d"], [f"{H}.d", H], [f"{H}.d", "--html", H]],
    "refine": [
        [H, *CONFIG], [f"{H}.d", *CONFIG], [f"{H}.d", "--video", H], ["--video", f"{H}.mp4", H, "--backend", H],
        ["--config", H, f"{H}.d"],
    ],
    "track": [
        [H, "--box", "1,2,30,40", "--at", "1"], [f"{H}.mp4", "--box", H, "--at", "1"],
        [f"{H}.d", "--box", "1,2,30,40", "--at", H], [f"{H}.mp4", "--box", "1,2,30,40", "--at", "1", "--backend", H],
    ],
    "sort": [[H, "--by", "yaw"], [f"{H}.d", "--by", H], [".", "--by", "origname"], [f"{H}.d", "--undo"]],
    "mask": [[H], ["."], [f"{H}.d", "--source", H], ["x", "--xseg-model", f"{H}.d", "--check"]],
    "pack": [[H], ["."]],
    "unpack": [[H], ["."]],
    "meta": [["save", H], ["restore", "."], ["save", "."], [H, H]],
    "models": [
        ["list", "--model-root", f"{H}.d"], ["check", "--model-root", H], ["add", H], ["add", f"{H}.mp4", "--name", H],
        ["fetch", H], [H], ["fetch", "buffalo_l", "--model-root", H],
    ],
    "train": [[H], []],
    "train check": [[H, "--models", "."], [H, "--models", H], ["x", "--models", f"{H}.d"]],
    "train options": [[H, "--models", "."], [H, "--models", f"{H}.d", H], ["x", f"{H}={H}", "--models", "."]],
    "train backup": [[H, "--models", "."], [H, "--models", H]],
    "train import": [[H, "--from", H, "--parts", H, "--models", "."], [H, "--models", H]],
    "doctor": [["--config", H]],
    "completion": [[H], ["bash"]],
    "man": [[H], []],
}  # fmt: skip


def test_every_command_is_driven() -> None:
    assert {one.prog for one in all_parsers(build_parser())} == {"dfld", *(f"dfld {name}" for name in COMMANDS)}


LOADS_MODELS = ("match", "backends", "doctor", "extract", "reference", "tune")


@pytest.mark.parametrize(
    ("command", "as_json"),
    [(command, False) for command in COMMANDS] + [(one, True) for one in COMMANDS if one not in LOADS_MODELS],
)
def test_a_command_over_hostile_names_prints_harmless_lines(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, as_json: bool
) -> None:
    for words in COMMANDS[command]:
        main([*command.split(), *words, *(["--json"] if as_json else [])])
        found = capsys.readouterr()
        require_harmless(found.out)
        require_harmless(found.err)


def test_an_unknown_command_is_told_harmlessly(capsys: pytest.CaptureFixture[str]) -> None:
    main([HOSTILE])
    found = capsys.readouterr()
    require_harmless(found.out + found.err)
    assert found.err


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    (rig.inbox / f"{HOSTILE}.mp4").write_bytes(fake_video(frames=5))
    (rig.inbox / f"{HOSTILE} bad.mp4").write_bytes(fake_video(frames=5, name="bad", fail_at=2, fail="input"))
    (rig.inbox / f"{HOSTILE} link.mp4").symlink_to("/dev/null/nowhere")
    with InProcess(rig):
        wait_until(lambda: len(rig.jobs()) == 2 and not {"queued", "running"} & set(rig.states()), "not ended")
        yield rig


def test_what_a_service_says_of_hostile_names_is_harmless(
    service: Rig, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = ("--config", str(service.config_path))
    for words in (
        ["status"], ["jobs"], ["jobs", "show", "1"], ["jobs", "show", "2"], ["jobs", "retry", "1"], ["quarantine"],
        ["scan", "--dry-run"], ["reload"], ["verify", "alice"], ["forget", "alice", "--yes"],
    ):  # fmt: skip
        main([*words, *config])
        found = capsys.readouterr()
        require_harmless(found.out + found.err)
    formatter = TextFormatter(for_journal=False)
    for record in caplog.records:
        require_harmless(formatter.format(record))


def test_the_program_itself_has_harmless_streams(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "check", HOSTILE], cwd=ROOT, capture_output=True, check=False
    )
    assert done.stderr
    require_harmless(done.stderr.decode())
