"""One command by /bin/sh, whatever the login shell is and prints: with every shell installed here."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.errors import CommandError
from sync.transports.local import LocalTransport
from sync.transports.remote_command import Frame, framed, has_drive, run_command, unframed
from sync.transports.ssh_transport import SshTransport
from sync.types import CommandResult, Machine
from tests.sync.sshd import make_ssh_machine

SHELLS = ("bash", "dash", "zsh", "fish", "tcsh")
FRAME = Frame("1" * 16, "2" * 16)
NOISE = {
    ".bashrc": "echo 4711 updates; echo odd >&2; set -x\n",
    ".zshenv": "echo 4711 updates; echo odd >&2; setopt xtrace\n",
    ".config/fish/config.fish": "echo 4711 updates; echo odd >&2; set fish_trace 1\n",
    ".tcshrc": "echo 4711 updates; set echo; set verbose\n",
}
"""What each shell reads before a command: words on both streams, and the command line itself, repeated."""


def shell_named(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install {name})")
    return found


@pytest.fixture(scope="module", params=SHELLS)
def transport(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshTransport]:
    made = make_ssh_machine(tmp_path_factory.mktemp("shells"), "gpu1", login_shell=shell_named(request.param))
    for name, noise in NOISE.items():
        (made.home / name).parent.mkdir(parents=True, exist_ok=True)
        (made.home / name).write_text(noise, encoding="utf-8")
    transport = SshTransport(made.machine(), ssh_program=None)
    yield transport
    transport.close()
    made.stop()


def test_the_login_shell_prints_noise_that_is_no_part_of_the_answer(transport: SshTransport) -> None:
    assert "updates" in transport.run("true", timeout_s=20).output, "or this suite shows nothing"
    assert run_command(transport, "echo 42; echo odd >&2; exit 3", timeout_s=20) == CommandResult(3, "42\nodd")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("test 1 = 2 || ! false", CommandResult(0, "")),
        ("kill -0 $$ && ! grep -qs '^State:.Z' /proc/$$/status && echo \"it's\" `echo alive` $((40 + 2))", None),
        (
            "printf '%s|' '!x' \"a\\\\b\" '$HOME' 'ü~*?[a]{b,c}#;&<>'",
            CommandResult(0, "!x|a\\b|$HOME|ü~*?[a]{b,c}#;&<>|"),
        ),
        ("echo one\nfor x in two three; do\n  echo $x\ndone", CommandResult(0, "one\ntwo\nthree")),
        ("no-such-program-anywhere 2>/dev/null", CommandResult(127, "")),
        ("kill -KILL $$; echo Killed", CommandResult(137, "Killed")),
        ("echo " + "long" * 5000, CommandResult(0, "long" * 5000)),
    ],
)
def test_the_command_means_what_it_means_to_sh(
    transport: SshTransport, command: str, expected: CommandResult | None
) -> None:
    found = run_command(transport, command, timeout_s=20)
    assert found == (expected or CommandResult(0, "it's alive 42"))


def test_a_command_that_is_no_shell_text_ends_with_an_error_of_sh(transport: SshTransport) -> None:
    found = run_command(transport, "if (", timeout_s=20)
    assert found.exit_status == 2
    assert "yntax error" in found.output


def test_of_a_long_output_the_end_is_kept_and_the_command_is_never_blocked(transport: SshTransport) -> None:
    found = run_command(transport, "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo the end", timeout_s=60)
    assert found.exit_status == 0
    assert re.fullmatch(r"x{60000,70000}\nthe end", found.output)


@pytest.mark.parametrize("transport", ["dash"], indirect=True)
def test_what_a_command_leaves_in_the_background_is_not_waited_for(transport: SshTransport) -> None:
    found = run_command(transport, "sleep 600 & echo $!", timeout_s=20)
    assert run_command(transport, f"kill {found.output}", timeout_s=20).exit_status == 0


@pytest.mark.parametrize("transport", ["dash"], indirect=True)
def test_a_command_that_does_not_end_is_given_up_in_the_operators_words(transport: SshTransport) -> None:
    with pytest.raises(CommandError, match=r"machine gpu1: `exec sleep 60` did not end within 1 s"):
        run_command(transport, "exec sleep 60", timeout_s=1)


@pytest.mark.parametrize("transport", ["dash"], indirect=True)
def test_what_a_command_that_is_too_late_has_started_is_ended(transport: SshTransport, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with pytest.raises(CommandError, match="did not end"):
        run_command(transport, f"sleep 600 & echo $! > {begun}; sleep 600; true", timeout_s=1, end_when_late=True)
    state = Path(f"/proc/{begun.read_text().strip()}/stat")
    assert not state.exists() or ") Z " in state.read_text()


@pytest.mark.parametrize("says", ["This account is currently not available.", ""])
def test_a_login_shell_that_runs_nothing_is_named_as_such(tmp_path: Path, says: str) -> None:
    refuses = tmp_path / "nologin"
    refuses.write_text(f"#!/bin/sh\necho '{says}'\nexit 0\n", encoding="utf-8")
    refuses.chmod(0o755)
    machine = make_ssh_machine(tmp_path, "gpu1", login_shell=str(refuses))
    transport = SshTransport(machine.machine(), ssh_program=None)
    try:
        with pytest.raises(CommandError, match="gave no answer") as caught:
            run_command(transport, "true", timeout_s=20)
    finally:
        transport.close()
        machine.stop()
    assert says in caught.value.message
    assert "/bin/sh" in caught.value.hint


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_text_reaches_sh_unchanged_through_every_shell(text: str) -> None:
    line = framed(f"printf %s {shlex.quote(text)}", FRAME)
    assert line.isascii()
    assert line.isprintable()
    for name in SHELLS:
        if shutil.which(name):
            printed = subprocess.run([name, "-c", line], capture_output=True, check=True).stdout
            assert unframed(printed.decode(), FRAME) == CommandResult(0, text.strip()), name


@given(st.text(), st.text(), st.text(), st.integers(0, 255))
def test_only_what_stands_between_the_marks_is_the_answer(before: str, inside: str, after: str, status: int) -> None:
    output = f"{before}\n{FRAME.begin}\n{inside}\n{FRAME.end} {status}\n{after}"
    assert unframed(output, FRAME) == CommandResult(status, inside.strip())
    assert unframed(f"{before}\n{FRAME.begin}\n{inside}", FRAME) is None


def test_the_line_itself_holds_no_mark() -> None:
    assert FRAME.begin not in framed("true", FRAME, named=True)
    assert FRAME.end not in framed("true", FRAME, named=True)


def test_a_windows_machine_gets_the_command_as_it_stands(tmp_path: Path) -> None:
    seen: list[str] = []

    class Windows(LocalTransport):
        def run(self, command: str, *, timeout_s: float) -> CommandResult:  # noqa: ARG002
            seen.append(command)
            return CommandResult(0, "1234")

    machine = Machine(name="gpu1", address="", model_dir=r"C:\workspace\model", transfer="local")
    assert run_command(Windows(machine), "tasklist", timeout_s=5) == CommandResult(0, "1234")
    assert seen == ["tasklist"]


@pytest.mark.parametrize(
    ("model_dir", "windows"),
    [("C:/x", True), ("d:\\x", True), ("/C:/x", True), ("C:", True), ("/home/C:x", False), ("/srv/model", False)],
)
def test_a_drive_marks_a_windows_machine(model_dir: str, windows: bool) -> None:
    assert has_drive(model_dir) is windows


def test_only_one_place_hands_lines_to_a_login_shell() -> None:
    root = Path(__file__).parents[3]
    callers = [
        path.relative_to(root).as_posix()
        for package in ("sync", "daemon")
        for path in (root / package).rglob("*.py")
        if re.search(r"(?:transport|connection|link|there)\.run\(", path.read_text(encoding="utf-8"))
    ]
    assert callers == ["sync/transports/remote_command.py"]
