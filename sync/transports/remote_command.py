"""One command on a machine, whatever its user's login shell is and prints: the only caller of `Transport.run`.

sshd hands a line to the user's login shell: bash, zsh, fish, csh, or a program of the operator's. What that shell
reads first may print (a greeting, a quota, the number of updates), and each shell has a syntax of its own. So the
line is one that all of them read alike, and all it does is to start `/bin/sh`; the command itself is run by `/bin/sh`
with the environment that the login shell made, and its output stands between two marks that nobody can guess:

    noise of the login shell
    <mark>begin
    output and errors of the command
    <mark>end <exit status>
    more noise

What lies outside the marks is no answer, and without the second mark there is none. Not for Windows machines
(`has_drive`): there is no `/bin/sh`, so their shell gets the command as it stands.

The line holds no character that means something to any of those shells within single quotes: csh replaces `!` even
there and ends a line at a newline, fish reads `\\\\` and `\\'` there. All but plain characters are therefore octal
numbers for printf's `%b` (POSIX), and the marks are put together on the machine, so that a shell that repeats the
line (`set -x`, csh's `set echo`) prints no mark.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
from dataclasses import dataclass
from typing import Protocol

from core.text import escaped
from sync.errors import CommandError, TransportError
from sync.types import CommandResult, Machine

MARK_BYTES = 16
"""Nobody guesses 128 bits."""
SHOWN_CHARACTERS = 200
NAME_IN_ENVIRONMENT = "DFLD_COMMAND"
GENTLE_S = 2
"""Between SIGTERM and SIGKILL, for what a command that is too late has started."""
END_LIMIT_S = 30.0
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 /.,_=:@+-")
_DRIVE = re.compile(r"/?[A-Za-z]:(?:[/\\]|$)")


class RunsLines(Protocol):
    """What hands a line to the login shell of a machine: a `Transport`, or the one connection of the doctor."""

    @property
    def machine(self) -> Machine: ...

    def run(self, command: str, *, timeout_s: float) -> CommandResult: ...


@dataclass(frozen=True)
class Frame:
    """The two halves of a mark; only the machine puts them together."""

    first: str
    second: str

    @property
    def begin(self) -> str:
        return f"{self.first}{self.second}begin"

    @property
    def end(self) -> str:
        return f"{self.first}{self.second}end"

    @property
    def name(self) -> str:
        """What stands in the environment of all that a command started, as sh reads it: in no line as it stands there.

        sshd may put the whole line into the environment of what it starts (SSH_ORIGINAL_COMMAND).
        """
        return f'{NAME_IN_ENVIRONMENT}={self.first}""{self.second}'


def run_command(there: RunsLines, command: str, *, timeout_s: float, end_when_late: bool = False) -> CommandResult:
    """Given a command of the operator or of dfld, run it by `/bin/sh` on the machine and return its status and output.

    The output is what the command printed on both streams, without anything that the login shell added, and without
    white space around it; of more than the transport keeps, the end. `end_when_late`: whatever the command started
    and that still runs after `timeout_s` is ended, where the machine has /proc. Raise CommandError when the command
    has not ended after `timeout_s`, or the login shell gave no answer; else as `Transport.run`.
    """
    machine = there.machine
    if has_drive(machine.model_dir):
        return there.run(command, timeout_s=timeout_s)
    mark = secrets.token_hex(MARK_BYTES)
    frame = Frame(mark[:MARK_BYTES], mark[MARK_BYTES:])
    try:
        answer = there.run(framed(command, frame, named=end_when_late), timeout_s=timeout_s)
    except CommandError as error:
        if end_when_late:
            with contextlib.suppress(TransportError):  # the reason that is reported is the first one
                there.run(framed(_end_of_all(frame), frame), timeout_s=END_LIMIT_S)
        # In the operator's words: the line as it was sent means nothing to him.
        raise CommandError(
            f"`{escaped(command)}` did not end within {timeout_s:.0f} s", machine=machine.name
        ) from error
    found = unframed(answer.output, frame)
    if found is None:
        said = escaped(answer.output[-SHOWN_CHARACTERS:]) or "nothing"
        raise CommandError(
            f"`{escaped(command)}` gave no answer: its login shell ended with status {answer.exit_status} and printed "
            f"{said!r}",
            machine=machine.name,
            hint=f"the user {machine.user!r} needs a login shell that runs `/bin/sh -c true`",
        )
    return found


def has_drive(model_dir: str) -> bool:
    """Say whether a model folder begins with a drive, as only those of Windows machines do: `C:/x`, `D:\\x`."""
    return _DRIVE.match(model_dir) is not None


def framed(command: str, frame: Frame, *, named: bool = False) -> str:
    """Return the line for the login shell that has `/bin/sh` run `command` between the marks of `frame`. Pure.

    ASCII, one line, and the same to bash, dash, zsh, fish, csh and tcsh. `named`: everything that the command starts
    can be found by its environment.
    """
    name = f"{frame.name} " if named else ""
    # A shell of its own, so that `exit` or a syntax error of the command still lets the last mark out; no input, so
    # that the command cannot wait for any.
    script = (
        f"printf '\\n%s%sbegin\\n' {frame.first} {frame.second}\n"
        f"{name}/bin/sh -c {shlex.quote(command)} </dev/null 2>&1\n"
        f"dfld_status=$?\n"
        f"printf '\\n%s%send %s\\n' {frame.first} {frame.second} $dfld_status\n"
        f"exit $dfld_status"
    )
    encoded = "".join(
        chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in script.encode("utf-8", "surrogateescape")
    )
    return f"""/bin/sh -c 'eval "$(printf %b "{encoded}")"'"""


def _end_of_all(frame: Frame) -> str:
    """Return the command that ends, first gently, all processes that a named command started."""
    end_all = (
        "for folder in /proc/[0-9]*; do "
        f"grep -qsaF {frame.name} $folder/environ && kill -{{}} ${{{{folder#/proc/}}}}; done"
    )
    return f"{end_all.format('TERM')}; sleep {GENTLE_S}; {end_all.format('KILL')}; true"


def unframed(output: str, frame: Frame) -> CommandResult | None:
    """Return what stands between the marks in `output` and the status behind the second; None without it. Pure.

    Of a long output only the end may be there: then what comes before the second mark is the command's.
    """
    before, found, after = output.rpartition(f"{frame.end} ")
    status = re.match(r"\d+", after)
    if not found or status is None:
        return None
    return CommandResult(int(status[0]), before.rpartition(frame.begin)[2].strip())
