"""Completions and the man page: in step with the parser, and taken by real shells and a real `man`."""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.cli import build_parser
from daemon.commands.completion import GENERATED, MAN_PAGE, SCRIPTS
from docs.command_line import all_parsers, completion_script

DEADLINE_S = 30.0


@pytest.fixture
def scripts() -> dict[str, Path]:
    return {shell: GENERATED / name for shell, name in SCRIPTS.items()}


@pytest.mark.parametrize(
    ("command", "name"), [*((f"completion {shell}", name) for shell, name in SCRIPTS.items()), ("man", MAN_PAGE)]
)
def test_a_command_prints_the_file_without_the_libraries_that_made_it(command: str, name: str) -> None:
    code = (
        "import sys; sys.modules.update(shtab=None, argparse_manpage=None); from daemon.cli import main; "
        f"main({command.split()})"
    )
    assert run(sys.executable, "-c", code) == (GENERATED / name).read_text(encoding="utf-8")


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def options(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_command_and_option_is_in_the_script(shell: str, scripts: dict[str, Path]) -> None:
    text = scripts[shell].read_text()
    for parser in all_parsers(build_parser()):
        assert parser.prog.split()[-1] in text
        for flag in options(parser):
            bare = flag.lstrip("-")
            marks = {
                "bash": [f" {flag} ", f"({flag} ", f" {flag})"],
                "zsh": [f"{flag}[", f"{flag}=[", f"{flag},", f"{flag}}}", f"{flag}=}}"],
                "fish": [f"-l {bare} ", f"-s {bare} "],
            }
            assert any(mark in text for mark in marks[shell]), f"{parser.prog} {flag}"


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_shell_takes_the_script(shell: str, scripts: dict[str, Path]) -> None:
    run(need(shell), "-n", str(scripts[shell]))


def bash_replies(script: Path, *words: str) -> list[str]:
    line = " ".join(f"'{word}'" for word in words)
    place = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}"
    ask = f"source {script}; {place}; _shtab_dfld; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    return run(need("bash"), "--norc", "-c", ask).split()


def test_bash_completes_commands_options_values_and_folders(scripts: dict[str, Path], tmp_path: Path) -> None:
    script = scripts["bash"]
    (tmp_path / "a folder").mkdir()
    assert bash_replies(script, "dfld", "extr") == ["extract"]
    assert bash_replies(script, "dfld", "extract", "--bac") == ["--backend"]
    assert bash_replies(script, "dfld", "extract", "in.mp4", "--format", "") == ["jpg", "png"]
    assert bash_replies(script, "dfld", "completion", "f") == ["fish"]
    assert " ".join(bash_replies(script, "dfld", "extract", "--out", f"{tmp_path}/")) == f"{tmp_path}/a folder"
    assert " ".join(bash_replies(script, "dfld", "extract", f"{tmp_path}/a f")) == f"{tmp_path}/a folder"


def test_fish_completes_commands_options_values_and_files(scripts: dict[str, Path], tmp_path: Path) -> None:
    def replies(line: str) -> list[str]:
        said = run(need("fish"), "--no-config", "-c", f"source {scripts['fish']}; complete -C '{line}'")
        return [row.split("\t")[0] for row in said.splitlines()]

    (tmp_path / "a clip.mp4").touch()

    assert replies("dfld extr") == ["extract"]
    assert replies("dfld extract --bac") == ["--backend"]
    assert replies("dfld extract --format ") == ["jpg", "png"]
    assert replies("dfld completion f") == ["fish"]
    assert replies(f'dfld extract "{tmp_path}/a c') == [f"{tmp_path}/a clip.mp4"]


class Zsh:
    """An interactive zsh on a terminal of its own; its completion works nowhere else."""

    def __init__(self, script: Path) -> None:
        self._terminal, inner = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "HISTFILE": ""}
        self._process = subprocess.Popen(
            [need("zsh"), "-f", "-i", "+m"], stdin=inner, stdout=inner, stderr=inner, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(inner)
        self._say(f"PROMPT='%%'; autoload -U compinit; compinit -u -D; source {script}; print RE''ADY\n")
        self._hear("READY")

    def complete(self, typed: str) -> str:
        """Return the line that Tab makes of `typed`."""
        # Ctrl-A and Ctrl-E: the whole line becomes the arguments of `print`, between two marks.
        self._say(f"{typed}\t\x01print -r -- BE''GIN \x05 E''ND\n")
        found = re.search(r"BEGIN (.*) END", self._hear(" END"))
        assert found
        return found[1].strip()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def _say(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _hear(self, mark: str) -> str:
        heard, deadline = "", time.monotonic() + DEADLINE_S
        while mark not in heard:
            assert time.monotonic() < deadline, heard
            if select.select([self._terminal], [], [], 0.2)[0]:
                heard += os.read(self._terminal, 65536).decode("utf-8", "replace")
        return heard


@pytest.fixture
def zsh(scripts: dict[str, Path]) -> Iterator[Zsh]:
    shell = Zsh(scripts["zsh"])
    yield shell
    shell.end()


def test_zsh_completes_commands_options_values_and_files(zsh: Zsh, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    assert zsh.complete("dfld extr") == "dfld extract"
    assert zsh.complete("dfld extract --bac") == "dfld extract --backend"
    assert zsh.complete("dfld extract --format j") == "dfld extract --format jpg"
    assert zsh.complete("dfld extract --format=j") == "dfld extract --format=jpg"
    assert zsh.complete("dfld completion f") == "dfld completion fish"
    assert zsh.complete(f"dfld extract one.mp4 {tmp_path}/cl") == f"dfld extract one.mp4 {tmp_path}/clip.mp4"


def nested() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dfld")
    jobs = parser.add_subparsers().add_parser("jobs", help="what it's doing [all]: jobs")
    below = jobs.add_subparsers()
    below.add_parser("list", help="list")
    below.add_parser("show", help="show").add_argument("--only", choices=("faces",))
    return parser


def test_commands_below_commands_are_completed(tmp_path: Path) -> None:
    for shell in SCRIPTS:
        (tmp_path / f"nested.{shell}").write_text(completion_script(nested(), shell))
    assert bash_replies(tmp_path / "nested.bash", "dfld", "jobs", "sh") == ["show"]
    assert bash_replies(tmp_path / "nested.bash", "dfld", "jobs", "show", "--only", "") == ["faces"]
    said = run(need("fish"), "--no-config", "-c", f"source {tmp_path}/nested.fish; complete -C 'dfld jobs sh'")
    assert said.split() == ["show", "show"]
    shell = Zsh(tmp_path / "nested.zsh")
    try:
        assert shell.complete("dfld jobs show --only f") == "dfld jobs show --only faces"
    finally:
        shell.end()


def test_the_man_page_names_every_command_option_and_exit_code() -> None:
    page = (GENERATED / MAN_PAGE).read_text().replace("\\-", "-")
    for parser in all_parsers(build_parser()):
        assert parser.prog == "dfld" or f".SS \\fB{parser.prog}\\fR" in page
        for line in (parser.epilog or "").splitlines():
            assert line in page
        # -h is in each usage, and its meaning below the exit codes
        assert all(f"\\fB{flag}\\fR" in page for flag in options(parser) if flag not in ("-h", "--help"))
    assert "78  wrong configuration" in page


def test_man_reads_the_page_without_a_complaint() -> None:
    shown = run(need("groff"), "-man", "-ww", "-Tutf8", "-P-cbou", str(GENERATED / MAN_PAGE))
    assert "turn videos into DeepFaceLab workspaces" in shown
    assert "dfld extract" in shown
